/** What a match asks of a login beyond who it is: from where, until when, and that the principal was not made anew. */
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { isExpired, type Match } from './match.js'
import { formatNetwork, isInNetworks } from './networks.js'

/** `peer` is the true address of the client, `now` in milliseconds since 1970. */
export type LoginContext = { peer: string; now: number }

type Principal = Pick<Identity, 'canonical' | 'principalId'>

/**
 * Lets the identity pass. Throws `users/expired`, `users/source-not-allowed`, `users/recreated`. A pin of `firstUse` is judged by
 * `unchanged`, once it is known.
 */
export function assertPermitted(match: Match, identity: Principal, { peer, now }: LoginContext): void {
  const { clientSource = [], deleteAfterDate, principalId } = match
  if (isExpired(match, now)) {
    throw new Fault('users/expired', deleteAfterDate?.toISOString(), whichOf(match))
  }
  for (const networks of clientSource) {
    if (isInNetworks(peer, networks)) continue
    // The client knows its own address, which may not be the one that it thinks; the networks are for the log.
    throw new Fault('users/source-not-allowed', peer, { ...whichOf(match), allowed: networks.map(formatNetwork) })
  }
  if (principalId !== undefined && principalId !== 'firstUse') assertPrincipalId(match, identity, principalId)
}

/** Lets the principal pass that has the pinned id. Throws `users/recreated`. */
export function assertPrincipalId(match: Match, { canonical, principalId }: Principal, pinned: string): void {
  if (principalId === pinned) return
  const detail = `${canonical} is ${principalId} now and was ${pinned}`
  throw new Fault('users/recreated', detail, { ...whichOf(match), principalId, pinned })
}

/** For the log: the rule or the entry that decided. */
export function whichOf({ decidedBy }: Match): Match['decidedBy'] {
  return decidedBy
}
