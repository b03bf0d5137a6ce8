/**
 * Verifies Signature Version 4: parses the Authorization header, signs the received request again with the secret of the
 * caller, and compares.
 *
 *     AWS4-HMAC-SHA256 Credential=<key>/<day>/<region>/<service>/aws4_request, SignedHeaders=<a;b;c>, Signature=<hex>
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { SignatureV4 } from '@smithy/signature-v4'
import { Sha256 } from './sha256.js'

/**
 * Header names are in lower case. Lines of the same name are trimmed and joined by commas, as the canonical request
 * requires (the signer collapses inner spaces later).
 */
export type ReceivedRequest = {
  method: string
  path: string
  query: URLSearchParams
  headers: ReadonlyMap<string, string>
  body: Buffer
}

/** The parts of an Authorization header. */
export type Authorization = {
  accessKeyId: string
  day: string
  region: string
  service: string
  terminator: string
  signedHeaders: string
  signature: string
}

const ALGORITHM = 'AWS4-HMAC-SHA256'
const PARTS = ['Credential', 'Signature', 'SignedHeaders'] as const

/** Joins headers. `lines`: `rawHeaders` of Node, which are name, value, name, value … */
export function collectHeaders(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>()
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const name = (lines[i] as string).toLowerCase()
    const value = (lines[i + 1] as string).trim()
    const before = headers.get(name)
    headers.set(name, before === undefined ? value : `${before},${value}`)
  }
  return headers
}

/** The parsed header, or the message of AWS about its first problem. Each part must occur once, in any order. */
export function parseAuthorization(authorization: string): Authorization | string {
  const [algorithm, ...rest] = authorization.split(' ')
  if (algorithm !== ALGORITHM) return `Unsupported AWS 'algorithm': '${algorithm}'.`
  const parts = new Map<string, string>()
  for (const part of rest.join(' ').split(',')) {
    const [, name, value] = /^([A-Za-z]+)=(.+)$/.exec(part.trim()) ?? []
    if (name === undefined || value === undefined || parts.has(name)) {
      return `'${part}' not a valid key=value pair (missing equal-sign) in Authorization header.`
    }
    parts.set(name, value)
  }
  const missing = PARTS.filter(name => !parts.has(name))
  if (missing.length > 0) return missing.map(name => `Authorization header requires '${name}' parameter.`).join(' ')
  const scope = (parts.get('Credential') ?? '').split('/')
  const [accessKeyId, day, region, service, terminator] = scope as [string, string, string, string, string]
  if (scope.length !== 5) return 'Credential must have exactly 5 slash-delimited elements.'
  const [signature, signedHeaders] = [parts.get('Signature') ?? '', parts.get('SignedHeaders') ?? '']
  return { accessKeyId, day, region, service, terminator, signedHeaders, signature }
}

/** `YYYYMMDDTHHMMSSZ` in milliseconds since 1970; undefined if the text is malformed or no such time exists. */
export function parseAmzDate(text: string): number | undefined {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? []
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  return Number.isNaN(time) || formatAmzDate(time) !== text ? undefined : time
}

/** Milliseconds since 1970 as `YYYYMMDDTHHMMSSZ`. */
export function formatAmzDate(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`
}

/**
 * Whether signing the received request with this secret, at `date` (milliseconds), results in the same Authorization
 * header.
 *
 * The signer gets only the headers that the claim lists, and the complete header is compared. Therefore a missing listed
 * header, a list that is unsorted or has duplicates, and a scope of another day do not verify either. A signed `date` or
 * `authorization` never verifies: the signer omits them, and no SDK signs them.
 */
export async function verifySignature(
  claim: Authorization,
  received: ReceivedRequest,
  secret: string,
  date: number,
): Promise<boolean> {
  const { accessKeyId, region, service } = claim
  const signed = new Set(claim.signedHeaders.split(';'))
  const headers: [string, string][] = []
  for (const name of signed) {
    const value = received.headers.get(name)
    if (value !== undefined) headers.push([name, value])
  }
  // The signer trusts this header about the body, so check it first.
  const declared = signed.has('x-amz-content-sha256') && received.headers.get('x-amz-content-sha256')
  if (declared && declared !== createHash('sha256').update(received.body).digest('hex')) return false

  const signer = new SignatureV4({
    credentials: { accessKeyId, secretAccessKey: secret },
    region,
    service,
    sha256: Sha256,
    applyChecksum: false,
  })
  const expected = await signer.sign(
    {
      method: received.method,
      protocol: 'https:',
      hostname: '',
      path: received.path,
      query: Object.fromEntries([...received.query.keys()].map(name => [name, received.query.getAll(name)])),
      headers: Object.fromEntries(headers),
      body: received.body,
    },
    // The signer adds x-amz-date itself. Include it only if the claim lists it.
    { signingDate: new Date(date), signableHeaders: signed, unsignableHeaders: new Set(['x-amz-date']) },
  )
  return isEqual(expected.headers.authorization ?? '', format(claim))
}

function format({ accessKeyId, day, region, service, terminator, signedHeaders, signature }: Authorization): string {
  const credential = [accessKeyId, day, region, service, terminator].join('/')
  return `${ALGORITHM} Credential=${credential}, SignedHeaders=${signedHeaders}, Signature=${signature}`
}

/** Compares in constant time. */
function isEqual(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
