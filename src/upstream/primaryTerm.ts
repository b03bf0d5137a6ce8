/**
 * The time in which a member is the primary. Everything that was begun with it ends with it: what is under way at once,
 * what stands when it is vacated, a moment later.
 *
 * Not an AbortSignal: ten thousand relays hold on to one term, and its listeners are found by walking a list.
 */
import { Fault } from '../errors.js'

/** What it gives is waited for where it is a promise. */
type Step = (why: Fault) => unknown

export type PrimaryTerm = {
  /** Why it is over; undefined while it lasts. */
  readonly endReason: Fault | undefined
  /** Runs a step at the moment it is over, at once if it is. Gives what takes that back. */
  onEnd(run: Step): () => void
  /** The same for the moment when it is vacated. */
  onCloseSessions(run: Step): () => void
}

export type TermController = {
  term: PrimaryTerm
  /** The term is over. Runs every step before it returns. */
  end(why: Fault): void
  /** What it left has to go. Runs every step before it returns, and gives what resolves when those that last are done. */
  closeSessions(): Promise<unknown> | undefined
}

/** Runs a step of a login, which is aborted with `upstream/unreachable` if the term is over before the step is. */
export async function runDuringTerm<T>(
  { onEnd: whenOver }: PrimaryTerm,
  login: AbortController,
  run: () => Promise<T>,
): Promise<T> {
  const back = whenOver(({ facts }) =>
    login.abort(new Fault('upstream/unreachable', 'it stepped down during the login', facts)),
  )
  try {
    return await run()
  } finally {
    back()
  }
}

/** Begins one. */
export function createTermController(): TermController {
  const over = moment()
  const vacated = moment()
  return {
    term: {
      get endReason() {
        return over.come()
      },
      onEnd: over.when,
      onCloseSessions: vacated.when,
    },
    end: why => void over.comes(why),
    closeSessions: () => {
      const why = over.come()
      return why && vacated.comes(why)
    },
  }
}

/** Something that comes once. */
function moment() {
  const steps = new Set<Step>()
  let come: Fault | undefined
  return {
    come: () => come,
    when(run: Step) {
      if (come) run(come)
      else steps.add(run)
      return () => void steps.delete(run)
    },
    comes(why: Fault): Promise<unknown> | undefined {
      if (come) return undefined
      come = why
      const lasting: Promise<unknown>[] = []
      for (const run of steps) {
        const done = run(why)
        if (done instanceof Promise) lasting.push(done)
      }
      steps.clear()
      return lasting.length > 0 ? Promise.all(lasting) : undefined
    },
  }
}
