/** The line before one bucket: who waits for its tokens, those that were lent already, and when more may be there. */
import type { Lease, Lend } from './buckets.js'
import { type Place, type Queue, queue } from './fairQueue.js'

export type Line<W extends Place> = {
  readonly bucket: string
  readonly queue: Queue<W>
  /** When it makes sense to ask for more tokens; undefined while they are asked for. */
  nextAt(): number | undefined
  /** What was lent. */
  learn(lease: Lease): void
  /** True if there is a token; if there is none, up to `wanted` are asked for, and `more` is called when they come late. */
  fund(wanted: number, more: () => void): boolean
  spend(): void
  /** Milliseconds until so many tokens have come. */
  msUntil(tokens: number): number
}

/** What a lender gives that cannot be reached: nothing, and it is asked again soon. */
const NOTHING = { tokens: 0, nextMS: 50, perSecond: 1 } satisfies Lease

/** A lease, at once where the lender can; one that fails is an empty one. */
export function leaseOf(lend: Lend, bucket: string, wanted: number): Lease | Promise<Lease> {
  const lent = lend(bucket, wanted)
  return lent instanceof Promise ? lent.catch(() => NOTHING) : lent
}

/** `now`: monotonic milliseconds. */
export function line<W extends Place>(bucket: string, lend: Lend, now: () => number): Line<W> {
  let tokens = 0
  let asking = false
  let nextAt = 0
  let perSecond: number = NOTHING.perSecond
  const learn = (lease: Lease): void => {
    tokens += lease.tokens
    nextAt = now() + lease.nextMS
    if (lease !== NOTHING) perSecond = lease.perSecond
  }
  return {
    bucket,
    queue: queue(),
    nextAt: () => (asking ? undefined : nextAt),
    learn,
    fund(wanted, more) {
      if (tokens > 0) return true
      if (asking || now() < nextAt) return false
      const lease = leaseOf(lend, bucket, wanted)
      if (lease instanceof Promise) {
        asking = true
        void lease.then(lent => {
          asking = false
          learn(lent)
          more()
        })
      } else learn(lease)
      return tokens > 0
    },
    spend: () => void tokens--,
    msUntil: count => (Math.max(0, count - tokens) * 1000) / perSecond,
  }
}
