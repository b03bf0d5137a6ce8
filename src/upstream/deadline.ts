/** How long anything waits: until its time is over, or its signal aborts. */

import type { After } from '../clock.js'

export type TimeoutOptions = {
  after: After
  /** The reason of the abort when the time is over. */
  timeoutReason: () => unknown
  signal: AbortSignal
}

/** Runs a step whose signal aborts after `ms` milliseconds, or with `stop`. */
export async function withTimeout<T>(
  ms: number,
  { after, timeoutReason, signal }: TimeoutOptions,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController()
  const end = () => limit.abort(signal.reason)
  const cancel = after(ms, () => limit.abort(timeoutReason()))
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  try {
    return await run(limit.signal)
  } finally {
    cancel()
    signal.removeEventListener('abort', end)
  }
}

/** The promise, or the signal's reason if that comes first; the work goes on for others who wait for it. */
export function rejectOnAbort<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
