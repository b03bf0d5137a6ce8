/** Bounds how long a promise is waited for: by a timeout, by an abort signal, or by both. */

export type TimeoutOptions = {
  /** Runs a callback later, unless the returned function is called first. */
  after(ms: number, run: () => void): () => void
  /** Creates the reason of the abort when the timeout expires. */
  timeoutReason: () => unknown
  /** Aborts `run` before its timeout. */
  signal: AbortSignal
}

/** Calls `run` with a signal that aborts after `ms` milliseconds, or when `signal` aborts. */
export async function withTimeout<T>(
  ms: number,
  { after, timeoutReason, signal }: TimeoutOptions,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return withLinkedController(signal, async controller => {
    const cancel = after(ms, () => controller.abort(timeoutReason()))
    try {
      return await run(controller.signal)
    } finally {
      cancel()
    }
  })
}

/** Calls `run` with a controller that also aborts when `signal` does, with the same reason. */
export async function withLinkedController<T>(
  signal: AbortSignal,
  run: (controller: AbortController) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const onAbort = (): void => controller.abort(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return await run(controller)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/**
 * Follows the promise, but rejects with the signal's reason as soon as the signal aborts. The work behind the promise
 * continues, since other callers may share it.
 */
export function rejectOnAbort<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
