/**
 * Users of the `$external` database as entries: whose they are, what they give, and what they ask of a login (R20).
 *
 *     { _id: "$external.arn:aws:iam::123456789012:role/app", user: "arn:…", db: "$external",
 *       roles: [ { role: "read", db: "app" } ], authenticationRestrictions: [ { clientSource: [ "10.0.0.0/8" ] } ] }
 *
 * Names are literal: a * in one stands for itself, but for the end of `assumed-role/NAME/*`.
 */
import type { Document } from 'bson'
import { Fault } from '../errors.js'
import { canonicalizeArn, parseArn } from '../identity/arn.js'
import type { Match, Network, Role } from './match.js'
import { parseNetwork } from './networks.js'

/** What is known of a principal that has an entry: the match, or why it cannot be told. */
export type DirectoryMatch = Match | Fault

export type DirectoryUsers = {
  /** By canonical ARN. */
  byPrincipal: ReadonlyMap<string, DirectoryMatch>
  /** Sentences about entries that do not do what whoever made them may think. */
  warnings: readonly string[]
}

/** Reads documents of `$external`. Throws `users/unreadable` for what is no list of users. */
export function parseDirectoryUsers(documents: readonly Document[]): DirectoryUsers {
  const known = new Map<string, DirectoryMatch>()
  const complaints: string[] = []
  for (const document of documents) {
    const { user, db } = document
    if (typeof user !== 'string' || db !== '$external')
      throw createUnreadableFault('a document is not a user of $external')
    const arn = parseArn(user)
    if (!arn) continue
    if (arn.session !== undefined) {
      const role = `arn:${arn.partition}:iam::${arn.account}:role/${arn.name}`
      complaints.push(`${user} names one session, and whoever assumes a role chooses the session name: name ${role}`)
      continue
    }
    const principal = canonicalizeArn(arn)
    const other = known.get(principal)
    known.set(principal, other ? ambiguous(principal, other, user) : readEntry(document, user, principal, complaints))
  }
  for (const [principal, { facts }] of [...known].filter(isFault)) {
    complaints.push(
      `${principal} is refused: ${'entries' in facts ? `it has several entries, so drop all but one of ${[facts.entries].flat().join(', ')}` : facts.why}`,
    )
  }
  return { byPrincipal: known, warnings: complaints }
}

/** The filter that finds every spelling of a principal; a path, which STS does not tell, may be in that of a role. */
export function buildPrincipalFilter(principal: string): Document {
  const arn = parseArn(principal)
  if (arn?.kind !== 'role') return { db: '$external', user: principal }
  const { partition, account, name } = arn
  const assumed = `arn:${partition}:sts::${account}:assumed-role/${name}`
  const below = `^arn:${partition}:iam::${account}:role/.+/${name.replace(/[.+]/g, '\\$&')}$`
  return { db: '$external', user: { $in: [principal, assumed, `${assumed}/*`, new RegExp(below)] } }
}

export function createUnreadableFault(why: string, facts: object = {}, cause?: unknown): Fault {
  return new Fault('users/unreadable', undefined, { ...facts, why }, cause)
}

const isFault = (pair: [string, DirectoryMatch]): pair is [string, Fault] => pair[1] instanceof Fault

function ambiguous(principal: string, other: DirectoryMatch, user: string): Fault {
  const before = other instanceof Fault ? [other.facts.entries ?? other.facts.entry].flat() : [entryOf(other)]
  return new Fault('users/ambiguous', principal, { entries: [...before, user] })
}

const entryOf = ({ decidedBy }: Match): string => ('directoryUser' in decidedBy ? decidedBy.directoryUser : '')

function readEntry(document: Document, entry: string, arn: string, complaints: string[]): DirectoryMatch {
  const roles = readRoles(document.roles)
  if (!roles) return createUnreadableFault('its roles are not a list of { role, db }', { entry })
  const { authenticationRestrictions: restrictions = [] } = document
  if (!Array.isArray(restrictions))
    return createUnreadableFault('its authenticationRestrictions are no list', { entry })
  const clientSource = readRestrictions(restrictions)
  if (clientSource === 'unreadable')
    return createUnreadableFault('its authenticationRestrictions cannot be read', { entry })
  const unmet = restrictions.filter(({ serverAddress }) => serverAddress !== undefined).length
  if (unmet > 0) {
    const which = unmet === restrictions.length ? 'so nobody logs in by it' : 'so its other restrictions decide'
    complaints.push(
      `${entry} is restricted by serverAddress, which the proxy cannot judge and takes for unmet, ${which}`,
    )
  }
  return {
    decidedBy: { directoryUser: entry },
    arn,
    grant: { roles },
    ...(clientSource && { clientSource: [clientSource] }),
  }
}

function readRoles(roles: unknown): Role[] | undefined {
  if (!Array.isArray(roles)) return undefined
  const sound = roles.every(one => typeof one?.role === 'string' && typeof one?.db === 'string')
  return sound ? roles.map(({ role, db }) => ({ role, db })) : undefined
}

/** A list, a date and whatever else is no document would look like one that asks for nothing. */
const isDocument = (value: unknown): value is Document =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/**
 * One of the restrictions has to be met (as in mongod), so the networks of all are one list; undefined where one asks for
 * nothing. `serverAddress` is the address that a client reached mongod by, and clients reach the proxy: it counts as unmet.
 */
function readRestrictions(restrictions: readonly unknown[]): Network[] | undefined | 'unreadable' {
  const networks: Network[] = []
  let open = restrictions.length === 0
  for (const restriction of restrictions) {
    if (!isDocument(restriction)) return 'unreadable'
    const { clientSource, serverAddress, ...others } = restriction
    if (Object.keys(others).length > 0) return 'unreadable'
    if (clientSource === undefined) {
      open ||= serverAddress === undefined
      continue
    }
    const read = Array.isArray(clientSource) ? clientSource.map(text => parseNetwork(String(text))) : [undefined]
    if (read.includes(undefined)) return 'unreadable'
    if (serverAddress === undefined) networks.push(...read.filter(network => network !== undefined))
  }
  return open ? undefined : networks
}
