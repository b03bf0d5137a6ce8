/**
 * Signature Version 4, the verifying side: what an Authorization header claims, and whether the request as it was
 * received gives the same signature under the caller's secret.
 *
 *     AWS4-HMAC-SHA256 Credential=<key>/<day>/<region>/<service>/aws4_request, SignedHeaders=<a;b;c>, Signature=<hex>
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { SignatureV4 } from '@smithy/signature-v4'
import { Sha256 } from './sha256.js'

/**
 * A request as received. Header names are in lower case; the lines of one name are joined by a comma, each trimmed, as
 * the canonical request wants them (runs of spaces inside are collapsed later).
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

/** The headers of a request from its lines (`rawHeaders`: name, value, name, value …). */
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

/** What the header claims, or the sentence in which AWS says what is missing. The parts may come in any order, once. */
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

/** `YYYYMMDDTHHMMSSZ` as milliseconds since 1970; undefined where it is not a moment. */
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
 * Whether the claim is what signing the received request with this secret, at its own date (milliseconds), gives.
 *
 * Only the headers that the claim lists are given to the signer, and the whole header it writes is compared. So a listed
 * header that is absent, a list out of order or with a name twice, and a scope of another day do not verify either.
 * A signed `date` or `authorization` never does: the signer leaves them out, and no SDK signs them.
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
  // The signer believes this header about the body. We do not.
  const declared = signed.has('x-amz-content-sha256') && received.headers.get('x-amz-content-sha256')
  if (declared && declared !== createHash('sha256').update(received.body).digest('hex')) return false

  const signer = new SignatureV4({
    credentials: { accessKeyId, secretAccessKey: secret },
    region,
    service,
    sha256: Sha256,
    applyChecksum: false,
  })
  const again = await signer.sign(
    {
      method: received.method,
      protocol: 'https:',
      hostname: '',
      path: received.path,
      query: Object.fromEntries([...received.query.keys()].map(name => [name, received.query.getAll(name)])),
      headers: Object.fromEntries(headers),
      body: received.body,
    },
    // The signer adds x-amz-date by itself: only a claim that lists it wants it in.
    { signingDate: new Date(date), signableHeaders: signed, unsignableHeaders: new Set(['x-amz-date']) },
  )
  return same(again.headers.authorization ?? '', write(claim))
}

function write({ accessKeyId, day, region, service, terminator, signedHeaders, signature }: Authorization): string {
  const credential = [accessKeyId, day, region, service, terminator].join('/')
  return `${ALGORITHM} Credential=${credential}, SignedHeaders=${signedHeaders}, Signature=${signature}`
}

/** Compares in a time that does not depend on where the difference is. */
function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
