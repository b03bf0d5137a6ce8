/**
 * The time in which a member is the primary. Everything that was begun with it ends with it.
 *
 * Not an AbortSignal: ten thousand relays hold on to one term, and its listeners are found by walking a list.
 */
import { Fault } from '../errors.js'

export type Term = {
  /** Why it is over; undefined while it lasts. */
  readonly over: Fault | undefined
  /** Runs a step at the moment it is over, at once if it is. Gives what takes that back. */
  whenOver(run: (why: Fault) => void): () => void
}

/** Runs a step whose signal aborts with `signal`, or with `upstream/away` when the term is over. */
export async function during<T>(
  { whenOver }: Term,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController()
  const end = () => limit.abort(signal.reason)
  const back = whenOver(({ facts }) =>
    limit.abort(new Fault('upstream/away', 'it stepped down during the login', facts)),
  )
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  try {
    return await run(limit.signal)
  } finally {
    back()
    signal.removeEventListener('abort', end)
  }
}

/** Begins one. `end` runs every step before it returns. */
export function beginTerm(): { term: Term; end(why: Fault): void } {
  const steps = new Set<(why: Fault) => void>()
  let over: Fault | undefined
  return {
    term: {
      get over() {
        return over
      },
      whenOver(run) {
        if (over) run(over)
        else steps.add(run)
        return () => steps.delete(run)
      },
    },
    end(why) {
      if (over) return
      over = why
      for (const run of steps) run(why)
      steps.clear()
    },
  }
}
