/**
 * Token buckets: how often each account may be asked about at STS, first come, first served.
 *
 * A bucket is one number, the moment at which it will be full again. Who takes a token that is not there yet is told how
 * long to wait for it, and whoever comes later waits behind.
 */
import { LRUCache } from 'lru-cache'

export type Buckets = {
  /**
   * Takes a token. Gives the milliseconds after which it may be spent, 0 for at once; or, if that would be more than
   * `patience`, nothing is taken and the wait is given as a negative number.
   */
  take(key: string, patience: number): number
}

/** `perSecond` tokens, at most `burst` saved up; `keys` buckets at most, the longest unused forgotten (as full). */
export function buckets({
  perSecond,
  burst,
  keys,
  now,
}: {
  perSecond: number
  burst: number
  keys: number
  now(): number
}): Buckets {
  const cost = 1000 / perSecond
  const room = Math.max(1, burst) * cost
  const full = new LRUCache<string, number>({ max: keys })
  return {
    take(key, patience) {
      const time = now()
      const next = Math.max(full.get(key) ?? 0, time) + cost
      const wait = Math.max(0, next - room - time)
      if (wait > patience) return -wait
      full.set(key, next)
      return wait
    },
  }
}
