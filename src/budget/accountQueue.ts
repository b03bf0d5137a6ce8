/** The line before one bucket: who waits for its tokens, those that were lent already, and when more may be there. */
import type { AcquireTokens, Lease } from './buckets.js'
import { createFairQueue, type FairQueue, type QueueEntry } from './fairQueue.js'

export type AccountQueue<W extends QueueEntry> = {
  readonly bucket: string
  readonly queue: FairQueue<W>
  /** When it makes sense to ask for more tokens; undefined while they are asked for. */
  nextAt(): number | undefined
  /** What was lent. */
  addLease(lease: Lease): void
  /** True if there is a token; if there is none, up to `wanted` are asked for, and `more` is called when they come late. */
  ensureToken(wanted: number, more: () => void): boolean
  spendToken(): void
  /** Milliseconds until so many tokens have come. */
  waitMS(tokens: number): number
}

/** What a lender gives that cannot be reached: nothing, and it is asked again soon. */
const NOTHING = { tokens: 0, retryAfterMS: 50, perSecond: 1 } satisfies Lease

/** A lease, at once where the lender can; one that fails is an empty one. */
export function requestLease(lend: AcquireTokens, bucket: string, wanted: number): Lease | Promise<Lease> {
  const lent = lend(bucket, wanted)
  return lent instanceof Promise ? lent.catch(() => NOTHING) : lent
}

/** `now`: monotonic milliseconds. */
export function createAccountQueue<W extends QueueEntry>(
  bucket: string,
  lend: AcquireTokens,
  now: () => number,
): AccountQueue<W> {
  let tokens = 0
  let asking = false
  let nextAt = 0
  let perSecond: number = NOTHING.perSecond
  const addLease = (lease: Lease): void => {
    tokens += lease.tokens
    nextAt = now() + lease.retryAfterMS
    if (lease !== NOTHING) perSecond = lease.perSecond
  }
  return {
    bucket,
    queue: createFairQueue(),
    nextAt: () => (asking ? undefined : nextAt),
    addLease,
    ensureToken(wanted, more) {
      if (tokens > 0) return true
      if (asking || now() < nextAt) return false
      const lease = requestLease(lend, bucket, wanted)
      if (lease instanceof Promise) {
        asking = true
        void lease.then(lent => {
          asking = false
          addLease(lent)
          more()
        })
      } else addLease(lease)
      return tokens > 0
    },
    spendToken: () => void tokens--,
    waitMS: count => (Math.max(0, count - tokens) * 1000) / perSecond,
  }
}
