/**
 * Derived SCRAM keys, remembered: stretching a password costs milliseconds of CPU, and a pool logs in a hundred times.
 *
 * Keys are kept only once a server has proven to know them (`check` of SCRAM gives them back), or whoever answers on the
 * upstream's address could fill the memory with salts of its choice (R28).
 */
import { createHash, pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'
import { LRUCache } from 'lru-cache'
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { type DeriveKeys, deriveKeys, type SaltedKeys, SCRAM_SHA_256, type ScramKeys } from '../sasl/scram.js'

/** Whose keys: a database user at one upstream. `upstream` is its host:port. */
export type ScramCredentials = { upstream: string; name: string; password: Secret }

export type ScramKeyCache = {
  /** The derivation for this user: from memory where a server has verified it, computed otherwise. */
  deriverFor(owner: ScramCredentials): DeriveKeys
  /** Remembers what `check` gave. */
  store(owner: ScramCredentials, verified: SaltedKeys): void
}

/** PBKDF2 with HMAC-SHA-256, 32 bytes. */
export type Stretch = (password: string, salt: Buffer, iterations: number) => Promise<Buffer>

const derived = promisify(pbkdf2)
const inThePool: Stretch = (password, salt, iterations) => derived(password, salt, iterations, 32, 'sha256')

/** `entries`: how many keys are kept at most, the longest unused going first. */
export function createScramKeyCache({
  maxEntries: entries,
  stretch = inThePool,
}: {
  maxEntries: number
  stretch?: Stretch
}): ScramKeyCache {
  const kept = new LRUCache<string, ScramKeys>({ max: entries })
  const known = new WeakSet<ScramKeys>()
  /** Logins that come at once wait for one derivation; this shares work in progress and remembers nothing. */
  const underway = new Map<string, Promise<ScramKeys>>()

  const compute = async (owner: ScramCredentials, salt: Buffer, iterations: number) =>
    deriveKeys(await stretch(await prepared(owner.password), salt, iterations))

  return {
    deriverFor: owner => (salt, iterations) => {
      const label = labelOf(owner, salt, iterations)
      const keys = kept.get(label)
      if (keys) return Promise.resolve(keys)
      const running = underway.get(label)
      if (running) return running
      const started = compute(owner, salt, iterations).finally(() => underway.delete(label))
      underway.set(label, started)
      return started
    },
    store: (owner, { salt, iterations, keys }) => {
      if (known.has(keys)) return // they came from here
      known.add(keys)
      kept.set(labelOf(owner, salt, iterations), keys)
    },
  }
}

const digests = new WeakMap<Secret, string>()

/** The password itself is not part of the label, a digest is: a changed password is another entry. */
function labelOf({ upstream, name, password }: ScramCredentials, salt: Buffer, iterations: number): string {
  const digest = digests.get(password) ?? createHash('sha256').update(password.reveal()).digest('base64')
  digests.set(password, digest)
  return JSON.stringify([upstream, SCRAM_SHA_256, name, digest, salt.toString('base64'), iterations])
}

/** What SASLprep leaves as it is; its tables, which are large, are loaded for the first password that is something else. */
const PLAIN = /^[\x20-\x7e]+$/

async function prepared(password: Secret): Promise<string> {
  const text = password.reveal()
  if (PLAIN.test(text)) return text
  const { saslprep } = await import('@mongodb-js/saslprep')
  try {
    return saslprep(text)
  } catch {
    // The library's message may quote the password, so it is not passed on.
    throw new Fault('upstream/authentication-failed', undefined, {
      why: 'the password has characters that SASLprep prohibits',
    })
  }
}
