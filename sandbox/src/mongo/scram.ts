/**
 * The server side of SCRAM: stored credentials, and the verification of a client.
 *
 *     client-first   n,,n=<user>,r=<client nonce>
 *     server-first   r=<client nonce + server nonce>,s=<salt>,i=<iterations>
 *     client-final   c=biws,r=<both nonces>,p=<proof>
 *     server-final   v=<server signature>
 *
 * RFC 5802, RFC 7677; https://github.com/mongodb/specifications/blob/master/source/auth/auth.md
 */
import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from 'node:crypto'
import { saslprep } from '@mongodb-js/saslprep'
import { type Document, Int32 } from 'bson'
import { CommandError } from './commandError.js'

export type Mechanism = 'SCRAM-SHA-256' | 'SCRAM-SHA-1'

/** The parameters of mongod. `prepared`: the form of the password that is hashed. */
export const mechanisms = {
  'SCRAM-SHA-1': {
    hash: 'sha1',
    iterations: 10_000,
    salt: 16,
    prepared: (user: string, password: string) => createHash('md5').update(`${user}:mongo:${password}`).digest('hex'),
  },
  'SCRAM-SHA-256': {
    hash: 'sha256',
    iterations: 15_000,
    salt: 28,
    prepared: (_user: string, password: string) => saslprep(password),
  },
} as const satisfies Record<Mechanism, unknown>

export const isMechanism = (name: unknown): name is Mechanism =>
  typeof name === 'string' && Object.hasOwn(mechanisms, name)

/** The stored form of a password, as in `credentials` of admin.system.users. */
export function createCredentials(
  mechanism: Mechanism,
  user: string,
  password: string,
  random: (size: number) => Buffer,
): Document {
  const { hash, iterations, salt: size, prepared } = mechanisms[mechanism]
  const salt = random(size)
  const length = createHash(hash).digest().length
  const salted = pbkdf2Sync(prepared(user, password), salt, iterations, length, hash)
  const clientKey = createHmac(hash, salted).update('Client Key').digest()
  return {
    iterationCount: new Int32(iterations),
    salt: salt.toString('base64'),
    storedKey: createHash(hash).update(clientKey).digest('base64'),
    serverKey: createHmac(hash, salted).update('Server Key').digest('base64'),
  }
}

/** The state after the first message. */
export type Challenge = { mechanism: Mechanism; user: string; stored: Document; nonce: string; authMessage: string }

/** Parses client-first. `bare` is the part after `n,,`. */
export function parseClientFirst(payload: Buffer): { user: string; nonce: string; bare: string } {
  const message = payload.toString()
  const [, bare, user, nonce] = /^n,[^,]*,(n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+))$/s.exec(message) ?? []
  if (bare === undefined || user === undefined || nonce === undefined) {
    throw new CommandError('AuthenticationFailed', 'Authentication failed.')
  }
  return { user: user.replaceAll('=2C', ',').replaceAll('=3D', '='), nonce, bare }
}

/** Creates server-first with 24 random bytes. */
export function createChallenge(
  mechanism: Mechanism,
  first: { user: string; nonce: string; bare: string },
  stored: Document,
  random: (size: number) => Buffer,
): { challenge: Challenge; payload: Buffer } {
  const nonce = first.nonce + random(24).toString('base64')
  const message = `r=${nonce},s=${stored.salt},i=${Number(stored.iterationCount)}`
  return {
    challenge: { mechanism, user: first.user, stored, nonce, authMessage: `${first.bare},${message}` },
    payload: Buffer.from(message),
  }
}

/** Verifies client-final and returns server-final. Throws AuthenticationFailed. */
export function verifyClientFinal({ mechanism, stored, nonce, authMessage }: Challenge, payload: Buffer): Buffer {
  const { hash } = mechanisms[mechanism]
  const [, bare, given, proof] = /^(c=biws,r=([^,]+)),p=([^,]+)$/.exec(payload.toString()) ?? []
  if (bare === undefined || given !== nonce || proof === undefined) throw wrong()
  const message = `${authMessage},${bare}`
  const storedKey = Buffer.from(stored.storedKey, 'base64')
  const signature = createHmac(hash, storedKey).update(message).digest()
  const mask = Buffer.from(proof, 'base64')
  if (mask.length !== signature.length) throw wrong()
  const clientKey = signature.map((byte, at) => byte ^ (mask[at] as number))
  if (!timingSafeEqual(createHash(hash).update(clientKey).digest(), storedKey)) throw wrong()
  const server = createHmac(hash, Buffer.from(stored.serverKey, 'base64')).update(message).digest('base64')
  return Buffer.from(`v=${server}`)
}

function wrong(): CommandError {
  return new CommandError('AuthenticationFailed', 'Authentication failed.')
}
