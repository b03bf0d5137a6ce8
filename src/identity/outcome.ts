/**
 * The outcome of a call to STS.
 *
 * Only closed lists of codes, in documents of STS itself, make an outcome `refused` or `throttled`. Everything else is
 * `unavailable`, so an outage is never reported as a bad identity.
 */
import { Fault } from '../errors.js'
import type { Partition } from './partition.js'
import type { Proof } from './proof.js'
import { type Identity, parseIdentity, parseRequestId, parseStsError, type StsError } from './reply.js'

/**
 * `code`, `message` and `requestId` come from AWS. The message is one printable line that does not repeat the request. AWS
 * support can find a call by its request id.
 */
export type StsOutcome =
  | { is: 'identity'; identity: Identity; requestId?: string }
  | { is: 'refused'; code: string; message?: string; requestId?: string }
  | { is: 'throttled'; code: string }
  | Unavailable
/** Every outcome except an identity. */
export type StsFailure = Exclude<StsOutcome, { is: 'identity' }>
/**
 * `next`: what may help now: to `retry` the request, to offer the client the `first-host`, or `none` of these. `code` comes
 * from AWS, if it gave one.
 */
export type Unavailable = { is: 'unavailable'; why: string; next: 'retry' | 'first-host' | 'none'; code?: string }

/**
 * Calls GetCallerIdentity with a proof, and waits at most this many milliseconds. Throws the reason of the signal, and the
 * faults `identity/partition-mismatch` and `internal`; everything else is an outcome.
 */
export type CallSts = (proof: Proof, timeoutMS: number, signal: AbortSignal) => Promise<StsOutcome>

/** An HTTP response. `type` and `date` are the unparsed headers. */
export type StsResponse = { status: number; type: unknown; date: unknown; text: string }

const XML = /^(?:text|application)\/xml *(?:;|$)/i

const REFUSALS: ReadonlySet<string> = new Set([
  'InvalidClientTokenId',
  'ExpiredToken',
  'SignatureDoesNotMatch',
  'IncompleteSignature',
  'MissingAuthenticationToken',
  'AccessDenied',
  'RegionDisabledException',
])
const THROTTLES: ReadonlySet<string> = new Set(['Throttling', 'ThrottlingException', 'RequestLimitExceeded'])
/** A valid key gets these codes, too, in a region that its account has not enabled. */
const REGIONAL: ReadonlySet<string> = new Set(['InvalidClientTokenId', 'RegionDisabledException'])

/**
 * Classifies the response of an STS host of this partition. `isFirstHost`: it is the first host in the settings, which
 * decides whether a key exists. Throws `identity/partition-mismatch`.
 */
export function classifyResponse(
  { status, type, text }: StsResponse,
  partition: Partition,
  isFirstHost: boolean,
): StsOutcome {
  if (status !== 200) return classifyErrorResponse(status, text, isFirstHost)
  if (typeof type === 'string' && XML.test(type)) return classifyIdentity(text, partition)
  return unavailable('it answered 200 with something that is not XML', 'none')
}

function classifyIdentity(text: string, partition: Partition): StsOutcome {
  try {
    return { is: 'identity', identity: parseIdentity(text, partition), ...parseRequestId(text) }
  } catch (thrown) {
    const unusable = thrown instanceof Fault ? thrown.data('sts/unavailable') : undefined
    if (!unusable) throw thrown
    return unavailable(`it answered 200 with a document that is unusable: ${unusable.why}`, 'none')
  }
}

function classifyErrorResponse(status: number, text: string, isFirstHost: boolean): StsFailure {
  const outcome = classifyError(status, parseStsError(status, text), isFirstHost)
  return outcome.is === 'refused' ? { ...outcome, ...parseRequestId(text) } : outcome
}

function classifyError(status: number, error: StsError | undefined, isFirstHost: boolean): StsFailure {
  const { code = '', message } = error ?? {}
  if (THROTTLES.has(code)) return { is: 'throttled', code }
  if (status === 429) return { is: 'throttled', code: 'TooManyRequests' }
  if (!isFirstHost && REGIONAL.has(code)) {
    return { ...unavailable(`${code} from a host that is not the first`, 'first-host'), code }
  }
  if (status < 500 && REFUSALS.has(code)) return { is: 'refused', code, ...(message !== undefined && { message }) }
  const outcome = unavailable(`it answered ${status}${code && ` ${code}`}`, status >= 500 ? 'retry' : 'none')
  return code === '' ? outcome : { ...outcome, code }
}

/** The outcome of a call with an inactive key, as `classifyResponse` would report it. */
export function inactiveKeyOutcome(isFirstHost: boolean): StsFailure {
  const message = 'The security token included in the request is invalid.'
  return classifyError(403, { code: 'InvalidClientTokenId', message }, isFirstHost)
}

/** Drops a message of AWS that repeats a secret of the request. */
export function withoutEchoedSecrets(outcome: StsOutcome, { signature, token, challenge }: Proof): StsOutcome {
  if (outcome.is !== 'refused' || outcome.message === undefined) return outcome
  const secrets = [signature.reveal(), token?.reveal(), challenge.nonce.toString('base64')]
  const { is, code, message, requestId } = outcome
  return secrets.some(secret => secret !== undefined && message.includes(secret))
    ? { is, code, ...(requestId !== undefined && { requestId }) }
    : outcome
}

export function unavailable(why: string, next: Unavailable['next']): Unavailable {
  return { is: 'unavailable', why, next }
}

/** One day. TLS would fail with clocks that differ by more, so a larger difference is not one of clocks. */
const MAX_SKEW_MS = 24 * 3600_000

/**
 * How far the clock of STS is ahead of `now` (milliseconds since 1970), according to a Date header, in milliseconds.
 * Undefined if the header is not a date. The header has whole seconds, so it is half a second late on average: this adds
 * half a second.
 */
export function measureSkew(header: unknown, now: number): number | undefined {
  if (typeof header !== 'string') return undefined
  const date = new Date(header)
  if (Number.isNaN(date.getTime()) || date.toUTCString() !== header) return undefined
  const skewMS = date.getTime() + 500 - now
  return Math.abs(skewMS) < MAX_SKEW_MS ? skewMS : undefined
}
