/**
 * Token buckets: how often STS may be asked about each account, at each of its hosts.
 *
 *     rate   perSecond ─┐      ┌──────      a throttle takes a third of it, and empties the bucket;
 *                       │   ╱             time without one adds a twentieth of the whole each second
 *                       └─╱
 *
 * A throttle means that others spend the account's quota, too. It tells about that one bucket and about no other.
 */
import { LRUCache } from 'lru-cache'

/**
 * `tokens` to be spent at once; `nextMS` until it makes sense to ask again; `perSecond` is how fast they come, for whoever
 * has to guess how long a wait will be.
 */
export type Lease = { tokens: number; retryAfterMS: number; perSecond: number }

/**
 * Lends up to `wanted` tokens of a bucket, perhaps none. This is all that a login knows of the budget, so a process that
 * shares it with others asks somebody else behind the same type, for as many as wait there, and not once a login.
 */
export type AcquireTokens = (key: string, wanted: number) => Lease | Promise<Lease>

/** What a bucket is at: the tokens in it, and how many come each second now. */
export type BucketLevel = { tokens: number; perSecond: number }

export type TokenBuckets = {
  acquireTokens(key: string, wanted: number): Lease
  /** STS said that the account of this bucket asks too often. */
  recordThrottle(key: string): void
  level(key: string): BucketLevel
  /** Another rate from now on: what was spent stays spent, and what was cut stays cut. */
  setRate(rate: Rate): void
}

/** `perSecond` tokens, at most `burst` saved up. */
export type Rate = { perSecond: number; burst: number }

/** The parts of the rate: what a throttle leaves, the least that is left, and what comes back each second. */
const LEFT = 2 / 3
const LEAST = 1 / 64
const BACK = 1 / 20
/** Throttles within this time of the first come of calls that were made before it was known. Milliseconds. */
const SAME = 500

type Bucket = { tokens: number; at: number; cut: { at: number; to: number } | undefined }

/** `keys` buckets at most, the longest unused forgotten (as full). */
export function createTokenBuckets({
  maxKeys,
  now,
  ...first
}: Rate & { maxKeys: number; now(): number }): TokenBuckets {
  let { perSecond } = first
  let room = Math.max(1, first.burst)
  const known = new LRUCache<string, Bucket>({ max: maxKeys })

  /** What is left of the rate, and has come back. */
  const grown = ({ cut }: Bucket, time: number): number =>
    cut ? cut.to + (perSecond * BACK * (time - cut.at)) / 1000 : Number.POSITIVE_INFINITY
  const rateOf = (bucket: Bucket, time: number): number => Math.min(perSecond, grown(bucket, time))

  /** The bucket as it is now. */
  const filled = (key: string, time: number): Bucket => {
    const bucket = known.get(key)
    if (!bucket) return { tokens: room, at: time, cut: undefined }
    bucket.tokens = Math.min(room, bucket.tokens + (rateOf(bucket, time) * (time - bucket.at)) / 1000)
    bucket.at = time
    return bucket
  }

  return {
    acquireTokens(key, wanted) {
      const time = now()
      const bucket = filled(key, time)
      const tokens = Math.min(wanted, Math.floor(bucket.tokens))
      bucket.tokens -= tokens
      if (tokens > 0) known.set(key, bucket)
      const rate = rateOf(bucket, time)
      return { tokens, retryAfterMS: (Math.max(0, 1 - bucket.tokens) * 1000) / rate, perSecond: rate }
    },
    recordThrottle(key) {
      const time = now()
      const bucket = filled(key, time)
      if (bucket.cut && time - bucket.cut.at < SAME) return
      const to = Math.max(perSecond * LEAST, rateOf(bucket, time) * LEFT)
      known.set(key, { tokens: 0, at: time, cut: { at: time, to } })
    },
    level(key) {
      const time = now()
      const bucket = filled(key, time)
      return { tokens: bucket.tokens, perSecond: rateOf(bucket, time) }
    },
    setRate(rate) {
      const most = Math.max(1, rate.burst)
      if (rate.perSecond === perSecond && most === room) return
      const time = now()
      for (const key of [...known.keys()]) {
        const bucket = filled(key, time)
        const to = grown(bucket, time)
        bucket.tokens = Math.min(most, bucket.tokens)
        bucket.cut = to < Math.max(perSecond, rate.perSecond) ? { at: time, to } : undefined
      }
      perSecond = rate.perSecond
      room = most
    },
  }
}
