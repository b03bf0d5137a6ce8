/** One question for all who wait: each gets an answer that was asked for after it came, and none waits for two. */

/**
 * `ask` is never run twice at a time. Whoever comes while it runs shares the next run, since the answer underway may be
 * older than the question.
 */
export function coalesced<T>(ask: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  let queued: Promise<T> | undefined
  const run = () => {
    const mine = ask()
    const done = () => {
      if (running === mine) running = undefined
    }
    running = mine
    mine.then(done, done)
    return mine
  }
  const again = () => {
    queued = undefined
    return run()
  }
  return () => {
    // Between the end of one run and the start of the next nothing runs, and the next is late enough for whoever comes.
    if (!running) return queued ?? run()
    queued ??= running.then(again, again)
    return queued
  }
}
