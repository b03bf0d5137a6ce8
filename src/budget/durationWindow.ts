/** The latest durations of a repeated call, and their median. */

export type DurationWindow = {
  /** Adds a duration in milliseconds, in place of the oldest one. */
  record(ms: number): void
  /** In milliseconds. Before the first duration it is `initialMS`. */
  median(): number
}

/** Holds at most `size` durations. */
export function createDurationWindow({ size, initialMS }: { size: number; initialMS: number }): DurationWindow {
  const durations: number[] = []
  let next = 0
  return {
    record(ms) {
      durations[next] = ms
      next = (next + 1) % size
    },
    median() {
      const sorted = durations.toSorted((a, b) => a - b)
      return sorted[sorted.length >> 1] ?? initialMS
    },
  }
}
