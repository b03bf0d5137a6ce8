/**
 * Token buckets limit the calls to STS per account and STS host.
 *
 *     rate   perSecond ─┐      ┌──────      a throttle cuts the rate by a third and empties the bucket;
 *                       │   ╱             each second without a throttle adds a twentieth of the full rate
 *                       └─╱
 *
 * A throttle means that other callers use the same account's quota. It says nothing about any other bucket.
 */
import { LRUCache } from 'lru-cache'

/**
 * `tokens` may be spent at once. Requesting more makes sense after `retryAfterMS`. `perSecond` is the current rate, for
 * callers that estimate a wait.
 */
export type Lease = { tokens: number; retryAfterMS: number; perSecond: number }

/**
 * Takes up to `wanted` tokens from a bucket, possibly none. Logins know no more of the budget than this type, so
 * that processes can share a budget: an implementation may ask another process, for all waiting logins at once instead of
 * once per login.
 */
export type AcquireTokens = (key: string, wanted: number) => Lease | Promise<Lease>

/** The state of a bucket: its tokens, and its current rate in tokens per second. */
export type BucketLevel = { tokens: number; perSecond: number }

export type TokenBuckets = {
  acquireTokens(key: string, wanted: number): Lease
  /** STS throttled the account of this bucket. */
  recordThrottle(key: string): void
  level(key: string): BucketLevel
  /** Changes the rate from now on. Spent tokens stay spent, and a rate that a throttle cut stays cut. */
  setRate(rate: Rate): void
}

/** `perSecond` tokens arrive each second; a bucket holds at most `burst`. */
export type Rate = { perSecond: number; burst: number }

/** A throttle leaves this fraction of the current rate … */
const CUT = 2 / 3
/** … but at least this fraction of the full rate. */
const MIN_RATE = 1 / 64
/** The fraction of the full rate that a cut rate regains each second. */
const RECOVERY = 1 / 20
/** Throttles this soon after the first one answer calls that were made before it was known. Milliseconds. */
const SAME_THROTTLE_MS = 500

type Bucket = { tokens: number; at: number; cut: { at: number; to: number } | undefined }

/** Holds at most `maxKeys` buckets. The least recently used one is dropped, and counts as full when it is used again. */
export function createTokenBuckets({
  maxKeys,
  now,
  ...initial
}: Rate & { maxKeys: number; now(): number }): TokenBuckets {
  let { perSecond } = initial
  let capacity = Math.max(1, initial.burst)
  const buckets = new LRUCache<string, Bucket>({ max: maxKeys })

  /** The rate that the last throttle left, plus what was regained since. */
  const recoveredRate = ({ cut }: Bucket, time: number): number =>
    cut ? cut.to + (perSecond * RECOVERY * (time - cut.at)) / 1000 : Number.POSITIVE_INFINITY
  const rateOf = (bucket: Bucket, time: number): number => Math.min(perSecond, recoveredRate(bucket, time))

  /** The bucket with the tokens that have arrived by `time`. */
  const refilled = (key: string, time: number): Bucket => {
    const bucket = buckets.get(key)
    if (!bucket) return { tokens: capacity, at: time, cut: undefined }
    bucket.tokens = Math.min(capacity, bucket.tokens + (rateOf(bucket, time) * (time - bucket.at)) / 1000)
    bucket.at = time
    return bucket
  }

  return {
    acquireTokens(key, wanted) {
      const time = now()
      const bucket = refilled(key, time)
      const tokens = Math.min(wanted, Math.floor(bucket.tokens))
      bucket.tokens -= tokens
      if (tokens > 0) buckets.set(key, bucket)
      const rate = rateOf(bucket, time)
      return { tokens, retryAfterMS: (Math.max(0, 1 - bucket.tokens) * 1000) / rate, perSecond: rate }
    },
    recordThrottle(key) {
      const time = now()
      const bucket = refilled(key, time)
      if (bucket.cut && time - bucket.cut.at < SAME_THROTTLE_MS) return
      const to = Math.max(perSecond * MIN_RATE, rateOf(bucket, time) * CUT)
      buckets.set(key, { tokens: 0, at: time, cut: { at: time, to } })
    },
    level(key) {
      const time = now()
      const bucket = refilled(key, time)
      return { tokens: bucket.tokens, perSecond: rateOf(bucket, time) }
    },
    setRate(rate) {
      const newCapacity = Math.max(1, rate.burst)
      if (rate.perSecond === perSecond && newCapacity === capacity) return
      const time = now()
      for (const key of [...buckets.keys()]) {
        const bucket = refilled(key, time)
        const to = recoveredRate(bucket, time)
        bucket.tokens = Math.min(newCapacity, bucket.tokens)
        bucket.cut = to < Math.max(perSecond, rate.perSecond) ? { at: time, to } : undefined
      }
      perSecond = rate.perSecond
      capacity = newCapacity
    },
  }
}
