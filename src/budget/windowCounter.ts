/** Counts events by key within a fixed window, which begins with the first event of the key. */
import { LRUCache } from 'lru-cache'

/** `last`: the detail of the latest event. `remainingMS`: milliseconds until the window ends and the count is dropped. */
export type WindowCount<T> = { count: number; last: T; remainingMS: number }

export type CounterOptions = {
  periodMS: number
  maxEntries: number
  /** Monotonic milliseconds. */
  now(): number
}

export type WindowCounter<T> = {
  add(key: string, detail: T): void
  get(key: string): WindowCount<T> | undefined
  delete(key: string): void
  clear(): void
}

/** Holds at most `maxEntries` keys and drops the least recently used one. */
export function createWindowCounter<T>({ periodMS, maxEntries, now }: CounterOptions): WindowCounter<T> {
  const entries = new LRUCache<string, { count: number; last: T; until: number }>({ max: maxEntries })
  const current = (key: string) => {
    const entry = entries.get(key)
    return entry && entry.until > now() ? entry : undefined
  }
  return {
    add(key, detail) {
      const { count, until } = current(key) ?? { count: 0, until: now() + periodMS }
      entries.set(key, { count: count + 1, last: detail, until })
    },
    get(key) {
      const entry = current(key)
      return entry && { count: entry.count, last: entry.last, remainingMS: entry.until - now() }
    },
    delete: key => void entries.delete(key),
    clear: () => entries.clear(),
  }
}
