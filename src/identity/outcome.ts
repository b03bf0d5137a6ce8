/**
 * What asking STS came to.
 *
 * Only closed lists of codes, out of STS's own documents, speak about the identity or the quota. All else is an outage,
 * which is nobody's fault who wants to log in.
 */
import { Fault } from '../errors.js'
import type { Partition } from './partition.js'
import type { Proof } from './proof.js'
import { type Identity, parseIdentity, parseStsError, type StsError } from './reply.js'

/**
 * What asking came to. `code` and `message` are of AWS; the message is one printable line without the request in it.
 * `next`: the same request may succeed `again`, the client should be offered the `first` host, or neither helps now.
 */
export type StsOutcome =
  | { is: 'identity'; identity: Identity }
  | { is: 'refused'; code: string; message?: string }
  | { is: 'throttled'; code: string }
  | Unavailable
export type Unavailable = { is: 'unavailable'; why: string; next: 'retry' | 'first-host' | 'none' }

/**
 * Asks STS who signed, and waits at most so many milliseconds. Rejects with the signal's reason once it is aborted, and
 * with the faults `identity/partition-mismatch` and `internal`; everything else is an outcome.
 */
export type CallSts = (proof: Proof, ms: number, signal: AbortSignal) => Promise<StsOutcome>

/** What came over the wire; `type` and `date` are the headers, whatever they hold. */
export type StsResponse = { status: number; type: unknown; date: unknown; text: string }

const XML = /^(?:text|application)\/xml *(?:;|$)/i

const refusals: ReadonlySet<string> = new Set([
  'InvalidClientTokenId',
  'ExpiredToken',
  'SignatureDoesNotMatch',
  'IncompleteSignature',
  'MissingAuthenticationToken',
  'AccessDenied',
])
const throttles: ReadonlySet<string> = new Set(['Throttling', 'ThrottlingException', 'RequestLimitExceeded'])
/** What a good key gets, too, in a region that its account has not enabled. */
const regional: ReadonlySet<string> = new Set(['InvalidClientTokenId', 'RegionDisabledException'])

/**
 * The outcome of an answer by a host of that partition. `first`: it is the first host of the settings.
 * Throws `identity/partition-mismatch`.
 */
export function classifyResponse(
  { status, type, text }: StsResponse,
  partition: Partition,
  first: boolean,
): StsOutcome {
  if (status !== 200) return refused(status, parseStsError(status, text), first)
  if (typeof type === 'string' && XML.test(type)) return identityIn(text, partition)
  return unavailable('it answered 200 with something that is not XML', 'none')
}

function identityIn(text: string, partition: Partition): StsOutcome {
  try {
    return { is: 'identity', identity: parseIdentity(text, partition) }
  } catch (thrown) {
    if (thrown instanceof Fault && thrown.kind === 'sts/unavailable') {
      return unavailable(`it answered 200 with a document that is unusable: ${thrown.facts.why}`, 'none')
    }
    throw thrown
  }
}

function refused(status: number, refusal: StsError | undefined, first: boolean): StsOutcome {
  const { code = '', message } = refusal ?? {}
  if (throttles.has(code)) return { is: 'throttled', code }
  if (status === 429) return { is: 'throttled', code: 'TooManyRequests' }
  if (!first && regional.has(code)) return unavailable(`${code} from a host that is not the first`, 'first-host')
  if (status < 500 && refusals.has(code)) return { is: 'refused', code, ...(message !== undefined && { message }) }
  return unavailable(`it answered ${status}${code && ` ${code}`}`, status >= 500 ? 'retry' : 'none')
}

/** A sentence of AWS that repeats what was sent is dropped, whatever its code. */
export function withoutEchoedSecrets(outcome: StsOutcome, { signature, token, challenge }: Proof): StsOutcome {
  if (outcome.is !== 'refused' || outcome.message === undefined) return outcome
  const sent = [signature.reveal(), token?.reveal(), challenge.nonce.toString('base64')]
  const { is, code, message } = outcome
  return sent.some(secret => secret !== undefined && message.includes(secret)) ? { is, code } : outcome
}

export function unavailable(why: string, next: Unavailable['next']): Unavailable {
  return { is: 'unavailable', why, next }
}

/** A day: no clock that TLS still works with is further off, so what says so is no clock. */
const NONSENSE = 24 * 3600_000

/**
 * How far STS is ahead of `now`, in milliseconds, by its Date header; undefined where that is no date. It tells whole
 * seconds, so on average it is half a second behind.
 */
export function measureSkew(header: unknown, now: number): number | undefined {
  if (typeof header !== 'string') return undefined
  const date = new Date(header)
  if (Number.isNaN(date.getTime()) || date.toUTCString() !== header) return undefined
  const skew = date.getTime() + 500 - now
  return Math.abs(skew) < NONSENSE ? skew : undefined
}
