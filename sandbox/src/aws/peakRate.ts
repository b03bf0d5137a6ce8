/** The largest number of calls within any second, wherever that second begins. */

/** `now` is in milliseconds. */
export function createPeakRate(now: () => number): { count(): void; most(): number } {
  /** The times of the calls in the last second. */
  const times: number[] = []
  let most = 0
  return {
    count() {
      const time = now()
      while (times[0] !== undefined && time - times[0] >= 1_000) times.shift()
      times.push(time)
      most = Math.max(most, times.length)
    },
    most: () => most,
  }
}
