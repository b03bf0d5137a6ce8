/**
 * The client side of SCRAM-SHA-256 (RFC 5802, RFC 7677), as three functions. Each one requires the result of the one before.
 *
 *     client-first   n,,n=<user>,r=<client nonce>
 *     server-first   r=<client nonce><server nonce>,s=<base64 salt>,i=<iterations>
 *     client-final   c=biws,r=<both nonces>,p=<base64 proof>
 *     server-final   v=<base64 server signature>   or   e=<error>
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { Fault } from '../errors.js'

export const SCRAM_SHA_256 = 'SCRAM-SHA-256'

/**
 * Fewer iterations make it cheap to guess the password of a recorded login. More iterations let a hostile upstream exhaust
 * the CPU.
 */
const ITERATIONS = { min: 4_096, max: 1_000_000 }
const HASH_BYTES = 32

/** The keys that are derived from a password. They grant access like the password, so never log them. */
export type ScramKeys = { clientKey: Buffer; serverKey: Buffer }
/** Derives the keys from the password of the user. PBKDF2 is slow by design, so the caller passes an asynchronous function. */
export type DeriveKeys = (salt: Buffer, iterations: number) => Promise<ScramKeys>

export type ClientFirst = { payload: Buffer; bare: string; nonce: string }
export type ClientFinal = { payload: Buffer; signature: Buffer; saltedKeys: SaltedKeys }
/** The keys of a password for one salt. `verifyServerFinal` returns them only for a server that knows the password. */
export type SaltedKeys = { salt: Buffer; iterations: number; keys: ScramKeys }

/**
 * Begins a login. `nonce`: unused, printable, without commas. The user name is not prepared with SASLprep, since MongoDB
 * servers do not prepare it either.
 */
export function createClientFirst(user: string, nonce: string): ClientFirst {
  const bare = `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`
  return { payload: Buffer.from(`n,,${bare}`), bare, nonce }
}

/** Answers server-first. Throws `upstream/protocol-error`, and what `derive` throws. */
export async function createClientFinal(start: ClientFirst, derive: DeriveKeys, message: Buffer): Promise<ClientFinal> {
  const { nonce, salt, iterations } = readServerFirst(start, message)
  const keys = await derive(salt, iterations)
  const withoutProof = `c=biws,r=${nonce}`
  const signed = `${start.bare},${message.toString()},${withoutProof}`
  const storedKey = createHash('sha256').update(keys.clientKey).digest()
  const proof = xor(keys.clientKey, hmac(storedKey, signed))
  return {
    payload: Buffer.from(`${withoutProof},p=${proof.toString('base64')}`),
    signature: hmac(keys.serverKey, signed),
    saltedKeys: { salt, iterations, keys },
  }
}

/**
 * Verifies that the server knows the password. The keys may be cached only after that, so this function returns them.
 * Throws `upstream/authentication-failed` if the server reports an error, `upstream/protocol-error` for a wrong signature.
 */
export function verifyServerFinal({ signature, saltedKeys }: ClientFinal, message: Buffer): SaltedKeys {
  const [, name, value = ''] = /^([ev])=([^,]*)(?:,[A-Za-z]=[^,]*)*$/.exec(message.toString()) ?? []
  if (name === 'e') throw new Fault('upstream/authentication-failed', undefined, { error: value.slice(0, 100) })
  const given = name === 'v' ? base64(value) : undefined
  if (!given) throw malformed('not a SCRAM server-final message')
  if (given.length !== HASH_BYTES || !timingSafeEqual(given, signature)) {
    throw malformed('the server signature is wrong')
  }
  return saltedKeys
}

/** RFC 5802, section 3: ClientKey and ServerKey. */
export function deriveKeys(saltedPassword: Buffer): ScramKeys {
  return { clientKey: hmac(saltedPassword, 'Client Key'), serverKey: hmac(saltedPassword, 'Server Key') }
}

function readServerFirst(start: ClientFirst, message: Buffer): { nonce: string; salt: Buffer; iterations: number } {
  // A mandatory extension (m=) would come first, and does not match: no extension is supported.
  const grammar = /^r=([\x21-\x2b\x2d-\x7e]{1,512}),s=([^,]{1,512}),i=([1-9][0-9]{0,9})(?:,[A-Za-z]=[^,]*)*$/
  const [, nonce, salted, count] = grammar.exec(message.toString()) ?? []
  if (nonce === undefined || salted === undefined) throw malformed('not a SCRAM server-first message')
  if (!nonce.startsWith(start.nonce) || nonce.length === start.nonce.length) {
    throw malformed('the server nonce does not extend the client nonce')
  }
  const salt = base64(salted)
  if (!salt) throw malformed('the salt is not base64')
  const iterations = Number(count)
  if (iterations < ITERATIONS.min || iterations > ITERATIONS.max) {
    throw new Fault('upstream/protocol-error', undefined, {
      why: 'SCRAM iterations out of range',
      iterations,
      ...ITERATIONS,
    })
  }
  return { nonce, salt, iterations }
}

/** Rejects what is not base64, unlike Node's decoder, which skips unknown characters. */
function base64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.length > 0 && bytes.toString('base64') === text ? bytes : undefined
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, at) => byte ^ (b[at] as number)))
}

function malformed(why: string): Fault {
  return new Fault('upstream/protocol-error', undefined, { why })
}
