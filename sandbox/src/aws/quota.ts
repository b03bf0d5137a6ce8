/** The number of calls per second that one account may make at one endpoint. */

/**
 * A token bucket per key that is refilled to `perSecond` when a new second begins, as STS does it. AWS does not publish
 * the burst; one second's worth is an assumption. The returned function takes a token and tells whether there was one.
 * `now` is in milliseconds. Keys are never evicted: they are authenticated accounts, and a sandbox has a handful.
 */
export function createQuota(perSecond: number, now: () => number): (key: string) => boolean {
  const buckets = new Map<string, { second: number; left: number }>()
  return key => {
    const second = Math.floor(now() / 1000)
    const current = buckets.get(key)
    const bucket = current?.second === second ? current : { second, left: perSecond }
    buckets.set(key, bucket)
    if (bucket.left < 1) return false
    bucket.left--
    return true
  }
}
