/**
 * The logins that wait for the tokens of one bucket, the tokens that were acquired for them, and the time at which more
 * tokens may be available.
 */
import type { AcquireTokens, Lease } from './buckets.js'
import { FairQueue, type QueueEntry } from './fairQueue.js'

/** Stands for a bucket that cannot be reached: no tokens, and another request soon. */
const FAILED_LEASE = { tokens: 0, retryAfterMS: 50, perSecond: 1 } satisfies Lease

/** Requests a lease; synchronously where the bucket answers synchronously. A failed request gives an empty lease. */
export function requestLease(acquireTokens: AcquireTokens, bucket: string, wanted: number): Lease | Promise<Lease> {
  const lease = acquireTokens(bucket, wanted)
  return lease instanceof Promise ? lease.catch(() => FAILED_LEASE) : lease
}

export class AccountQueue<W extends QueueEntry> {
  readonly bucket: string
  readonly waiters = new FairQueue<W>()
  readonly #acquireTokens: AcquireTokens
  readonly #now: () => number
  #tokens = 0
  #isRequesting = false
  #retryAt = 0
  #perSecond: number = FAILED_LEASE.perSecond

  /** `now`: monotonic milliseconds. */
  constructor(bucket: string, acquireTokens: AcquireTokens, now: () => number) {
    this.bucket = bucket
    this.#acquireTokens = acquireTokens
    this.#now = now
  }

  /** When to request tokens again; undefined while a request is pending. */
  get retryAt(): number | undefined {
    return this.#isRequesting ? undefined : this.#retryAt
  }

  addLease(lease: Lease): void {
    this.#tokens += lease.tokens
    this.#retryAt = this.#now() + lease.retryAfterMS
    // The rate of a failed lease is made up, so the last known rate stays.
    if (lease !== FAILED_LEASE) this.#perSecond = lease.perSecond
  }

  /**
   * Whether there is a token now. If there is none, requests up to `wanted` tokens; `onTokens` is called if they arrive
   * asynchronously.
   */
  ensureToken(wanted: number, onTokens: () => void): boolean {
    if (this.#tokens > 0) return true
    if (this.#isRequesting || this.#now() < this.#retryAt) return false
    const lease = requestLease(this.#acquireTokens, this.bucket, wanted)
    if (lease instanceof Promise) {
      this.#isRequesting = true
      void lease.then(received => {
        this.#isRequesting = false
        this.addLease(received)
        onTokens()
      })
    } else this.addLease(lease)
    return this.#tokens > 0
  }

  consumeToken(): void {
    this.#tokens--
  }

  /** Milliseconds until this many tokens will have arrived, at the current rate. */
  waitMS(tokens: number): number {
    return (Math.max(0, tokens - this.#tokens) * 1000) / this.#perSecond
  }
}
