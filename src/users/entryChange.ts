/**
 * The `$external` user of one principal, and what a grant or a revocation makes of its roles.
 *
 * A user that was meant as the principal and has a malformed name stops a grant: after a second one was created, a
 * database administrator who repairs the first one would lock the principal out.
 */
import type { Document } from 'bson'
import { canonicalizeArn, parseArn } from '../identity/arn.js'
import { describeMalformedName } from './arnProblems.js'
import { describeProblem, isProblem, parseDirectoryUsers } from './directoryUsers.js'
import type { Network, Role } from './match.js'
import { formatRole } from './roles.js'

export type DirectoryEntry = { name: string; roles: readonly Role[]; clientSource: readonly Network[] | undefined }

export type FoundEntry = {
  entry: DirectoryEntry | undefined
  /** Why the user of this principal must not be changed, or none must be created. */
  refusal: string | undefined
  /** Sentences about other users that may have been meant as this principal. */
  warnings: readonly string[]
}

/** Finds the user of a principal (its canonical ARN) among all users of `$external`. Throws `users/unreadable`. */
export function findEntry(documents: readonly Document[], canonical: string): FoundEntry {
  const match = parseDirectoryUsers(documents).byPrincipal.get(canonical)
  const lookalikes = describeLookalikes(documents, canonical)
  const found = { entry: undefined, refusal: undefined }
  if (!match) {
    const [first] = lookalikes.filter(({ isIgnored }) => isIgnored)
    const refusal = first && `${first.text}; drop that user, or run dropUser and createUser with the right name`
    return { ...found, refusal, warnings: textsOf(lookalikes.filter(one => one !== first)) }
  }
  const warnings = textsOf(lookalikes)
  if (isProblem(match)) return { ...found, refusal: describeProblem(match), warnings }
  const { decidedBy, grant, clientSource } = match
  if (!('directoryUser' in decidedBy) || !('roles' in grant)) return { ...found, warnings }
  return {
    ...found,
    entry: { name: decidedBy.directoryUser, roles: grant.roles, clientSource: clientSource?.[0] },
    warnings,
  }
}

type Lookalike = { text: string; isIgnored: boolean }

const textsOf = (lookalikes: readonly Lookalike[]): string[] => lookalikes.map(({ text }) => text)

function describeLookalikes(documents: readonly Document[], canonical: string): Lookalike[] {
  return documents.flatMap((document): Lookalike[] => {
    const user = String(document.user)
    const arn = parseArn(user)
    if (!arn && !wasMeantAs(user, canonical)) return []
    const other = arn && canonicalizeArn(arn)
    if (other === canonical && arn?.session === undefined) return []
    if (other !== undefined && other.toLowerCase() !== canonical.toLowerCase()) return []
    if (other !== undefined && other !== canonical) {
      return [{ text: `the user ${user} of $external differs in upper and lower case only`, isIgnored: false }]
    }
    return parseDirectoryUsers([document]).warnings.map(text => ({ text, isIgnored: true }))
  })
}

/** Whether a malformed name has the account, the kind and the name of the principal, in any case and between blanks. */
function wasMeantAs(user: string, canonical: string): boolean {
  const principal = parseArn(canonical)
  if (!principal || describeMalformedName(user) === undefined) return false
  const plain = user
    .normalize('NFKC')
    .replace(/%([2-7][0-9a-f])/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    .replace(/[\s\p{C}]/gu, '')
    .toLowerCase()
  const accounts = plain.match(/\d{12}/g) ?? [principal.account]
  const parts = plain.split(/[/:]/)
  return (
    accounts.includes(principal.account) &&
    parts.includes(principal.name.toLowerCase()) &&
    plain.includes(principal.kind)
  )
}

/** The name of a new user: the ARN as it was given, without a session name. */
export function nameNewEntry(text: string): string {
  const arn = parseArn(text)
  return arn?.kind === 'assumed-role' ? canonicalizeArn(arn) : text
}

export type EntryChange = {
  change: 'added' | 'changed' | 'removed' | 'none'
  /** The roles that the change adds or takes away. */
  roles: readonly Role[]
  /** Null: there is no user. */
  before: readonly Role[] | null
  after: readonly Role[] | null
}

export function planGrant(entry: DirectoryEntry | undefined, granted: readonly Role[]): EntryChange {
  const before = entry?.roles ?? null
  const roles = without(unique(granted), before ?? [])
  const after = [...(before ?? []), ...roles]
  const change = before === null ? 'added' : roles.length > 0 ? 'changed' : 'none'
  return { change, roles, before, after }
}

/** Returns a sentence if the user does not exist or lacks one of the roles: a misspelled role must not look revoked. */
export function planRevocation(
  entry: DirectoryEntry | undefined,
  revoked: readonly Role[] | 'all',
): EntryChange | string {
  if (!entry) return 'no user of $external is this principal'
  const before = entry.roles
  if (revoked === 'all') return { change: 'removed', roles: before, before, after: null }
  const roles = unique(revoked)
  const missing = without(roles, before)
  if (missing.length > 0)
    return `the user ${entry.name} does not have ${formatRoles(missing)}; it has ${formatRoles(before)}`
  return { change: 'changed', roles, before, after: without(before, roles) }
}

export const formatRoles = (roles: readonly Role[]): string => roles.map(formatRole).join(', ') || 'no roles'

const isIn = (role: Role, roles: readonly Role[]): boolean => roles.some(one => formatRole(one) === formatRole(role))
const without = (roles: readonly Role[], others: readonly Role[]): Role[] => roles.filter(role => !isIn(role, others))
const unique = (roles: readonly Role[]): Role[] => roles.filter((role, index) => !isIn(role, roles.slice(0, index)))

/** Whether two lists have the same roles, in any order. */
export const hasSameRoles = (one: readonly Role[] | null, other: readonly Role[] | null): boolean =>
  one === null || other === null ? one === other : without(one, other).length === 0 && without(other, one).length === 0
