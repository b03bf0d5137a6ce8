/**
 * The server side of MONGODB-AWS: sends a nonce and an STS host, and receives the parts of a signed request.
 *
 *     client-first  { r: 32 random bytes, p: int32 110 }               110 is 'n': no channel binding
 *     server-first  { s: r and 32 bytes of the server, h: STS host }
 *     client-final  { a: Authorization, d: X-Amz-Date, t: session token, if any }
 *
 * Each message is one BSON document. Drivers differ in the order of the fields only.
 * https://github.com/mongodb/specifications/blob/master/source/auth/auth.md#mongodb-aws
 */
import { Binary, Int32, serialize } from 'bson'
import { type Facts, Fault } from '../errors.js'
import { Elements } from '../wire/elements.js'

/** The signature of a proof must cover it: 64 bytes, the last 32 of them the server's, and the STS host that was offered. */
export type Challenge = { nonce: Buffer; host: string }

/** The fields of client-final as they were sent. Only their lengths are validated. */
export type ProofFields = { a: string; d: string; t: string | undefined }

const NONCE_BYTES = 32
const NO_CHANNEL_BINDING = 110
/**
 * Maximum lengths in characters. Drivers send 259 to 285 in `a` and 16 in `d`. AWS documents no limit for tokens; tokens of
 * up to 4 KiB were observed.
 */
const MAX_LENGTHS = { a: 1024, d: 16, t: 8192 }
const MAX_HOST_BYTES = 255

/**
 * Answers client-first. `random`: 32 bytes of a cryptographically secure source, for this conversation only. `host`: the
 * STS host to offer, at most 255 ASCII characters. Throws `sasl/payload-invalid`.
 */
export function createChallenge(
  payload: Buffer,
  host: string,
  random: Buffer,
): { challenge: Challenge; payload: Buffer } {
  if (random.length !== NONCE_BYTES) throw new Fault('internal', undefined, { why: 'a nonce needs 32 random bytes' })
  if (host === '' || host.length > MAX_HOST_BYTES) {
    throw new Fault('internal', undefined, { why: 'not a host that drivers accept', host })
  }
  const [r, p] = readFields(payload, ['r', 'p'])
  if (!(r instanceof Binary) || r.sub_type !== Binary.SUBTYPE_DEFAULT || r.position !== NONCE_BYTES) {
    throw invalid('r is not 32 bytes')
  }
  // The value becomes a header: 10 or 13 would be a line break. 121 requests channel binding, which is not supported.
  if (!(p instanceof Int32) || p.value !== NO_CHANNEL_BINDING) throw invalid('p is not int32 110')
  const nonce = Buffer.concat([r.value(), random])
  return { challenge: { nonce, host }, payload: Buffer.from(serialize({ s: new Binary(nonce), h: host })) }
}

/** Parses client-final. A token that is null or empty counts as missing. Throws `sasl/payload-invalid`. */
export function parseClientFinal(payload: Buffer): ProofFields {
  const [a, d, t = null] = readFields(payload, ['a', 'd', 't'])
  return { a: readText('a', a), d: readText('d', d), t: t === null || t === '' ? undefined : readText('t', t) }
}

/** The values of these fields. The document of the payload must have no others. */
function readFields(payload: Buffer, names: readonly string[]): unknown[] {
  const [elements, values] = parse(payload, names)
  // The IDL of the server also has p, c and o in client-final. No driver sends them, so they are rejected, too.
  const unknown = [...elements.names()].filter(name => !names.includes(name))
  if (unknown.length > 0) {
    throw invalid('unknown fields', { unknownFields: unknown.slice(0, 3).map(name => name.slice(0, 32)) })
  }
  return values
}

function parse(payload: Buffer, names: readonly string[]): [Elements, unknown[]] {
  try {
    const elements = new Elements(payload)
    return [elements, names.map(name => elements.get(name))]
  } catch (thrown) {
    throw new Fault('sasl/payload-invalid', 'not a BSON document', {}, thrown)
  }
}

function readText(name: keyof typeof MAX_LENGTHS, value: unknown): string {
  if (typeof value !== 'string') throw invalid(`${name} is not a string`)
  if (value.length > MAX_LENGTHS[name]) throw invalid(`${name} is longer than ${MAX_LENGTHS[name]} characters`)
  return value
}

function invalid(why: string, fields: Facts = {}): Fault {
  return new Fault('sasl/payload-invalid', why, fields)
}
