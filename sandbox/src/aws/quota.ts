/** How many calls a second one account may make at one endpoint. */

/**
 * A bucket for each key, filled to `perSecond` at each turn of the second, as STS does it (its burst is not published;
 * one second's worth is the assumption). The answer says whether there was a token. `now` is in milliseconds.
 * Keys are never dropped: they are accounts that proved who they are, of which a sandbox has a handful.
 */
export function createQuota(perSecond: number, now: () => number): (key: string) => boolean {
  const buckets = new Map<string, { second: number; left: number }>()
  return key => {
    const second = Math.floor(now() / 1000)
    const held = buckets.get(key)
    const bucket = held?.second === second ? held : { second, left: perSecond }
    buckets.set(key, bucket)
    if (bucket.left < 1) return false
    bucket.left--
    return true
  }
}
