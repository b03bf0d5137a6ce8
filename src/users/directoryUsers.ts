/**
 * Users of the `$external` database, parsed: which principal each one is, its roles, and its restrictions.
 *
 *     { _id: "$external.arn:aws:iam::123456789012:role/app", user: "arn:…", db: "$external",
 *       roles: [ { role: "read", db: "app" } ], authenticationRestrictions: [ { clientSource: [ "10.0.0.0/8" ] } ] }
 *
 * Names are literal: a * stands for itself, except at the end of `assumed-role/NAME/*`.
 */
import type { Document } from 'bson'
import { Fault } from '../errors.js'
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import { escapeNonAscii } from '../printable.js'
import { describeMalformedName } from './arnProblems.js'
import type { Match, Network, Role } from './match.js'
import { parseNetwork } from './networks.js'

/** Why the `$external` users of a principal give no match: several of them exist, or the one cannot be read. */
export type DirectoryProblem = {
  problem: 'users/ambiguous' | 'users/unreadable'
  directoryUsers: readonly string[]
  /** What is wrong with the user; empty for `users/ambiguous`. */
  why: string
}

export type DirectoryMatch = Match | DirectoryProblem

/** A user of `$external`, whether or not it can log in. */
export type DirectoryEntry = {
  /** The principal in canonical spelling; undefined if the name is not the ARN of one. */
  arn: string | undefined
  /** Null if they cannot be read. */
  roles: readonly Role[] | null
  /** Its authenticationRestrictions as JSON; empty if it has none. */
  restrictions: string
  /** Why no login can be this user; undefined if one can. */
  problem: string | undefined
}

export type DirectoryUsers = {
  /** By canonical ARN. */
  byPrincipal: ReadonlyMap<string, DirectoryMatch>
  /** All users by name. */
  entries: ReadonlyMap<string, DirectoryEntry>
  /** Sentences about users that do not work as their creator may expect. The last one counts those that are left out. */
  warnings: readonly string[]
  /** How many such sentences there are. */
  invalidCount: number
}

export type DirectoryParserOptions = {
  /** The partition whose principals can log in. By default every one. */
  partition?: string | undefined
  maxWarnings?: number
}

/** Thousands of users may be wrong in the same way, and every sentence is a line in the log. */
const MAX_WARNINGS = 50

/** Parses documents of `$external`. Throws `users/unreadable` if one of them is not a user. */
export function parseDirectoryUsers(
  documents: readonly Document[],
  { partition, maxWarnings = MAX_WARNINGS }: DirectoryParserOptions = {},
): DirectoryUsers {
  const byPrincipal = new Map<string, DirectoryMatch>()
  const entries = new Map<string, DirectoryEntry>()
  const warnings: string[] = []
  for (const document of documents) {
    const { user, db } = document
    if (typeof user !== 'string' || db !== '$external')
      throw createUnreadableFault('a document is not a user of $external')
    const arn = parseArn(user)
    const problem = arn ? findNameProblem(user, arn, partition) : describeMalformed(user)
    if (problem !== undefined) warnings.push(problem)
    entries.set(user, createEntry(document, arn, problem))
    if (!arn || arn.session !== undefined) continue
    const principal = canonicalizeArn(arn)
    const other = byPrincipal.get(principal)
    byPrincipal.set(principal, other ? createAmbiguity(other, user) : parseUser(document, user, principal, warnings))
  }
  for (const [principal, match] of byPrincipal) {
    if (!isProblem(match)) continue
    warnings.push(`${principal} is refused: ${describeProblem(match)}`)
    for (const user of match.directoryUsers) {
      const entry = entries.get(user)
      if (entry) entries.set(user, { ...entry, problem: describeProblem(match) })
    }
  }
  return { byPrincipal, entries, warnings: shorten(warnings, maxWarnings), invalidCount: warnings.length }
}

function createEntry(document: Document, arn: Arn | undefined, problem: string | undefined): DirectoryEntry {
  const { authenticationRestrictions: restrictions } = document
  return {
    arn: arn && arn.session === undefined ? canonicalizeArn(arn) : undefined,
    roles: parseRoles(document.roles) ?? null,
    restrictions: Array.isArray(restrictions) && restrictions.length === 0 ? '' : (JSON.stringify(restrictions) ?? ''),
    problem: problem ?? (arn ? undefined : 'its name is not the ARN of a principal'),
  }
}

/** What is wrong with a name that is an ARN. */
function findNameProblem(user: string, arn: Arn, served: string | undefined): string | undefined {
  if (arn.session !== undefined) {
    const role = `arn:${arn.partition}:iam::${arn.account}:role/${arn.name}`
    return `${user} names a session, and the caller of AssumeRole chooses that name: name ${role} instead`
  }
  if (served !== undefined && arn.partition !== served) {
    return `${user} is of the partition ${arn.partition}, and the hosts of sts.hosts name principals of ${served} only`
  }
  return arn.path.includes('*')
    ? `${user} contains *, which stands for itself: names in $external are no patterns`
    : undefined
}

function describeMalformed(user: string): string | undefined {
  const problem = describeMalformedName(user)
  const shown = user.length > MAX_SHOWN_NAME ? `${user.slice(0, MAX_SHOWN_NAME)}…` : user
  return problem === undefined
    ? undefined
    : `the user ${escapeNonAscii(JSON.stringify(shown))} is ignored: its name ${problem}`
}

const MAX_SHOWN_NAME = 200

function shorten(warnings: readonly string[], max: number): readonly string[] {
  const more = warnings.length - max
  if (more <= 0) return warnings
  return [...warnings.slice(0, max), `${more} more users of $external do not do what their names suggest`]
}

export const isProblem = (match: DirectoryMatch): match is DirectoryProblem => 'problem' in match

/** A sentence without a period, for warnings and `explain`. */
export function describeProblem({ problem, directoryUsers, why }: DirectoryProblem): string {
  const names = directoryUsers.join(', ')
  return problem === 'users/ambiguous'
    ? `several users of $external are this principal; drop all but one of ${names}`
    : `the user ${names} of $external is unreadable: ${why}`
}

/** The fault of a login as this principal. */
export function toFault(principal: string, { problem, directoryUsers, why }: DirectoryProblem): Fault {
  return problem === 'users/ambiguous'
    ? new Fault(problem, principal, { directoryUsers })
    : new Fault(problem, undefined, { directoryUser: directoryUsers[0], why })
}

/** A filter for all spellings of a principal. The user of a role may contain its path, which STS does not report. */
export function buildPrincipalFilter(principal: string): Document {
  const arn = parseArn(principal)
  if (arn?.kind !== 'role') return { db: '$external', user: principal }
  const { partition, account, name } = arn
  const assumed = `arn:${partition}:sts::${account}:assumed-role/${name}`
  const withPath = `^arn:${partition}:iam::${account}:role/.+/${name.replace(/[.+]/g, '\\$&')}$`
  return { db: '$external', user: { $in: [principal, assumed, `${assumed}/*`, new RegExp(withPath)] } }
}

/** The fault of a directory that cannot be read as a whole. */
export function createUnreadableFault(why: string, cause?: unknown): Fault {
  return new Fault('users/unreadable', undefined, { why }, cause)
}

function createAmbiguity(other: DirectoryMatch, user: string): DirectoryProblem {
  return { problem: 'users/ambiguous', directoryUsers: [...namesOf(other), user], why: '' }
}

function namesOf(match: DirectoryMatch): readonly string[] {
  if (isProblem(match)) return match.directoryUsers
  return 'directoryUser' in match.decidedBy ? [match.decidedBy.directoryUser] : []
}

function parseUser(document: Document, user: string, arn: string, warnings: string[]): DirectoryMatch {
  const unreadable = (why: string): DirectoryProblem => ({
    problem: 'users/unreadable',
    directoryUsers: [user],
    why,
  })
  const roles = parseRoles(document.roles)
  if (!roles) return unreadable('its roles are not a list of { role, db }')
  const { authenticationRestrictions: restrictions = [] } = document
  if (!Array.isArray(restrictions)) return unreadable('its authenticationRestrictions are not a list')
  const clientSource = parseRestrictions(restrictions)
  if (clientSource === 'invalid') return unreadable('its authenticationRestrictions have an unknown form')
  const unmet = restrictions.filter(({ serverAddress }) => serverAddress !== undefined).length
  if (unmet > 0) {
    const effect = unmet === restrictions.length ? 'so no login succeeds' : 'so only its other restrictions count'
    warnings.push(`${user} has a serverAddress restriction, which the proxy treats as never met, ${effect}`)
  }
  return {
    decidedBy: { directoryUser: user },
    arn,
    grant: { roles },
    ...(clientSource && { clientSource: [clientSource] }),
  }
}

function parseRoles(roles: unknown): Role[] | undefined {
  if (!Array.isArray(roles)) return undefined
  const isValid = roles.every(one => typeof one?.role === 'string' && typeof one?.db === 'string')
  return isValid ? roles.map(({ role, db }) => ({ role, db })) : undefined
}

/** Excludes arrays and dates: they have none of the known fields, so they would pass as a restriction without conditions. */
const isDocument = (value: unknown): value is Document =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/**
 * The networks of all restrictions, joined: as in mongod, one restriction has to be met. Undefined if one of them has no
 * conditions. A restriction with `serverAddress` counts as unmet: it names the address by which clients reach mongod, and
 * they reach the proxy instead.
 */
function parseRestrictions(restrictions: readonly unknown[]): Network[] | undefined | 'invalid' {
  const networks: Network[] = []
  let isUnrestricted = restrictions.length === 0
  for (const restriction of restrictions) {
    if (!isDocument(restriction)) return 'invalid'
    const { clientSource, serverAddress, ...others } = restriction
    if (Object.keys(others).length > 0) return 'invalid'
    if (clientSource === undefined) {
      isUnrestricted ||= serverAddress === undefined
      continue
    }
    const parsed = Array.isArray(clientSource) ? clientSource.map(text => parseNetwork(String(text))) : [undefined]
    if (parsed.includes(undefined)) return 'invalid'
    if (serverAddress === undefined) networks.push(...parsed.filter(network => network !== undefined))
  }
  return isUnrestricted ? undefined : networks
}
