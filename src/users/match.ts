/** What was decided about a principal, by a rule or by the `$external` directory. */
import type { Secret } from '../log.js'

export type DatabaseUser = { name: string; db: string }

/** `collection`: the role cut down to one collection of `db` (read and readWrite only). */
export type Role = { role: string; db: string; collection?: string }

/** Addresses by their first `prefix` bits. */
export type Network = { address: string; prefix: number; family: 'ipv4' | 'ipv6' }

export type Match = {
  /** Where it stands: `rule` counts from 1, as people count the entries of a list; `entry` is a user of `$external`. */
  decidedBy: { rule: number } | { directoryUser: string }
  /** The principal, or the pattern, in its canonical spelling. */
  arn: string
  /** A database user with its password; or roles, for which the proxy keeps a database user of its own. */
  grant: { user: DatabaseUser; password: Secret } | { roles: readonly Role[] }
  /** Where the true address of the client has to be; in each list it must be in one network. */
  clientSource?: readonly (readonly Network[])[]
  /** From then on nobody logs in by it, and who did is closed. */
  deleteAfterDate?: Date
  /** The unique id (AIDA…, AROA…) that the principal must have; `firstUse` is the first one that is seen. */
  principalId?: string
  /** The longest that a login lasts, in milliseconds. */
  maxAgeMS?: number
}

/** Whether its time is over. `now`: milliseconds since 1970. */
export function isExpired({ deleteAfterDate }: Match, now: number): boolean {
  return deleteAfterDate !== undefined && deleteAfterDate.getTime() <= now
}

/** The roles for which the proxy keeps a database user; undefined where a match calls for none, or for none any more. */
export function getRolesToProvision(match: Match | undefined, now: number): readonly Role[] | undefined {
  return match && 'roles' in match.grant && !isExpired(match, now) ? match.grant.roles : undefined
}

/** Roles are given to the user that the proxy keeps for the principal, and change under it; so it stays the same one. */
export function isSameDatabaseUser({ grant: one }: Match, { grant: other }: Match): boolean {
  if (!('user' in one) || !('user' in other)) return 'roles' in one && 'roles' in other
  return one.user.name === other.user.name && one.user.db === other.user.db
}
