/**
 * Asking STS again, with the same signed request: STS has no memory of it within its fifteen minutes.
 *
 * Each attempt and all of them together have an end; pauses grow and are uneven, so that clients that failed together
 * do not come back together; each further attempt is paid for, so that retries never double the load of an outage.
 */
import { Fault } from '../errors.js'
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
  /** Runs a step later, unless the returned function is called before. */
  after(ms: number, run: () => void): () => void
  /** How long the first attempt may wait for its turn; further ones have what is left of the deadline. */
  queueMS: number
  /** Told of each attempt that came to nothing; whether another one at the same host makes sense. */
  again(proof: Proof, outcome: Outcome): boolean
}

/** The first pause is 50 to 100 ms, and each further one twice as long. */
const PAUSE = 100

/** One for all: made on the spot it costs a stack trace a login, as `AbortSignal.any` costs its bookkeeping. */
const LATE = new Error('no answer in time')

/**
 * Waits at most so many milliseconds for the turn of one attempt, which is paid for then, and gives what ends it. Throws
 * `budget/spent` at once where it would be longer.
 */
export type Turn = (patienceMS: number) => Promise<() => void>

/**
 * The same question, asked again while that may help, each time in its turn. Throws `budget/spent` if not even the first
 * attempt gets one, and rejects at once with the reason of an aborted signal.
 */
export function retried(
  ask: Ask,
  patience: Patience,
): (proof: Proof, turn: Turn, signal: AbortSignal) => Promise<Outcome> {
  const { attemptMS, deadlineMS, queueMS, now, random, sleep, after, again } = patience
  return async (proof, turn, signal) => {
    let done = await turn(queueMS)
    const end = now() + deadlineMS
    for (let pause = PAUSE; ; pause *= 2) {
      const outcome = await attempt(Math.min(attemptMS, end - now())).finally(done)
      const wait = pause * (0.5 + 0.5 * random())
      if (!isPassing(outcome) || !again(proof, outcome) || now() + wait >= end) return outcome
      await sleep(wait, signal)
      signal.throwIfAborted()
      const next = await turn(end - now()).catch(orNone)
      if (!next) return outcome
      done = next
    }

    async function attempt(ms: number): Promise<Outcome> {
      const either = new AbortController()
      const leave = () => either.abort(signal.reason)
      const cancel = after(ms, () => either.abort(LATE))
      signal.addEventListener('abort', leave, { once: true })
      if (signal.aborted) leave()
      try {
        return await ask(proof, either.signal)
      } catch (thrown) {
        signal.throwIfAborted()
        if (!either.signal.aborted) throw thrown
        return { is: 'unavailable', why: `no answer within ${Math.round(ms)} ms`, next: 'again' }
      } finally {
        cancel()
        signal.removeEventListener('abort', leave)
      }
    }
  }
}

/** No turn in time is no reason to forget what the last attempt came to. */
function orNone(thrown: unknown): undefined {
  if (thrown instanceof Fault && thrown.kind === 'budget/spent') return undefined
  throw thrown
}

function isPassing(outcome: Outcome): boolean {
  return outcome.is === 'throttled' || (outcome.is === 'unavailable' && outcome.next === 'again')
}
