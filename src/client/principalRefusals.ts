/**
 * Caches the credentials whose login was refused because their principal holds all of its session slots.
 *
 * Several drivers clear their pool on code 262 and try again at once, and every try would cost a call to STS. So the same
 * address, access key and session token gets the same answer without one, until a slot of the principal is free and for
 * 5 s at most. Only credentials that STS has verified are cached. The answer names no principal, because anyone may
 * send the key id and token of another client.
 */
import { LRUCache } from 'lru-cache'
import type { SessionSlots, SlotRequest } from './sessionSlots.js'

export type PrincipalRefusals = {
  /** Throws `login/principal-limit` if this credential was refused a moment ago and still would be. */
  assertNone(subnet: string, fingerprint: string): void
  store(subnet: string, fingerprint: string, request: SlotRequest): void
  /** Call this when rules or limits have changed. */
  clear(): void
}

const TTL_MS = 5_000

/** Holds at most `maxEntries` credentials. `now`: monotonic milliseconds. */
export function createPrincipalRefusals({
  slots,
  maxEntries,
  now,
}: {
  slots: Pick<SessionSlots, 'assertFreeFor'>
  maxEntries: number
  now(): number
}): PrincipalRefusals {
  const refused = new LRUCache<string, { request: SlotRequest; until: number }>({ max: maxEntries })
  const keyOf = (subnet: string, fingerprint: string) => `${subnet} ${fingerprint}`
  return {
    assertNone(subnet, fingerprint) {
      const key = keyOf(subnet, fingerprint)
      const entry = refused.get(key)
      if (!entry) return
      if (entry.until > now()) slots.assertFreeFor(entry.request)
      refused.delete(key)
    },
    store: (subnet, fingerprint, request) =>
      void refused.set(keyOf(subnet, fingerprint), { request, until: now() + TTL_MS }),
    clear: () => refused.clear(),
  }
}
