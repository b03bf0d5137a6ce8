/**
 * The proof: a signed GetCallerIdentity that a client hands over in pieces, judged before any network, and written
 * anew from what was understood.
 *
 * Nothing of the client's text goes on. `a` is matched whole against one grammar, and of what matched only the access
 * key id, the token, the date and the signature are used; the rest of the request is made of constants and our own
 * challenge. So whatever STS verifies is what was judged here.
 *
 *     AWS4-HMAC-SHA256 Credential=KEY/DAY/REGION/sts/aws4_request, SignedHeaders=a;b;c, Signature=64 hex digits
 *
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
import { Fault } from '../errors.js'
import { Secret } from '../log.js'
import type { Challenge, ProofFields } from '../sasl/aws.js'
import { detach } from './detachedString.js'

/** A judged proof. `date` is `YYYYMMDDTHHMMSSZ`; `region` is that of the offered host. */
export type Proof = {
  accessKeyId: string
  date: string
  region: string
  signature: Secret
  token: Secret | undefined
  challenge: Challenge
}

/** One space or none after a comma is what signers write; more are harmless, since the text is written anew. */
const AUTHORIZATION = new RegExp(
  '^AWS4-HMAC-SHA256 ' +
    'Credential=(?<key>\\w{16,128})/(?<day>\\d{8})/(?<region>[a-z0-9-]{1,64})/(?<service>[a-z0-9-]{1,64})/aws4_request, *' +
    'SignedHeaders=(?<names>[a-z0-9-]+(?:;[a-z0-9-]+)*), *' +
    'Signature=(?<signature>[0-9a-f]{64})$',
)
const DATE = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/
const TOKEN = /^[\x21-\x7e]{1,8192}$/
/** Key ids of long-term and of temporary credentials. Keys from before 2010 have neither prefix. */
const LONG_TERM = /^AKIA/
const TEMPORARY = /^ASIA/

/** How far off a signature may be, in milliseconds: what STS itself allows, either way. */
const WINDOW = 15 * 60_000

const BODY = 'Action=GetCallerIdentity&Version=2011-06-15'

/**
 * Judges the fields of a proof against the challenge that it answers. `now` is our clock, corrected by that of STS.
 * Throws `proof/malformed`, `proof/header-unsigned`, `proof/scope-mismatch`, `proof/clock-skew`.
 */
export function validateProof({ a, d, t }: ProofFields, challenge: Challenge, now: Date): Proof {
  const { key = '', day, region, service, names = '', signature = '' } = AUTHORIZATION.exec(a)?.groups ?? {}
  if (signature === '') throw new Fault('proof/malformed', 'the authorization does not have the form of Signature V4')
  const refuse = (
    kind: 'proof/malformed' | 'proof/header-unsigned' | 'proof/scope-mismatch' | 'proof/clock-skew',
    detail: string,
    facts = {},
  ) => new Fault(kind, detail, { accessKeyId: key, ...facts })
  const signed = readDate(d)
  if (t !== undefined && !TOKEN.test(t)) throw refuse('proof/malformed', 'no AWS session token looks like this one')
  if (TEMPORARY.test(key) && t === undefined) {
    throw refuse('proof/malformed', `the key id ${key} is of temporary credentials, which need their session token`)
  }
  if (LONG_TERM.test(key) && t !== undefined) {
    throw refuse('proof/malformed', `the key id ${key} is of long-term credentials, which have no session token`)
  }
  const wrong = judgeNames(names.split(';'), headerNames(t !== undefined))
  if (wrong) throw refuse(...wrong)
  const wanted = signingRegion(challenge.host)
  if (service !== 'sts' || region !== wanted || day !== d.slice(0, 8)) {
    throw refuse(
      'proof/scope-mismatch',
      `signed for ${day}/${region}/${service}, wanted ${d.slice(0, 8)}/${wanted}/sts`,
    )
  }
  if (Math.abs(signed.getTime() - now.getTime()) > WINDOW) {
    const times = { signed: signed.toISOString(), now: now.toISOString() }
    throw refuse('proof/clock-skew', `signed at ${times.signed}, it is ${times.now} here`, times)
  }
  const token = t === undefined ? undefined : new Secret(t)
  return { accessKeyId: detach(key), date: d, region: wanted, signature: new Secret(signature), token, challenge }
}

/** The region that drivers sign for: the second label of the host, and us-east-1 where the host names none. */
export function signingRegion(host: string): string {
  return host === 'sts.amazonaws.com' ? 'us-east-1' : (host.split('.')[1] ?? 'us-east-1')
}

/** One `POST /` to STS. */
export type StsRequest = { headers: Record<string, string>; body: string }

/** The one request that a proof stands for. It holds the token and a live signature. */
export function buildRequest({ accessKeyId, date, region, signature, token, challenge }: Proof): StsRequest {
  const { headers, body } = buildUnsignedRequest(challenge.host)
  return {
    headers: {
      ...headers,
      'X-Amz-Date': date,
      ...(token && { 'X-Amz-Security-Token': token.reveal() }),
      'X-MongoDB-Server-Nonce': challenge.nonce.toString('base64'),
      'X-MongoDB-GS2-CB-Flag': 'n',
      Authorization: [
        `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${date.slice(0, 8)}/${region}/sts/aws4_request`,
        `SignedHeaders=${headerNames(token !== undefined).join(';')}`,
        `Signature=${signature.reveal()}`,
      ].join(', '),
    },
    body,
  }
}

/** The same question with nobody's signature: STS refuses it, which shows that STS is there. */
export function buildUnsignedRequest(host: string): StsRequest {
  return {
    headers: {
      Host: host,
      'Content-Type': 'application/x-www-form-urlencoded',
      'Content-Length': String(BODY.length),
    },
    body: BODY,
  }
}

/** The headers that every driver signs, in the order of the signature. */
function headerNames(token: boolean): string[] {
  return [
    'content-length',
    'content-type',
    'host',
    'x-amz-date',
    ...(token ? ['x-amz-security-token'] : []),
    'x-mongodb-gs2-cb-flag',
    'x-mongodb-server-nonce',
  ]
}

/** A missing name comes first: it is what a signature made for another service shows. */
function judgeNames(
  names: string[],
  wanted: string[],
): ['proof/header-unsigned' | 'proof/malformed', string] | undefined {
  const missing = wanted.filter(name => !names.includes(name))
  if (missing.length > 0) return ['proof/header-unsigned', `SignedHeaders lacks ${missing.join(', ')}`]
  return names.join(';') === wanted.join(';')
    ? undefined
    : ['proof/malformed', `SignedHeaders is not exactly ${wanted.join(';')}`]
}

/** A real day and time; 20260231 is none. */
function readDate(text: string): Date {
  const [, year, month, day, hour, minute, second] = DATE.exec(text) ?? []
  const written = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`
  const date = new Date(written)
  if (Number.isNaN(date.getTime()) || date.toISOString() !== written) {
    throw new Fault('proof/malformed', 'the date does not have the form YYYYMMDDTHHMMSSZ')
  }
  return date
}
