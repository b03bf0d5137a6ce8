/**
 * Asking STS again, with the same signed request: STS has no memory of it within its fifteen minutes.
 *
 * Each attempt and all of them together have an end; pauses grow and are uneven, so that clients that failed together
 * do not come back together; each further attempt is paid for, so that retries never double the load of an outage.
 */
import type { Ask, Outcome } from './outcome.js'
import type { Proof } from './proof.js'

export type Patience = {
  /** The longest that one attempt takes, and all of them with their pauses. */
  attemptMS: number
  deadlineMS: number
  /** Monotonic milliseconds. */
  now(): number
  /** 0 to 1. */
  random(): number
  /** Resolves after so many milliseconds, or at once when the signal aborts; never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Spends a token of the budget for one more attempt; false if there is none. */
  mayRetry(proof: Proof): boolean
}

/** The first pause is 50 to 100 ms, and each further one twice as long. */
const PAUSE = 100

/** Reasons, one for all: made on the spot they cost a stack trace a login, as `AbortSignal.any` costs its bookkeeping. */
const LATE = new Error('no answer in time')
const OVER = new Error('answered')

/** The same question, asked again while that may help. Rejects at once with the reason of an aborted signal. */
export function retried(ask: Ask, patience: Patience): Ask {
  const { attemptMS, deadlineMS, now, random, sleep, mayRetry } = patience
  return async (proof, signal) => {
    const end = now() + deadlineMS
    for (let pause = PAUSE; ; pause *= 2) {
      const outcome = await attempt(Math.min(attemptMS, end - now()))
      const wait = pause * (0.5 + 0.5 * random())
      if (!isPassing(outcome) || now() + wait >= end || !mayRetry(proof)) return outcome
      await sleep(wait, signal)
      signal.throwIfAborted()
    }

    async function attempt(ms: number): Promise<Outcome> {
      const either = new AbortController()
      const leave = () => either.abort(signal.reason)
      const answered = new AbortController()
      signal.addEventListener('abort', leave, { once: true })
      if (signal.aborted) leave()
      void sleep(ms, answered.signal).then(() => either.abort(LATE))
      try {
        return await ask(proof, either.signal)
      } catch (thrown) {
        signal.throwIfAborted()
        if (!either.signal.aborted) throw thrown
        return { is: 'unavailable', why: `no answer within ${Math.round(ms)} ms`, next: 'again' }
      } finally {
        answered.abort(OVER)
        signal.removeEventListener('abort', leave)
      }
    }
  }
}

function isPassing(outcome: Outcome): boolean {
  return outcome.is === 'throttled' || (outcome.is === 'unavailable' && outcome.next === 'again')
}
