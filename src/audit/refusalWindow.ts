/**
 * Bounds the events that unauthenticated clients can cause, without losing their number.
 *
 * The first refusals of a second are events of their own: 20 of each client subnet and reason, 500 in all. At the end of
 * the second, one summary per subnet and reason stands for the rest. Access keys do not count as a difference, because
 * anyone can make them up.
 */
import type { After } from '../clock.js'

const WINDOW_MS = 1_000
const MAX_SINGLE_PER_REASON = 20
const MAX_SINGLE = 500
/** Summaries per second. The last one stands for all other subnets and reasons. */
const MAX_SUMMARIES = 100
const MAX_DISTINCT_KEYS = 10_000
const MAX_LISTED_KEYS = 5

/** `subnet` and `reason` are undefined in the summary of all others. */
export type RefusalSummary = {
  subnet: string | undefined
  reason: string | undefined
  count: number
  distinctKeys: number
  firstKeys: readonly string[]
}

type Refusals = {
  subnet: string | undefined
  reason: string | undefined
  single: number
  count: number
  keys: Set<string>
}

export type RefusalWindowOptions = { after: After; onSummary(summary: RefusalSummary): void }

export class RefusalWindow {
  readonly #options: RefusalWindowOptions
  #refusals = new Map<string, Refusals>()
  #others: Refusals = createRefusals(undefined, undefined)
  #singles = 0
  #cancelEnd: (() => void) | undefined

  constructor(options: RefusalWindowOptions) {
    this.#options = options
  }

  /** Counts a refusal. Returns whether it is an event of its own. */
  add(subnet: string, reason: string, accessKeyId?: string): boolean {
    this.#cancelEnd ??= this.#options.after(WINDOW_MS, () => this.flush())
    const refusals = this.#find(subnet, reason)
    if (refusals.single < MAX_SINGLE_PER_REASON && this.#singles < MAX_SINGLE) {
      refusals.single += 1
      this.#singles += 1
      return true
    }
    refusals.count += 1
    if (accessKeyId !== undefined && refusals.keys.size < MAX_DISTINCT_KEYS) refusals.keys.add(accessKeyId)
    return false
  }

  /** Ends the second: reports what has no event of its own. */
  flush(): void {
    this.#cancelEnd?.()
    this.#cancelEnd = undefined
    const all = [...this.#refusals.values(), this.#others]
    this.#refusals = new Map()
    this.#others = createRefusals(undefined, undefined)
    this.#singles = 0
    for (const { subnet, reason, count, keys } of all) {
      if (count === 0) continue
      const firstKeys = [...keys].slice(0, MAX_LISTED_KEYS)
      this.#options.onSummary({ subnet, reason, count, distinctKeys: keys.size, firstKeys })
    }
  }

  /** The refusals of this subnet and reason. Singles are few, so only summaries limit the number of entries. */
  #find(subnet: string, reason: string): Refusals {
    const key = `${subnet} ${reason}`
    const known = this.#refusals.get(key)
    if (known) return known
    if (this.#refusals.size >= MAX_SINGLE + MAX_SUMMARIES) return this.#others
    const refusals = createRefusals(subnet, reason)
    this.#refusals.set(key, refusals)
    return refusals
  }
}

function createRefusals(subnet: string | undefined, reason: string | undefined): Refusals {
  return { subnet, reason, single: 0, count: 0, keys: new Set() }
}
