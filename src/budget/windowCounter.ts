/** How often something happened, by key, within a period that begins with its first time. */
import { LRUCache } from 'lru-cache'

/** `last`: what was noted with the latest; `left`: milliseconds until the period ends and all is forgotten. */
export type Counted<T> = { count: number; last: T; left: number }

export type Tally<T> = {
  add(key: string, what: T): void
  of(key: string): Counted<T> | undefined
  forget(key: string): void
  clear(): void
}

/** `entries` keys at most, the longest unused forgotten first. `now`: monotonic milliseconds. */
export function tally<T>({ periodMS, entries, now }: { periodMS: number; entries: number; now(): number }): Tally<T> {
  const kept = new LRUCache<string, { count: number; last: T; until: number }>({ max: entries })
  const current = (key: string) => {
    const entry = kept.get(key)
    return entry && entry.until > now() ? entry : undefined
  }
  return {
    add(key, what) {
      const { count, until } = current(key) ?? { count: 0, until: now() + periodMS }
      kept.set(key, { count: count + 1, last: what, until })
    },
    of(key) {
      const entry = current(key)
      return entry && { count: entry.count, last: entry.last, left: entry.until - now() }
    },
    forget: key => void kept.delete(key),
    clear: () => kept.clear(),
  }
}
