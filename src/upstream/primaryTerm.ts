/**
 * The term of a primary: from its election until another member is elected, or until it steps down or leaves the set.
 *
 *     begins ─▶ ends ─▶ sessions close
 *               │       └─ a moment later: sessions to this primary close
 *               └─ at once: logins stop dialing this primary
 *
 * Rejected: AbortSignal. Ten thousand sessions listen to one term, and a signal finds a listener by walking a list.
 */
import { Fault } from '../errors.js'
import { withLinkedController } from './deadline.js'

/** May return a promise. The promise of `closeSessions` waits for it. */
type Listener = (reason: Fault) => unknown

export type PrimaryTerm = {
  /** Undefined while the term lasts. */
  readonly endReason: Fault | undefined
  /** Calls the listener when the term ends, or at once if it has ended. Returns a function that removes the listener. */
  onEnd(listener: Listener): () => void
  /** Calls the listener when sessions to this primary must close. Otherwise as `onEnd`. */
  onCloseSessions(listener: Listener): () => void
}

export type TermController = {
  term: PrimaryTerm
  /** Ends the term. Calls every listener of `onEnd` before it returns. */
  end(reason: Fault): void
  /**
   * Closes the sessions of a term that has ended. Calls every listener of `onCloseSessions` before it returns; the
   * promise resolves when theirs have, and is undefined if they returned none.
   */
  closeSessions(): Promise<unknown> | undefined
}

/** Calls `run` with a signal that aborts with `signal`, and with `upstream/unreachable` when the term ends. */
export async function runDuringTerm<T>(
  { onEnd }: PrimaryTerm,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return withLinkedController(signal, async controller => {
    const removeListener = onEnd(reason =>
      controller.abort(new Fault('upstream/unreachable', 'the primary stepped down during the login', {}, reason)),
    )
    try {
      return await run(controller.signal)
    } finally {
      removeListener()
    }
  })
}

export function createTermController(): TermController {
  const ended = new OneTimeEvent()
  const closing = new OneTimeEvent()
  return {
    term: {
      get endReason() {
        return ended.reason
      },
      onEnd: listener => ended.listen(listener),
      onCloseSessions: listener => closing.listen(listener),
    },
    end: reason => void ended.emit(reason),
    closeSessions: () => ended.reason && closing.emit(ended.reason),
  }
}

/** An event that happens at most once. A listener that comes too late is called at once. */
class OneTimeEvent {
  readonly #listeners = new Set<Listener>()
  /** Undefined until the event has happened. */
  reason: Fault | undefined

  listen(listener: Listener): () => void {
    if (this.reason) listener(this.reason)
    else this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  emit(reason: Fault): Promise<unknown> | undefined {
    if (this.reason) return undefined
    this.reason = reason
    const pending: Promise<unknown>[] = []
    for (const listener of this.#listeners) {
      const result = listener(reason)
      if (result instanceof Promise) pending.push(result)
    }
    this.#listeners.clear()
    return pending.length > 0 ? Promise.all(pending) : undefined
  }
}
