/**
 * Who calls: the checks of STS in the order in which AWS makes them, the first failure decides.
 *
 * `InvalidClientTokenId` and `ExpiredToken` come before the signature and so depend on region, key and token alone.
 * Headers that are not signed are let through, x-amz-* too: what a signature must cover besides is up to those who
 * rely on one.
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

/** The caller, and the endpoint that was reached, as its quota knows it. */
export type Authenticated = { caller: Caller; endpoint: string }

/** How far a signature's date may be off, either way, in milliseconds. */
const SKEW = 15 * 60_000

const MISMATCH =
  'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key ' +
  'and signing method. Consult the service documentation for details.'

/** `now` is in milliseconds; `names` are further hosts and the region that each plays. */
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
  // A partition knows nothing of the accounts of another.
  const key = found?.caller.issuer.partition === findPartition(claim.region) ? found : undefined
  if (!key?.active || key.session?.token !== headers.get('x-amz-security-token')) return unknownToken()
  if (key.session && now >= key.session.expiration) {
    return refuse('ExpiredToken', 'The security token included in the request is expired')
  }
  if (!iam.exists(key.caller.issuer)) return unknownToken()

  const untimely = judgeDate(claim, date, now)
  if (untimely) return mismatch(untimely)
  if (!claim.signedHeaders.split(';').includes('host')) {
    return mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
  }
  if (!(await verifySignature(claim, received, key.secretAccessKey, date))) return mismatch(MISMATCH)
  return { caller: key.caller, endpoint }
}

/** What is wrong with the date, in the words of AWS; undefined where nothing is. */
function judgeDate({ day }: Authorization, date: number, now: number): string | undefined {
  const [signed, current] = [formatAmzDate(date), formatAmzDate(now)]
  if (date < now - SKEW) {
    return `Signature expired: ${signed} is now earlier than ${formatAmzDate(now - SKEW)} (${current} - 15 min.)`
  }
  if (date > now + SKEW) {
    return `Signature not yet current: ${signed} is still later than ${formatAmzDate(now + SKEW)} (${current} + 15 min.)`
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
