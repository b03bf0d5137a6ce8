/**
 * Asking STS again, with the same signed request: STS has no memory of it within its fifteen minutes.
 *
 * Each attempt and all of them together have an end; pauses grow and are uneven, so that clients that failed together
 * do not come back together; each further attempt is paid for, so that retries never double the load of an outage.
 */
import { Fault } from '../errors.js'
import type { CallSts, StsOutcome } from './outcome.js'
import type { Proof } from './proof.js'

export type RetryOptions = {
  /** The longest that one attempt takes, and all of them with their pauses. */
  attemptMS: number
  deadlineMS: number
  /** Monotonic milliseconds. */
  now(): number
  /** 0 to 1. */
  random(): number
  /** Resolves after so many milliseconds, or at once when the signal aborts; never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** How long the first attempt may wait for its turn; further ones have what is left of the deadline less their least. */
  queueMS: number
  /** Told of each attempt that came to nothing; whether another one at the same host makes sense. */
  shouldRetry(proof: Proof, outcome: StsOutcome): boolean
}

/** The first pause is 50 to 100 ms, and each further one twice as long. */
const PAUSE = 100
/** The least that a further attempt needs: a shorter one would say of its host only that it was cut short. */
const LEAST = 300

/**
 * Waits at most so many milliseconds for the turn of one attempt, which is paid for then, and gives what ends it. Throws
 * `budget/exhausted` at once where it would be longer.
 */
export type AcquirePermit = (patienceMS: number) => Promise<() => void>

/**
 * The same question, asked again while that may help, each time in its turn. Throws `budget/exhausted` if not even the first
 * attempt gets one, and rejects at once with the reason of an aborted signal.
 */
export function withRetry(
  ask: CallSts,
  patience: RetryOptions,
): (proof: Proof, turn: AcquirePermit, signal: AbortSignal) => Promise<StsOutcome> {
  const { attemptMS, deadlineMS, queueMS, now, random, sleep, shouldRetry } = patience
  return async (proof, turn, signal) => {
    let done = await turn(queueMS)
    const end = now() + deadlineMS
    for (let pause = PAUSE; ; pause *= 2) {
      let outcome: StsOutcome
      try {
        outcome = await ask(proof, Math.min(attemptMS, end - now()), signal)
      } finally {
        done()
      }
      const wait = pause * (0.5 + 0.5 * random())
      if (!isPassing(outcome) || !shouldRetry(proof, outcome) || now() + wait + LEAST > end) return outcome
      await sleep(wait, signal)
      signal.throwIfAborted()
      const next = await turn(Math.max(0, end - now() - LEAST)).catch(orNone)
      if (!next) return outcome
      if (now() + LEAST > end) {
        next()
        return outcome
      }
      done = next
    }
  }
}

/** No turn in time is no reason to forget what the last attempt came to. */
function orNone(thrown: unknown): undefined {
  if (thrown instanceof Fault && thrown.kind === 'budget/exhausted') return undefined
  throw thrown
}

function isPassing(outcome: StsOutcome): boolean {
  return outcome.is === 'throttled' || (outcome.is === 'unavailable' && outcome.next === 'retry')
}
