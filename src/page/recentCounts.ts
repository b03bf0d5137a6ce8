/** Remembers totals of the last minutes, to say how much each has grown. Pure. */
import type { Counts } from './series.js'

export class RecentCounts {
  readonly #size: number
  /** The oldest one first. */
  readonly #totals: Counts[] = []

  /** `size`: how many samples the increases cover. */
  constructor(size: number) {
    this.#size = size
  }

  add(totals: Counts): void {
    this.#totals.push(totals)
    if (this.#totals.length > this.#size + 1) this.#totals.shift()
  }

  /** How much a total has grown since the oldest sample, or over the last `samples`. */
  increase(name: string, samples = this.#size): number {
    const last = this.#totals.at(-1)?.[name] ?? 0
    const first = this.#totals.at(-Math.min(samples + 1, this.#totals.length))?.[name] ?? 0
    return Math.max(0, last - first)
  }
}
