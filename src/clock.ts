/** Real time, for whoever has it brought in by the door. */

/** Runs a step after so many milliseconds, unless the returned function is called before. */
export type After = (ms: number, run: () => void) => () => void

/** Monotonic milliseconds. */
export const now = (): number => performance.now()

/** Why a login is given up; one for all, as a stack trace for each would be dear. */
const LATE = new Error('the time of the login is over')

/** One timer and one signal, both gone with the login: `AbortSignal.timeout` and `any` would stay for all of the time. */
export function deadline(ms: number, gone: AbortSignal) {
  const either = new AbortController()
  let late = false
  const leave = (): void => either.abort(gone.reason)
  const cancel = after(ms, () => {
    late = true
    either.abort(LATE)
  })
  gone.addEventListener('abort', leave, { once: true })
  if (gone.aborted) leave()
  return {
    signal: either.signal,
    late: () => late,
    cancel() {
      cancel()
      gone.removeEventListener('abort', leave)
    },
  }
}

/** Runs a step later, unless the returned function is called before. */
export function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms)
  return () => clearTimeout(timer)
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
