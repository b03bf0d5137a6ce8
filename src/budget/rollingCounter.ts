/**
 * Counts events by key, in the current period and the one before. Unlike the count of a fixed window it never drops to
 * zero while events go on.
 */
import { LRUCache } from 'lru-cache'
import type { CounterOptions } from './windowCounter.js'

export type RollingCounter = {
  add(key: string): void
  /** The events of the last one to two periods. */
  count(key: string): number
}

type Entry = { startedAt: number; current: number; previous: number }

/** Holds at most `maxEntries` keys and drops the least recently used one. */
export function createRollingCounter({ periodMS, maxEntries, now }: CounterOptions): RollingCounter {
  const entries = new LRUCache<string, Entry>({ max: maxEntries })
  /** The entry as of now; undefined if its events are too old. */
  const current = (key: string): Entry | undefined => {
    const entry = entries.get(key)
    const periods = entry ? Math.floor((now() - entry.startedAt) / periodMS) : 2
    if (!entry || periods === 0) return entry
    if (periods > 1) return undefined
    return { startedAt: entry.startedAt + periodMS, current: 0, previous: entry.current }
  }
  return {
    add(key) {
      const entry = current(key) ?? { startedAt: now(), current: 0, previous: 0 }
      entries.set(key, { ...entry, current: entry.current + 1 })
    },
    count(key) {
      const entry = current(key)
      return entry ? entry.current + entry.previous : 0
    },
  }
}
