/**
 * SCRAM-SHA-256, the client's half (RFC 5802, RFC 7677), as three functions that each need what the last one gave.
 *
 *     client-first   n,,n=<user>,r=<our nonce>
 *     server-first   r=<our nonce><theirs>,s=<base64 salt>,i=<iterations>
 *     client-final   c=biws,r=<both nonces>,p=<base64 proof>
 *     server-final   v=<base64 server signature>   or   e=<error>
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { Fault } from '../errors.js'

export const SCRAM_SHA_256 = 'SCRAM-SHA-256'

/** Below the floor a recorded login is cheap to guess from; above the ceiling a hostile upstream would burn our CPU. */
const ITERATIONS = { least: 4_096, most: 1_000_000 }
const HASH = 32

/** What is left of a password once it is stretched. Both keys are as good as the password: never log them. */
export type ScramKeys = { clientKey: Buffer; serverKey: Buffer }
/** Stretches the password of the user at hand. Slow by design, so it is asynchronous and comes in by the door. */
export type DeriveKeys = (salt: Buffer, iterations: number) => Promise<ScramKeys>

export type ClientFirst = { payload: Buffer; bare: string; nonce: string }
export type ClientFinal = { payload: Buffer; signature: Buffer; saltedKeys: SaltedKeys }
/** The keys of one password under one salt; a value of this type from `check` belongs to a server that knew them. */
export type SaltedKeys = { salt: Buffer; iterations: number; keys: ScramKeys }

/** Begins. `nonce`: fresh, printable, without a comma. The user name is not prepared with SASLprep: servers do not. */
export function createClientFirst(user: string, nonce: string): ClientFirst {
  const bare = `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`
  return { payload: Buffer.from(`n,,${bare}`), bare, nonce }
}

/** Answers the server's first message. Throws `upstream/protocol-error`, and what `derive` throws. */
export async function createClientFinal(start: ClientFirst, derive: DeriveKeys, message: Buffer): Promise<ClientFinal> {
  const { nonce, salt, iterations } = readFirst(start, message)
  const keys = await derive(salt, iterations)
  const without = `c=biws,r=${nonce}`
  const signed = `${start.bare},${message.toString()},${without}`
  const storedKey = createHash('sha256').update(keys.clientKey).digest()
  const proof = xor(keys.clientKey, hmac(storedKey, signed))
  return {
    payload: Buffer.from(`${without},p=${proof.toString('base64')}`),
    signature: hmac(keys.serverKey, signed),
    saltedKeys: { salt, iterations, keys },
  }
}

/**
 * Makes sure that the server knows the password too. Only now may the keys be remembered, so they are given here.
 * Throws `upstream/authentication-failed` for an error that the server names, `upstream/protocol-error` for a signature that is not its.
 */
export function verifyServerFinal({ signature, saltedKeys }: ClientFinal, message: Buffer): SaltedKeys {
  const [, name, value = ''] = /^([ev])=([^,]*)(?:,[A-Za-z]=[^,]*)*$/.exec(message.toString()) ?? []
  if (name === 'e') throw new Fault('upstream/authentication-failed', undefined, { error: value.slice(0, 100) })
  const given = name === 'v' ? base64(value) : undefined
  if (!given) throw malformed('not a SCRAM server-final message')
  if (given.length !== HASH || !timingSafeEqual(given, signature)) throw malformed('the server signature is wrong')
  return saltedKeys
}

/** Both keys from the salted password. */
export function deriveKeys(saltedPassword: Buffer): ScramKeys {
  return { clientKey: hmac(saltedPassword, 'Client Key'), serverKey: hmac(saltedPassword, 'Server Key') }
}

function readFirst(start: ClientFirst, message: Buffer): { nonce: string; salt: Buffer; iterations: number } {
  // A mandatory extension (m=) would come first, and does not match: none is understood here.
  const grammar = /^r=([\x21-\x2b\x2d-\x7e]{1,512}),s=([^,]{1,512}),i=([1-9][0-9]{0,9})(?:,[A-Za-z]=[^,]*)*$/
  const [, nonce, salted, count] = grammar.exec(message.toString()) ?? []
  if (nonce === undefined || salted === undefined) throw malformed('not a SCRAM server-first message')
  if (!nonce.startsWith(start.nonce) || nonce.length === start.nonce.length) {
    throw malformed('the server nonce does not extend ours')
  }
  const salt = base64(salted)
  if (!salt) throw malformed('the salt is not base64')
  const iterations = Number(count)
  if (iterations < ITERATIONS.least || iterations > ITERATIONS.most) {
    throw new Fault('upstream/protocol-error', undefined, {
      why: 'SCRAM iterations out of range',
      iterations,
      ...ITERATIONS,
    })
  }
  return { nonce, salt, iterations }
}

/** Strict: Node's own decoder skips what it does not know. */
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
