/** The result of looking up a principal: the match that a rule or a `$external` user gives. */
import type { Secret } from '../log.js'

export type DatabaseUser = { name: string; db: string }

/** `collection` limits the role to one collection of `db` (`read` and `readWrite` only). */
export type Role = { role: string; db: string; collection?: string }

/** A network: all addresses that share the first `prefix` bits with `address`. */
export type Network = { address: string; prefix: number; family: 'ipv4' | 'ipv6' }

/** What a principal gets: a database user with its password, or roles for a database user that the proxy provisions. */
export type Grant = { user: DatabaseUser; password: Secret } | { roles: readonly Role[] }

export type Match = {
  /** The position of the rule in `users`, counted from 1, or the name of the `$external` user. */
  decidedBy: { rule: number } | { directoryUser: string }
  /** The principal, or the pattern, in canonical spelling. */
  arn: string
  grant: Grant
  /** The client's address must be in at least one network of each list. */
  clientSource?: readonly (readonly Network[])[]
  /** From this date on, logins are refused and open connections are closed. */
  deleteAfterDate?: Date
  /** The required unique id (AIDA…, AROA…). `firstUse` requires the id of the first login. */
  principalId?: string
  /** The maximum age of a login, in milliseconds. */
  maxAgeMS?: number
  /** The maximum number of sessions of each principal. */
  maxSessions?: number
}

/** `now`: milliseconds since 1970. */
export function isExpired({ deleteAfterDate }: Match, now: number): boolean {
  return deleteAfterDate !== undefined && deleteAfterDate.getTime() <= now
}

/** The roles of the database user to provision; undefined if the match calls for no such user, or has expired. */
export function getRolesToProvision(match: Match | undefined, now: number): readonly Role[] | undefined {
  return match && 'roles' in match.grant && !isExpired(match, now) ? match.grant.roles : undefined
}

/** Whether two matches of one principal give the same database user. Roles may differ: the provisioned user stays. */
export function isSameDatabaseUser({ grant: one }: Match, { grant: other }: Match): boolean {
  if (!('user' in one) || !('user' in other)) return 'roles' in one && 'roles' in other
  return one.user.name === other.user.name && one.user.db === other.user.db
}
