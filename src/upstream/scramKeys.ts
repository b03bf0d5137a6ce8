/**
 * Caches derived SCRAM keys. PBKDF2 takes milliseconds of CPU, and a connection pool logs in a hundred times.
 *
 * Keys are stored only after a server has proven that it knows them (`verifyServerFinal`). Otherwise a server that answers
 * at the upstream's address could fill the cache with salts of its choice.
 */
import { createHash, pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'
import { LRUCache } from 'lru-cache'
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { type DeriveKeys, deriveKeys, type SaltedKeys, SCRAM_SHA_256, type ScramKeys } from '../sasl/scram.js'

/** A database user at one upstream. `upstream` is its host:port. */
export type ScramCredentials = { upstream: string; name: string; password: Secret }

export type ScramKeyCache = {
  /** The key derivation of this user: cached keys if a server has verified them, otherwise computed ones. */
  deriverFor(credentials: ScramCredentials): DeriveKeys
  /** Stores what `verifyServerFinal` returned. */
  store(credentials: ScramCredentials, verified: SaltedKeys): void
}

/** Key stretching: PBKDF2 with HMAC-SHA-256 and a result of 32 bytes. */
export type Stretch = (password: string, salt: Buffer, iterations: number) => Promise<Buffer>

const pbkdf2Async = promisify(pbkdf2)
const stretchInThreadPool: Stretch = (password, salt, iterations) =>
  pbkdf2Async(password, salt, iterations, 32, 'sha256')

export type ScramKeyCacheOptions = {
  /** The least recently used keys are evicted first. */
  maxEntries: number
  stretch?: Stretch
}

export function createScramKeyCache({
  maxEntries,
  stretch = stretchInThreadPool,
}: ScramKeyCacheOptions): ScramKeyCache {
  const cache = new LRUCache<string, ScramKeys>({ max: maxEntries })
  const stored = new WeakSet<ScramKeys>()
  /** Concurrent logins share one derivation. */
  const pending = new Map<string, Promise<ScramKeys>>()

  const compute = async ({ password }: ScramCredentials, salt: Buffer, iterations: number) =>
    deriveKeys(await stretch(await preparePassword(password), salt, iterations))

  return {
    deriverFor: credentials => (salt, iterations) => {
      const cacheKey = formatCacheKey(credentials, salt, iterations)
      const cached = cache.get(cacheKey)
      if (cached) return Promise.resolve(cached)
      const running = pending.get(cacheKey)
      if (running) return running
      const derivation = compute(credentials, salt, iterations).finally(() => pending.delete(cacheKey))
      pending.set(cacheKey, derivation)
      return derivation
    },
    store: (credentials, { salt, iterations, keys }) => {
      if (stored.has(keys)) return // they came from the cache
      stored.add(keys)
      cache.set(formatCacheKey(credentials, salt, iterations), keys)
    },
  }
}

const passwordDigests = new WeakMap<Secret, string>()

/** Contains a digest of the password, so a changed password has another entry, and the key does not contain the password. */
function formatCacheKey({ upstream, name, password }: ScramCredentials, salt: Buffer, iterations: number): string {
  const digest = passwordDigests.get(password) ?? createHash('sha256').update(password.reveal()).digest('base64')
  passwordDigests.set(password, digest)
  return JSON.stringify([upstream, SCRAM_SHA_256, name, digest, salt.toString('base64'), iterations])
}

/** SASLprep leaves these passwords unchanged. Its tables are large, so they are loaded only for others. */
const PRINTABLE_ASCII = /^[\x20-\x7e]+$/

async function preparePassword(password: Secret): Promise<string> {
  const text = password.reveal()
  if (PRINTABLE_ASCII.test(text)) return text
  const { saslprep } = await import('@mongodb-js/saslprep')
  try {
    return saslprep(text)
  } catch {
    // The message of the library may contain the password.
    throw new Fault('upstream/authentication-failed', undefined, {
      why: 'the password has characters that SASLprep prohibits',
    })
  }
}
