/**
 * What STS refused and would refuse again whoever signs, so that a client that loops with an expired token costs one
 * call and not one a second.
 *
 * STS looks at key and token before the signature (the order of its checks is known from probes), so these refusals say
 * nothing about who sent them. SignatureDoesNotMatch is not among them and never may be: whoever knows a key id and its
 * token, and both are shown to others, could keep the owner out with signatures made up.
 *
 * There is no setting for the times: an expired token stays so, and a new key reaches all of STS within seconds.
 */
import { LRUCache } from 'lru-cache'
import type { StsOutcome } from './outcome.js'

export type RefusedOutcome = StsOutcome & { is: 'refused' }

export type RefusalCache = {
  /** What STS said about this holder of a key and token at this host, if it said so lately. */
  get(host: string, holder: string): RefusedOutcome | undefined
  /** Remembers an outcome that is worth it; `source` is who pays for the place. */
  store(host: string, holder: string, outcome: StsOutcome, source: string): void
}

/** How long, in milliseconds. */
const KEPT: Readonly<Record<string, number>> = { ExpiredToken: 5 * 60_000, InvalidClientTokenId: 5_000 }

type Entry = { outcome: RefusedOutcome; until: number; source: string }

/**
 * `entries` at most, the longest unused going first, and of one source at most `perSource`, so that a flood from one
 * address pushes out its own. `now`: monotonic milliseconds.
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
  /** Labels by source, the oldest first; a source is here only while it has an entry. */
  const bySource = new Map<string, Set<string>>()
  const kept = new LRUCache<string, Entry>({
    max: maxEntries,
    dispose({ source }, name) {
      const own = bySource.get(source)
      own?.delete(name)
      if (own?.size === 0) bySource.delete(source)
    },
  })
  const nameOf = (host: string, holder: string) => `${host} ${holder}`

  return {
    get(host, holder) {
      const name = nameOf(host, holder)
      const entry = kept.get(name)
      if (entry && entry.until > now()) return entry.outcome
      if (entry) kept.delete(name)
      return undefined
    },
    store(host, holder, outcome, source) {
      if (outcome.is !== 'refused') return
      const ms = Object.hasOwn(KEPT, outcome.code) ? KEPT[outcome.code] : undefined
      if (ms === undefined) return
      const name = nameOf(host, holder)
      kept.delete(name)
      const own = bySource.get(source) ?? new Set()
      const [oldest] = own
      if (oldest !== undefined && own.size >= maxPerSource) kept.delete(oldest)
      // A set that the line before emptied has left the map.
      bySource.set(source, own.add(name))
      kept.set(name, { outcome, until: now() + ms, source })
    },
  }
}
