/**
 * Single flight: concurrent callers share one run, and every caller gets a result that was requested after its call.
 *
 *     caller A ─▶ run 1 ──────────▶ result 1
 *     caller B    ─▶ (waits) ──────▶ run 2 ─▶ result 2
 *     caller C        ─▶ (waits) ──▶ run 2 ─▶ result 2
 *
 * B and C do not share run 1: the upstream may have sent its answer before they called.
 */

/**
 * Wraps `request`. At most one run is in progress, and the next one starts no earlier than the `pause` that began with
 * the last one. No caller waits for more than two runs.
 */
export function singleFlight<T>(request: () => Promise<T>, pause = noPause): () => Promise<T> {
  let running: Promise<unknown> | undefined
  let next: Promise<T> | undefined
  const start = () => {
    next = undefined
    const result = request()
    const current = Promise.allSettled([result, pause()])
    running = current
    current.then(() => {
      if (running === current) running = undefined
    })
    return result
  }
  return () => {
    // After one run ends and before the next one starts, `next` is set: that run starts late enough for this caller.
    if (!running) return next ?? start()
    next ??= running.then(start)
    return next
  }
}

async function noPause(): Promise<void> {}
