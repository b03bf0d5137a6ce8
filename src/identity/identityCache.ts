/**
 * Caches successful answers of STS. Using such an answer is the only exception to the rule that STS verifies every login;
 * it is off unless the operator enables it.
 *
 * Key id and token alone prove nothing, since other services have seen them. The proof is the client certificate,
 * which was verified in the TLS handshake of this connection. While an entry lives, a login is exactly as strong as that
 * certificate: workloads that share its private key count as one, and a load balancer that terminates TLS disables the
 * cache. Only temporary credentials are cached, since they expire by themselves; their expiry is noticed late by one entry
 * lifetime at most. That lifetime is at most a minute, begins before the call to STS, and is not extended by use.
 */
import { LRUCache } from 'lru-cache'
import type { Credential } from './credentialFingerprint.js'
import type { Identity } from './reply.js'

/** `certificate`: the fingerprint of the client certificate that the TLS handshake of this connection verified. */
export type IdentityCacheKey = Credential & { fingerprint: string; certificate: string | undefined }

/** `store` takes the answer of STS. It does nothing if this login cannot be cached, or after `clear`. */
export type IdentityCacheLookup = { identity: Identity | undefined; store(identity: Identity): void }

export type IdentityCache = {
  /** Call this before the call to STS: the lifetime of an entry begins here. */
  lookUp(key: IdentityCacheKey): IdentityCacheLookup
  /** Call this after rules, deny list or client CA have changed. */
  clear(): void
}

/** The upper limit of the lifetime, in milliseconds, whatever the setting. */
const MAX_TTL_MS = 60_000
/** Access key ids of temporary credentials. */
const TEMPORARY = /^ASIA/
const NOT_CACHED: IdentityCacheLookup = { identity: undefined, store() {} }

/** `ttlMS`: the lifetime of an entry; 0 disables the cache. `now`: monotonic milliseconds. */
export function createIdentityCache({
  ttlMS,
  maxEntries,
  now,
}: {
  ttlMS: number
  maxEntries: number
  now(): number
}): IdentityCache {
  const lifetimeMS = Math.min(ttlMS, MAX_TTL_MS)
  let cache = new LRUCache<string, { identity: Identity; until: number }>({ max: maxEntries })

  return {
    lookUp({ certificate, accessKeyId, token, fingerprint }) {
      if (lifetimeMS <= 0 || !certificate || token === undefined || !TEMPORARY.test(accessKeyId)) return NOT_CACHED
      const [current, startedAt] = [cache, now()]
      const key = `${certificate} ${fingerprint}`
      const entry = current.get(key)
      const isValid = entry !== undefined && startedAt < entry.until
      if (entry && !isValid) current.delete(key)
      return {
        identity: isValid ? entry.identity : undefined,
        // Stores into the cache of the lookup: after `clear` nothing reads that one.
        store: identity => void current.set(key, { identity, until: startedAt + lifetimeMS }),
      }
    },
    clear() {
      cache = new LRUCache({ max: maxEntries })
    },
  }
}
