/**
 * Limits how often monitors are added. A hostile upstream that keeps changing its list of members would otherwise make the
 * proxy open sockets without end.
 *
 * A token bucket: five changes may come at once, as many as discovering a replica set takes, then one every 500 ms.
 */
import type { After } from '../clock.js'

const BURST = 5
const REFILL_MS = 500

export class MemberAdditionLimit {
  readonly #after: After
  readonly #onRefill: () => void
  #tokens = BURST
  #cancelRefill: (() => void) | undefined

  /** `onRefill` is called whenever a token was added. */
  constructor(after: After, onRefill: () => void) {
    this.#after = after
    this.#onRefill = onRefill
  }

  /** Takes a token. False if there is none. */
  tryAcquire(): boolean {
    if (this.#tokens === 0) return false
    this.#tokens--
    this.#scheduleRefill()
    return true
  }

  close(): void {
    this.#cancelRefill?.()
  }

  #scheduleRefill(): void {
    this.#cancelRefill ??= this.#after(REFILL_MS, () => {
      this.#cancelRefill = undefined
      if (++this.#tokens < BURST) this.#scheduleRefill()
      this.#onRefill()
    })
  }
}
