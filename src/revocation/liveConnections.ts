/**
 * The live connections: who is logged in, or about to be, and by what decision.
 *
 * A connection enters as soon as its identity is known, and the deny list is asked after that (R24): whoever changes the
 * list then meets every connection that did not ask the changed one. All are looked at, since a change may mean any of
 * them, and others get their turn in between: twenty thousand would hold them up for too long.
 *
 *     review ──▶ some ─ others ─▶ some ─ others ─▶ all decided by it
 *                           └ review: from here on by the newer one, and then once more those decided before
 */
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { isSameDatabaseUser, type Match } from '../users/match.js'

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

export type ReviewConnection = (entry: LiveConnection) => Match | undefined | Fault

export type LiveConnections = {
  /** Until the returned function is called. */
  add(entry: LiveConnection): () => void
  forEach(visit: (entry: LiveConnection) => void): void
  size(): number
  /**
   * Decides about all of them again, and closes with `login/revoked` those that get a fault, nothing, another database
   * user than they have, or a shorter time (R24). One that is not decided yet is closed by a fault alone. Those who come
   * after the call have been decided by what it is about. Resolves when the newest one has decided about all, with the
   * faults of all that were closed since there was one to do so.
   */
  review(decide: ReviewConnection): Promise<readonly Fault[]>
}

/** How long others wait at most, in milliseconds. */
const SLICE_MS = 5

/** `now`: milliseconds. `others`: resolves when they had their turn. */
export function createLiveConnections({
  now,
  yieldToEventLoop: others,
}: {
  now(): number
  yieldToEventLoop(): Promise<void>
}): LiveConnections {
  /** With the number of the review that was the last to decide about it. */
  const entries = new Map<LiveConnection, number>()
  let newest = 0
  let decide: ReviewConnection
  let underway = false
  let last: Promise<readonly Fault[]>

  const decideAll = async (): Promise<readonly Fault[]> => {
    const closed: Fault[] = []
    let began = now()
    underway = true
    for (let round = 0; round !== newest; ) {
      round = newest
      for (const [entry, by] of entries) {
        if (by === newest) continue
        // A clock that is set back ends no slice, so it ends this one.
        if (Math.abs(now() - began) >= SLICE_MS) {
          await others()
          began = now()
          if (!entries.has(entry)) continue
        }
        entries.set(entry, newest)
        const decided = decide(entry)
        const why = complaint(entry.match, decided)
        if (why === undefined) {
          if (entry.match && decided && !(decided instanceof Fault)) entry.match = decided
          continue
        }
        entries.delete(entry)
        const fault = createRevokedFault(why, decided)
        closed.push(fault)
        entry.close(fault)
      }
    }
    underway = false
    return closed
  }
  return {
    add(entry) {
      entries.set(entry, newest)
      return () => void entries.delete(entry)
    },
    forEach(visit) {
      for (const entry of entries.keys()) visit(entry)
    },
    size: () => entries.size,
    review(by) {
      newest += 1
      decide = by
      if (!underway) last = decideAll()
      return last
    },
  }
}

function createRevokedFault(why: string, decided: Match | Fault | undefined): Fault {
  if (!(decided instanceof Fault)) return new Fault('login/revoked', undefined, { why })
  const denial = decided.data('login/denied')?.denial
  return new Fault('login/revoked', undefined, { why, cause: decided.kind, denial }, decided)
}

/** Why a connection may not go on; undefined where it may. */
function complaint(was: Match | undefined, is: Match | undefined | Fault): string | undefined {
  if (is instanceof Fault) return is.message
  if (was === undefined) return undefined
  if (is === undefined) return 'nothing lets this principal in any more'
  if (!isSameDatabaseUser(was, is)) return 'this principal is another database user now'
  // The time of a login is measured from its beginning, by the rule of then.
  const { maxAgeMS: before = Number.POSITIVE_INFINITY } = was
  return (is.maxAgeMS ?? before) < before ? 'its login may not last as long any more' : undefined
}
