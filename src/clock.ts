/** The real clock. Modules take a clock as an argument, so that tests can pass their own. */

/** Runs a step after a delay in milliseconds. The returned function cancels it. */
export type After = (ms: number, run: () => void) => () => void

/** Monotonic time in milliseconds. */
export const now = (): number => performance.now()

/**
 * Runs a step after a delay in milliseconds. The returned function cancels it.
 *
 * The step runs after a poll for I/O. When the event loop was blocked, its timers are due at once, although the data that
 * would have cancelled them has arrived and is not read yet.
 */
export function after(ms: number, run: () => void): () => void {
  let immediate: NodeJS.Immediate | undefined
  const timer = setTimeout(() => {
    immediate = setImmediate(run)
  }, ms)
  return () => {
    clearTimeout(timer)
    clearImmediate(immediate)
  }
}

/** Resolves after a delay in milliseconds, or at once when the signal aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) return resolve()
    const wake = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', wake)
      resolve()
    }
    const timer = setTimeout(wake, ms)
    signal.addEventListener('abort', wake)
  })
}
