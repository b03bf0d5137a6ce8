/**
 * MONGODB-AWS, the server's half: a nonce and a host go out, the parts of a signed request come back.
 *
 *     client-first  { r: 32 random bytes, p: int32 110 }               110 is 'n': no channel binding
 *     server-first  { s: r and 32 bytes of ours, h: STS host }
 *     client-final  { a: Authorization, d: X-Amz-Date, t: session token, if there is one }
 *
 * Each is one BSON document. Drivers differ in the order of the fields, in nothing else.
 * https://github.com/mongodb/specifications/blob/master/source/auth/auth.md#mongodb-aws
 */
import { Binary, Int32, serialize } from 'bson'
import { Fault } from '../errors.js'
import { Elements } from '../wire/elements.js'

/** What a proof has to be signed over: 64 bytes, the last 32 of them ours, and the STS host that we offered. */
export type Challenge = { nonce: Buffer; host: string }

/** The fields of client-final, as sent: nothing about them is believed but their length. */
export type ProofFields = { a: string; d: string; t: string | undefined }

const HALF = 32
const NO_CHANNEL_BINDING = 110
/** Characters. Drivers send 259 to 285 in `a` and 16 in `d`; AWS names no limit for tokens, seen are up to 4 KiB. */
const LONGEST = { a: 1024, d: 16, t: 8192 }
/** Drivers and servers measure the host in bytes. */
const LONGEST_HOST = 255

/**
 * The answer to client-first. `random` is 32 fresh bytes of a secure source, used for this conversation alone; `host`
 * is the offered STS host, ASCII of at most 255 characters. Throws `sasl/payload-invalid`.
 */
export function createChallenge(
  payload: Buffer,
  host: string,
  random: Buffer,
): { challenge: Challenge; payload: Buffer } {
  if (random.length !== HALF) throw new Fault('internal', undefined, { why: 'a nonce takes 32 random bytes' })
  if (host === '' || host.length > LONGEST_HOST) throw new Fault('internal', undefined, { why: 'host', host })
  const [r, p] = fields(payload, ['r', 'p'])
  if (!(r instanceof Binary) || r.sub_type !== Binary.SUBTYPE_DEFAULT || r.position !== HALF) {
    throw wrong('r is not 32 bytes')
  }
  // The value becomes a header: 10 or 13 would be a line break, 121 asks for channel binding, which we do not have.
  if (!(p instanceof Int32) || p.value !== NO_CHANNEL_BINDING) throw wrong('p is not int32 110')
  const nonce = Buffer.concat([r.value(), random])
  return { challenge: { nonce, host }, payload: Buffer.from(serialize({ s: new Binary(nonce), h: host })) }
}

/** The fields of client-final. A token that is null or empty is none. Throws `sasl/payload-invalid`. */
export function parseClientFinal(payload: Buffer): ProofFields {
  const [a, d, t = null] = fields(payload, ['a', 'd', 't'])
  return { a: text('a', a), d: text('d', d), t: t === null || t === '' ? undefined : text('t', t) }
}

/** The values of these fields in the document of a payload, which has no other. */
function fields(payload: Buffer, names: readonly string[]): unknown[] {
  const [elements, values] = read(payload, names)
  // The server's IDL knows p, c and o in client-final too. No driver sends them, so they are as unknown as any other.
  const unknown = [...elements.names()].filter(name => !names.includes(name))
  if (unknown.length > 0) throw wrong('unknown fields', { unknown: unknown.slice(0, 3).map(name => name.slice(0, 32)) })
  return values
}

function read(payload: Buffer, names: readonly string[]): [Elements, unknown[]] {
  try {
    const elements = new Elements(payload)
    return [elements, names.map(name => elements.get(name))]
  } catch (thrown) {
    throw new Fault('sasl/payload-invalid', 'not a BSON document', {}, thrown)
  }
}

function text(name: keyof typeof LONGEST, value: unknown): string {
  if (typeof value !== 'string') throw wrong(`${name} is not a string`)
  if (value.length > LONGEST[name]) throw wrong(`${name} is longer than ${LONGEST[name]} characters`)
  return value
}

function wrong(why: string, facts = {}): Fault {
  return new Fault('sasl/payload-invalid', why, facts)
}
