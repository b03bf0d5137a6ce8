/** Real time, for whoever has it brought in by the door. */

/** Runs a step after so many milliseconds, unless the returned function is called before. */
export type After = (ms: number, run: () => void) => () => void

/** Monotonic milliseconds. */
export const now = (): number => performance.now()

/**
 * Runs a step later, unless the returned function is called before. What has arrived by then is read before the step
 * runs: where the process stood still, timers are due at once, and answers lie unread that should have stopped them.
 */
export function after(ms: number, run: () => void): () => void {
  let behind: NodeJS.Immediate | undefined
  const timer = setTimeout(() => {
    behind = setImmediate(run)
  }, ms)
  return () => {
    clearTimeout(timer)
    clearImmediate(behind)
  }
}

/** Resolves after so many milliseconds, or at once when the signal aborts. */
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
