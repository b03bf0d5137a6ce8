/** How often something happened, by key, within a period that begins with its first time. */
import { LRUCache } from 'lru-cache'

/** `last`: what was noted with the latest; `left`: milliseconds until the period ends and all is forgotten. */
export type WindowCount<T> = { count: number; last: T; remainingMS: number }

export type WindowCounter<T> = {
  add(key: string, what: T): void
  get(key: string): WindowCount<T> | undefined
  delete(key: string): void
  clear(): void
}

/** `entries` keys at most, the longest unused forgotten first. `now`: monotonic milliseconds. */
export function createWindowCounter<T>({
  periodMS,
  maxEntries,
  now,
}: {
  periodMS: number
  maxEntries: number
  now(): number
}): WindowCounter<T> {
  const kept = new LRUCache<string, { count: number; last: T; until: number }>({ max: maxEntries })
  const current = (key: string) => {
    const entry = kept.get(key)
    return entry && entry.until > now() ? entry : undefined
  }
  return {
    add(key, what) {
      const { count, until } = current(key) ?? { count: 0, until: now() + periodMS }
      kept.set(key, { count: count + 1, last: what, until })
    },
    get(key) {
      const entry = current(key)
      return entry && { count: entry.count, last: entry.last, remainingMS: entry.until - now() }
    },
    delete: key => void kept.delete(key),
    clear: () => kept.clear(),
  }
}
