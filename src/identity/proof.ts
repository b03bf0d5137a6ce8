/**
 * A proof is a signed GetCallerIdentity request, which the client sends in parts. It is validated without the network, and
 * the request to STS is rebuilt from the validated values.
 *
 * No text of the client is forwarded. One grammar must match the whole of `a`. The request uses only the access key id, the
 * token, the date and the signature of the client; everything else is constant or comes from the proxy's own challenge.
 * STS therefore verifies exactly the request that was validated here.
 *
 *     AWS4-HMAC-SHA256 Credential=KEY/DAY/REGION/sts/aws4_request, SignedHeaders=a;b;c, Signature=64 hex digits
 *
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
import { type Facts, Fault } from '../errors.js'
import { Secret } from '../log.js'
import type { Challenge, ProofFields } from '../sasl/aws.js'
import { findAccessKeyProblem, findInvalidTokenPart, findTokenProblem } from './credentialProblems.js'
import { detach } from './detachedString.js'

/** A validated proof. `date` has the form `YYYYMMDDTHHMMSSZ`; `region` is the region of the offered host. */
export type Proof = {
  accessKeyId: string
  date: string
  region: string
  signature: Secret
  token: Secret | undefined
  challenge: Challenge
}

/** Signers write one space or none after a comma. More spaces are harmless, since the text is rebuilt. */
const AUTHORIZATION = new RegExp(
  '^AWS4-HMAC-SHA256 ' +
    'Credential=(?<key>\\w{16,128})/(?<day>\\d{8})/(?<region>[a-z0-9-]{1,64})/(?<service>[a-z0-9-]{1,64})/aws4_request, *' +
    'SignedHeaders=(?<names>[a-z0-9-]+(?:;[a-z0-9-]+)*), *' +
    'Signature=(?<signature>[0-9a-f]{64})$',
)
const DATE = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/
/** Access key ids of long-term and of temporary credentials. Keys from before 2010 have neither prefix. */
const LONG_TERM = /^AKIA/
const TEMPORARY = /^ASIA/

/** The largest difference between the date of a signature and now, in either direction, as STS itself allows it. */
const WINDOW_MS = 15 * 60_000

const BODY = 'Action=GetCallerIdentity&Version=2011-06-15'

/**
 * Validates the fields of a proof against the challenge that it answers. `now` is the proxy's clock, corrected by the clock
 * of STS. Throws `proof/malformed`, `proof/header-unsigned`, `proof/scope-mismatch`, `proof/clock-skew`.
 */
export function validateProof({ a, d, t }: ProofFields, challenge: Challenge, now: Date): Proof {
  const { key = '', day, region, service, names = '', signature = '' } = AUTHORIZATION.exec(a)?.groups ?? {}
  if (signature === '') {
    const problem = findAccessKeyProblem(a)
    const what = problem === undefined ? 'authorization is not an AWS Signature Version 4' : `access key id ${problem}`
    throw new Fault('proof/malformed', `the ${what}`)
  }
  const fault = (kind: ProofFault, detail: string, fields: Facts = {}) =>
    new Fault(kind, detail, { accessKeyId: key, ...fields })
  const signedAt = parseDate(d)
  const tokenProblem = t === undefined ? undefined : findInvalidTokenPart(t)
  if (tokenProblem !== undefined) throw fault('proof/malformed', `the session token ${tokenProblem}`)
  if (TEMPORARY.test(key) && t === undefined) {
    throw fault('proof/malformed', `the temporary credentials ${key} need their session token`)
  }
  if (LONG_TERM.test(key) && t !== undefined) {
    throw fault('proof/malformed', `the long-term credentials ${key} have no session token`)
  }
  const headerFault = checkSignedHeaders(names.split(';'), signedHeaders(t !== undefined))
  if (headerFault) throw fault(...headerFault)
  const expectedRegion = signingRegion(challenge.host)
  if (service !== 'sts' || region !== expectedRegion || day !== d.slice(0, 8)) {
    const expected = `${d.slice(0, 8)}/${expectedRegion}/sts`
    throw fault('proof/scope-mismatch', `signed for ${day}/${region}/${service}, expected ${expected}`)
  }
  if (Math.abs(signedAt.getTime() - now.getTime()) > WINDOW_MS) {
    const times = { signed: signedAt.toISOString(), now: now.toISOString() }
    throw fault('proof/clock-skew', `signed at ${times.signed}, and the proxy's time is ${times.now}`, times)
  }
  const token = t === undefined ? undefined : new Secret(t)
  return {
    accessKeyId: detach(key),
    date: d,
    region: expectedRegion,
    signature: new Secret(signature),
    token,
    challenge,
  }
}

/**
 * The region that drivers sign for: the second label of the host, or us-east-1 for the global endpoint and for hosts of one
 * label.
 */
export function signingRegion(host: string): string {
  return host === 'sts.amazonaws.com' ? 'us-east-1' : (host.split('.')[1] ?? 'us-east-1')
}

/** Why STS may not know the session token; undefined if it looks like one, or if there is none. */
export function guessTokenProblem({ token }: Proof): string | undefined {
  return token && findTokenProblem(token.reveal())
}

/** One `POST /` to STS. */
export type StsRequest = { headers: Record<string, string>; body: string }

/** The GetCallerIdentity request of a proof. It contains the token and a valid signature, so never log it. */
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
        `SignedHeaders=${signedHeaders(token !== undefined).join(';')}`,
        `Signature=${signature.reveal()}`,
      ].join(', '),
    },
    body,
  }
}

/** GetCallerIdentity without a signature. STS refuses it, which shows that STS is reachable. */
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

/** The headers that every driver signs, in the order of SignedHeaders. */
function signedHeaders(hasToken: boolean): string[] {
  return [
    'content-length',
    'content-type',
    'host',
    'x-amz-date',
    ...(hasToken ? ['x-amz-security-token'] : []),
    'x-mongodb-gs2-cb-flag',
    'x-mongodb-server-nonce',
  ]
}

type ProofFault = 'proof/malformed' | 'proof/header-unsigned' | 'proof/scope-mismatch' | 'proof/clock-skew'

/** Reports a missing header first: its absence is the mark of a signature that was made for another service. */
function checkSignedHeaders(names: string[], expected: string[]): [ProofFault, string] | undefined {
  const missing = expected.filter(name => !names.includes(name))
  if (missing.length > 0) return ['proof/header-unsigned', `SignedHeaders lacks ${missing.join(', ')}`]
  return names.join(';') === expected.join(';')
    ? undefined
    : ['proof/malformed', `SignedHeaders is not exactly ${expected.join(';')}`]
}

/** Rejects dates that do not exist, such as 20260231. */
function parseDate(text: string): Date {
  const [, year, month, day, hour, minute, second] = DATE.exec(text) ?? []
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`
  const date = new Date(iso)
  if (Number.isNaN(date.getTime()) || date.toISOString() !== iso) {
    throw new Fault('proof/malformed', 'the date does not have the form YYYYMMDDTHHMMSSZ')
  }
  return date
}
