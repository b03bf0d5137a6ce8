/**
 * Caches refusals of STS that no signature would change. A client that loops with an expired token then costs one call to
 * STS, instead of one per login.
 *
 * STS checks key and token before it checks the signature (observed by probing), so these refusals are true of every
 * client that uses the credential. SignatureDoesNotMatch must never be cached: anyone who knows a key id and its token,
 * which other services see, could lock out the owner with made-up signatures.
 *
 * The lifetimes are constants. An expired token stays expired. A new key is known to all of STS 3 to 10 seconds after it
 * was created, and its first login must succeed soon after that.
 */
import { LRUCache } from 'lru-cache'
import type { StsOutcome } from './outcome.js'

export type RefusedOutcome = StsOutcome & { is: 'refused' }

export type RefusalCache = {
  get(host: string, fingerprint: string): RefusedOutcome | undefined
  /** Stores an outcome if it can be cached. `source` is the subnet whose share of the cache the entry uses. */
  store(host: string, fingerprint: string, outcome: StsOutcome, source: string): void
}

/** Lifetimes in milliseconds. */
const TTL_MS: Readonly<Record<string, number>> = { ExpiredToken: 5 * 60_000, InvalidClientTokenId: 1_500 }

type Entry = { outcome: RefusedOutcome; until: number; source: string }

/**
 * Holds at most `maxEntries` entries, and at most `maxPerSource` of each source, so that a flood from one address evicts
 * its own entries alone. `now`: monotonic milliseconds.
 */
export function createRefusalCache({
  maxEntries,
  maxPerSource,
  now,
}: {
  maxEntries: number
  maxPerSource: number
  now(): number
}): RefusalCache {
  /** The keys of each source that has entries, oldest first. */
  const keysBySource = new Map<string, Set<string>>()
  const cache = new LRUCache<string, Entry>({
    max: maxEntries,
    dispose({ source }, key) {
      const keys = keysBySource.get(source)
      keys?.delete(key)
      if (keys?.size === 0) keysBySource.delete(source)
    },
  })
  const keyOf = (host: string, fingerprint: string) => `${host} ${fingerprint}`

  return {
    get(host, fingerprint) {
      const key = keyOf(host, fingerprint)
      const entry = cache.get(key)
      if (entry && entry.until > now()) return entry.outcome
      if (entry) cache.delete(key)
      return undefined
    },
    store(host, fingerprint, outcome, source) {
      if (outcome.is !== 'refused') return
      const ttlMS = Object.hasOwn(TTL_MS, outcome.code) ? TTL_MS[outcome.code] : undefined
      if (ttlMS === undefined) return
      const key = keyOf(host, fingerprint)
      cache.delete(key)
      const keys = keysBySource.get(source) ?? new Set()
      const [oldest] = keys
      if (oldest !== undefined && keys.size >= maxPerSource) cache.delete(oldest)
      // `dispose` removes a set that becomes empty from the map, so put it back.
      keysBySource.set(source, keys.add(key))
      cache.set(key, { outcome, until: now() + ttlMS, source })
    },
  }
}
