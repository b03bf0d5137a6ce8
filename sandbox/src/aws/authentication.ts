/**
 * Authenticates a call. The checks run in the order of AWS; the first failure decides.
 *
 * `InvalidClientTokenId` and `ExpiredToken` are decided before the signature, from region, key and token alone. Headers
 * that are not signed are accepted, x-amz-* included: a program that relies on a header must check that it is signed.
 */
import type { Caller, Iam } from './iam.js'
import { findEndpointRegion, findPartition } from './region.js'
import type { Code, Refusal } from './reply.js'
import {
  type Authorization,
  formatAmzDate,
  parseAmzDate,
  parseAuthorization,
  type ReceivedRequest,
  verifySignature,
} from './signature.js'

/** `endpoint`: the region, or `global`. Quotas apply per endpoint. */
export type Authenticated = { caller: Caller; endpoint: string }

/** The largest difference between the date of a signature and now, in milliseconds. */
const MAX_SKEW_MS = 15 * 60_000

const MISMATCH =
  'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key ' +
  'and signing method. Consult the service documentation for details.'

/** `now` is in milliseconds. `names` maps further host names to the region that each stands for. */
export async function authenticate(
  received: ReceivedRequest,
  iam: Iam,
  now: number,
  names: ReadonlyMap<string, string>,
): Promise<Authenticated | Refusal> {
  const { headers } = received
  const authorization = headers.get('authorization')
  if (!authorization) return refuse('MissingAuthenticationToken', 'Request is missing Authentication Token')
  const incomplete = (why: string) => refuse('IncompleteSignature', `${why} Authorization=${authorization}`)

  const claim = parseAuthorization(authorization)
  if (typeof claim === 'string') return incomplete(claim)
  const signedAt = headers.get('x-amz-date')
  if (signedAt === undefined) {
    return incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
  }
  const date = parseAmzDate(signedAt)
  if (date === undefined) return incomplete(`Date must be in ISO-8601 'basic format'. Got '${signedAt}'.`)

  const endpoint = findEndpointRegion(headers.get('host') ?? '', claim.region, names)
  if (!endpoint) return mismatch('Credential should be scoped to a valid region.')
  if (claim.service !== 'sts') return mismatch("Credential should be scoped to correct service: 'sts'.")
  if (claim.terminator !== 'aws4_request') {
    return mismatch(`Credential should be scoped with a valid terminator: 'aws4_request', not '${claim.terminator}'.`)
  }

  const found = iam.key(claim.accessKeyId)
  // Partitions do not share accounts.
  const key = found?.caller.issuer.partition === findPartition(claim.region) ? found : undefined
  if (!key?.active || key.session?.token !== headers.get('x-amz-security-token')) return unknownToken()
  if (key.session && now >= key.session.expiration) {
    return refuse('ExpiredToken', 'The security token included in the request is expired')
  }
  if (!iam.exists(key.caller.issuer)) return unknownToken()

  const dateProblem = checkDate(claim, date, now)
  if (dateProblem) return mismatch(dateProblem)
  if (!claim.signedHeaders.split(';').includes('host')) {
    return mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
  }
  if (!(await verifySignature(claim, received, key.secretAccessKey, date))) return mismatch(MISMATCH)
  return { caller: key.caller, endpoint }
}

/** The message of AWS for a date outside the window or scope; undefined for a valid date. */
function checkDate({ day }: Authorization, date: number, now: number): string | undefined {
  const [signed, current] = [formatAmzDate(date), formatAmzDate(now)]
  if (date < now - MAX_SKEW_MS) {
    return `Signature expired: ${signed} is now earlier than ${formatAmzDate(now - MAX_SKEW_MS)} (${current} - 15 min.)`
  }
  if (date > now + MAX_SKEW_MS) {
    return `Signature not yet current: ${signed} is still later than ${formatAmzDate(now + MAX_SKEW_MS)} (${current} + 15 min.)`
  }
  const expected = signed.slice(0, 8)
  return day === expected
    ? undefined
    : `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${day}' != '${expected}', from '${signed}'.`
}

function refuse(code: Code, message: string): Refusal {
  return { code, message }
}

function mismatch(message: string): Refusal {
  return refuse('SignatureDoesNotMatch', message)
}

function unknownToken(): Refusal {
  return refuse('InvalidClientTokenId', 'The security token included in the request is invalid.')
}
