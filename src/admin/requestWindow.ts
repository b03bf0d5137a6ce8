/**
 * Bounds the records of requests that anyone can send: one per second and key, which has the number of requests that it
 * stands for. The first request of a key is reported at once.
 */
import type { After } from '../clock.js'

const WINDOW_MS = 1_000
/** Further keys share one entry. */
const MAX_KEYS = 100
const OTHERS = ''

export type RequestWindowOptions<T> = {
  after: After
  /** `request`: the last one of `count`. */
  onReport(request: T, count: number): void
}

type Waiting<T> = { request: T | undefined; count: number; cancel(): void }

export class RequestWindow<T> {
  readonly #options: RequestWindowOptions<T>
  readonly #waiting = new Map<string, Waiting<T>>()

  constructor(options: RequestWindowOptions<T>) {
    this.#options = options
  }

  add(key: string, request: T): void {
    const entry = this.#waiting.has(key) || this.#waiting.size < MAX_KEYS ? key : OTHERS
    const waiting = this.#waiting.get(entry)
    if (waiting) {
      waiting.request = request
      waiting.count += 1
      return
    }
    this.#open(entry)
    this.#options.onReport(request, 1)
  }

  /** Reports what waits for the end of its second. */
  flush(): void {
    for (const key of [...this.#waiting.keys()]) this.#end(key)
    for (const { cancel } of this.#waiting.values()) cancel()
    this.#waiting.clear()
  }

  #open(key: string): void {
    this.#waiting.set(key, {
      request: undefined,
      count: 0,
      cancel: this.#options.after(WINDOW_MS, () => this.#end(key)),
    })
  }

  /** A report begins the next second of its key. */
  #end(key: string): void {
    const { request, count, cancel } = this.#waiting.get(key) ?? {}
    cancel?.()
    this.#waiting.delete(key)
    if (request === undefined || count === undefined) return
    this.#open(key)
    this.#options.onReport(request, count)
  }
}
