/** The conditions of a match: network of the client, expiry, and the principal id. */
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { isExpired, type Match } from './match.js'
import { formatNetwork, isInNetworks } from './networks.js'

/** `peer`: the real address of the client. `now`: milliseconds since 1970. */
export type LoginContext = { peer: string; now: number }

type Principal = Pick<Identity, 'canonical' | 'principalId'>

/**
 * Checks every condition except `principalId: firstUse`, which needs the pin (see `assertPrincipalId`).
 * Throws `users/expired`, `users/source-not-allowed` or `users/recreated`.
 */
export function assertPermitted(match: Match, identity: Principal, { peer, now }: LoginContext): void {
  const { decidedBy, clientSource = [], deleteAfterDate, principalId } = match
  if (isExpired(match, now)) {
    throw new Fault('users/expired', deleteAfterDate?.toISOString(), decidedBy)
  }
  for (const networks of clientSource) {
    if (isInNetworks(peer, networks)) continue
    // Tell the client the address that the proxy sees: NAT may hide it. Only the log gets the allowed networks.
    throw new Fault('users/source-not-allowed', peer, { ...decidedBy, allowed: networks.map(formatNetwork) })
  }
  if (principalId !== undefined && principalId !== 'firstUse') assertPrincipalId(match, identity, principalId)
}

/** Throws `users/recreated` if the unique id of the principal differs from the expected one. */
export function assertPrincipalId(match: Match, { canonical, principalId }: Principal, expected: string): void {
  if (principalId === expected) return
  const detail = `the id of ${canonical} is ${principalId}, expected ${expected}`
  throw new Fault('users/recreated', detail, { ...match.decidedBy, principalId, pinned: expected })
}
