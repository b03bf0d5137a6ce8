/**
 * The live connections: who is logged in, or about to be, and by what decision.
 *
 * A connection enters as soon as its identity is known, and the deny list is asked after that (R24): whoever changes the
 * list then meets every connection that did not ask the changed one. All are looked at in one pass, since a change may
 * mean any of them; twenty thousand take a few milliseconds.
 */
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { isSameUser, type Match } from './match.js'

export type LiveConnection = {
  /** Of the last login over it: a later one may be of another session of the same role. */
  identity: Identity
  accessKeyId: string
  /** The client's address. */
  readonly peer: string
  /** By what it is logged in; undefined while that is not decided. */
  match: Match | undefined
  close(fault: Fault): void
}

export type Live = {
  /** Until the returned function is called. */
  enter(entry: LiveConnection): () => void
  each(visit: (entry: LiveConnection) => void): void
  size(): number
  /**
   * Decides about all of them again, and closes with `login/revoked` those that get a fault, nothing, another database
   * user than they have, or a shorter time (R24). One that is not decided yet is closed by a fault alone. Returns how many were closed.
   */
  review(decide: (entry: LiveConnection) => Match | undefined | Fault): number
}

export function live(): Live {
  const entries = new Set<LiveConnection>()
  return {
    enter(entry) {
      entries.add(entry)
      return () => void entries.delete(entry)
    },
    each: visit => entries.forEach(visit),
    size: () => entries.size,
    review(decide) {
      let closed = 0
      for (const entry of entries) {
        const decided = decide(entry)
        const why = complaint(entry.match, decided)
        if (why === undefined) {
          if (entry.match && decided && !(decided instanceof Fault)) entry.match = decided
          continue
        }
        closed += 1
        entries.delete(entry)
        const facts = decided instanceof Fault ? { ...decided.facts, because: decided.kind } : {}
        entry.close(new Fault('login/revoked', undefined, { ...facts, why }))
      }
      return closed
    },
  }
}

/** Why a connection may not go on; undefined where it may. */
function complaint(was: Match | undefined, is: Match | undefined | Fault): string | undefined {
  if (is instanceof Fault) return is.message
  if (was === undefined) return undefined
  if (is === undefined) return 'nothing lets this principal in any more'
  if (!isSameUser(was, is)) return 'this principal is another database user now'
  // The time of a login is measured from its beginning, by the rule of then.
  const { maxAgeMS: before = Number.POSITIVE_INFINITY } = was
  return (is.maxAgeMS ?? before) < before ? 'its login may not last as long any more' : undefined
}
