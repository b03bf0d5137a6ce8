/** A clock that is moved by hand: `now` for reading it, `after` for waiting, `advance` for moving it. */
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
    /** How many steps wait. */
    waiting: () => waiting.length,
  }
}
