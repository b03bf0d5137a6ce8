/**
 * A success of STS that stands in for the next one: the single exception to asking about every login, and off unless an
 * operator turns it on.
 *
 * Key id and token prove nothing, as others have seen them. What makes this bearable is the client certificate, verified
 * in this very TLS handshake: until the entry is over, a login is as good as that certificate and no better. So it is
 * worth what its private key is worth: workloads that share one are one, and a load balancer that ends TLS voids it.
 * Temporary keys only, since they end by themselves (at most this long before it is noticed here); a minute at most,
 * counted from before STS was asked, and using an entry does not lengthen it.
 */
import { LRUCache } from 'lru-cache'
import type { Credential } from './credentialFingerprint.js'
import type { Identity } from './reply.js'

/** `holder`: its label. `certificate`: the fingerprint of a client certificate that a full handshake verified. */
export type IdentityCacheKey = Credential & { fingerprint: string; certificate: string | undefined }

/** `keep` takes what STS says now; it does nothing where nothing may be remembered, or after a `flush` in between. */
export type IdentityCacheLookup = { identity: Identity | undefined; store(identity: Identity): void }

export type IdentityCache = {
  /** Looks up a bearer, before STS is asked. */
  lookUp(bearer: IdentityCacheKey): IdentityCacheLookup
  /** Forgets all: rules, deny list or client CA have changed. */
  clear(): void
}

/** Milliseconds; whatever is asked for, nothing lives longer. */
const LONGEST = 60_000
/** Key ids of temporary credentials. */
const TEMPORARY = /^ASIA/
const NOTHING: IdentityCacheLookup = { identity: undefined, store() {} }

/** `ms`: how long a success is good for; 0 remembers nothing. `entries` at most. `now`: monotonic milliseconds. */
export function createIdentityCache({
  ttlMS,
  maxEntries,
  now,
}: {
  ttlMS: number
  maxEntries: number
  now(): number
}): IdentityCache {
  const lifetime = Math.min(ttlMS, LONGEST)
  let kept = new LRUCache<string, { identity: Identity; until: number }>({ max: maxEntries })

  return {
    lookUp({ certificate, accessKeyId, token, fingerprint }) {
      if (lifetime <= 0 || !certificate || token === undefined || !TEMPORARY.test(accessKeyId)) return NOTHING
      const [at, asked] = [kept, now()]
      const name = `${certificate} ${fingerprint}`
      const entry = at.get(name)
      const good = entry !== undefined && asked < entry.until
      if (entry && !good) at.delete(name)
      return {
        identity: good ? entry.identity : undefined,
        // Into the memory that was asked: after a flush nobody reads it any more.
        store: identity => void at.set(name, { identity, until: asked + lifetime }),
      }
    },
    clear() {
      kept = new LRUCache({ max: maxEntries })
    },
  }
}
