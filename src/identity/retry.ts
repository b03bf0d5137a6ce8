/**
 * Retries a call to STS with the same signed request: STS does not detect replays within the 15 minutes of a signature.
 *
 * Each attempt has a timeout, and all attempts together have a deadline. Pauses grow, with jitter. Each attempt needs a
 * permit of the STS budget, so retries cannot double the load of an outage.
 */
import { type Backoff, backoffMS } from '../backoff.js'
import { Fault } from '../errors.js'
import type { CallSts, StsOutcome } from './outcome.js'
import type { Proof } from './proof.js'

export type RetryOptions = {
  /** The timeout of one attempt. */
  attemptMS: number
  /** The time for all attempts and pauses, from the first permit on. */
  deadlineMS: number
  /** Monotonic milliseconds. */
  now(): number
  /** 0 to 1. */
  random(): number
  /** Resolves after this many milliseconds, or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** How long the first attempt may wait for its permit. Later attempts may wait as long as the deadline allows. */
  queueMS(): number
  /** Called after each attempt that failed temporarily. Returns whether to retry at the same host. */
  shouldRetry(proof: Proof, outcome: StsOutcome): boolean
}

/** The deadline ends the retries before a maximum matters. */
const BACKOFF: Backoff = { firstMS: 100, maxMS: Number.POSITIVE_INFINITY }
/** The least time for a retry. A shorter timeout would say nothing about the host. */
const MIN_ATTEMPT_MS = 300

/**
 * Waits at most `maxWaitMS` for a permit to call STS, and returns the function that releases it. Throws
 * `budget/exhausted` as soon as the wait would be longer.
 */
export type AcquirePermit = (maxWaitMS: number) => Promise<() => void>

/**
 * Wraps `call` with retries. The wrapped function throws `budget/exhausted` if the first attempt gets no permit, and the
 * reason of the signal at once.
 */
export function withRetry(
  call: CallSts,
  options: RetryOptions,
): (proof: Proof, acquirePermit: AcquirePermit, signal: AbortSignal) => Promise<StsOutcome> {
  const { attemptMS, deadlineMS, queueMS, now, random, sleep, shouldRetry } = options
  return async (proof, acquirePermit, signal) => {
    let release = await acquirePermit(queueMS())
    const deadline = now() + deadlineMS
    for (let attempt = 0; ; attempt++) {
      let outcome: StsOutcome
      try {
        outcome = await call(proof, Math.min(attemptMS, deadline - now()), signal)
      } finally {
        release()
      }
      const pauseMS = backoffMS(BACKOFF, attempt, random())
      if (!isTemporary(outcome) || !shouldRetry(proof, outcome)) return outcome
      if (now() + pauseMS + MIN_ATTEMPT_MS > deadline) return outcome
      await sleep(pauseMS, signal)
      signal.throwIfAborted()
      const next = await acquirePermit(Math.max(0, deadline - now() - MIN_ATTEMPT_MS)).catch(noneIfExhausted)
      if (!next) return outcome
      if (now() + MIN_ATTEMPT_MS > deadline) {
        next()
        return outcome
      }
      release = next
    }
  }
}

/** Without a permit for a retry, the outcome of the last attempt stands. */
function noneIfExhausted(thrown: unknown): undefined {
  if (thrown instanceof Fault && thrown.kind === 'budget/exhausted') return undefined
  throw thrown
}

function isTemporary(outcome: StsOutcome): boolean {
  return outcome.is === 'throttled' || (outcome.is === 'unavailable' && outcome.next === 'retry')
}
