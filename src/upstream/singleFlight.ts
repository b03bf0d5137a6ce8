/** One question for all who wait: each gets an answer that was asked for after it came, and none waits for two. */

/**
 * `ask` is never run twice at a time, nor again before the `pause` is over that begins with it. Whoever comes meanwhile
 * shares the next run, since the answer underway may be older than the question.
 */
export function singleFlight<T>(ask: () => Promise<T>, pause = none): () => Promise<T> {
  let busy: Promise<unknown> | undefined
  let queued: Promise<T> | undefined
  const run = () => {
    queued = undefined
    const answer = ask()
    const mine = Promise.allSettled([answer, pause()])
    busy = mine
    mine.then(() => {
      if (busy === mine) busy = undefined
    })
    return answer
  }
  return () => {
    // Between the end of one run and the start of the next nothing runs, and the next is late enough for whoever comes.
    if (!busy) return queued ?? run()
    queued ??= busy.then(run)
    return queued
  }
}

async function none(): Promise<void> {}
