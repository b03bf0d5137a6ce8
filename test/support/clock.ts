/** A clock that the test moves: `now` reads it, `after` waits for it, `advance` moves it. */
export function createManualClock(start = 0) {
  let time = start
  let waiting: { due: number; run: () => void }[] = []
  return {
    now: () => time,
    after(ms: number, run: () => void): () => void {
      const entry = { due: time + ms, run }
      waiting.push(entry)
      return () => {
        waiting = waiting.filter(other => other !== entry)
      }
    },
    advance(ms: number): void {
      time += ms
      for (const entry of waiting.filter(({ due }) => due <= time).sort((a, b) => a.due - b.due)) {
        if (!waiting.includes(entry)) continue
        waiting = waiting.filter(other => other !== entry)
        entry.run()
      }
    },
    /** The number of pending timers. */
    waiting: () => waiting.length,
  }
}
