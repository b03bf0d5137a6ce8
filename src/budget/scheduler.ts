/**
 * Schedules the calls to STS. Each call needs a permit: one token of its account's bucket, and one of the calls that a
 * host may have in flight.
 *
 *     acquire ─▶ token and call are available ──────────────────────────▶ permit ─▶ release
 *        └──▶ queue of the account ─▶ round-robin over accounts with tokens ──▲
 *        └──▶ the wait would exceed `maxWaitMS`: rejected at once, with the estimated wait
 *
 * A waiter that can no longer be served before its deadline, since others were queued before it, is rejected at once.
 */
import { Fault } from '../errors.js'
import { AccountQueue, requestLease } from './accountQueue.js'
import type { AcquireTokens, Lease } from './buckets.js'
import type { QueueEntry } from './fairQueue.js'
import { HostQueues } from './hostQueues.js'

/** Call this when the call was answered, or was never made. Only the first call counts. */
export type ReleasePermit = () => void

export type Scheduler = {
  /**
   * Waits at most `maxWaitMS` for a permit to call `host` with a token of `bucket`. Throws `budget/exhausted`, with the
   * fact `backoffMS`, as soon as the wait would be longer. Throws the reason of `signal`, which also ends the wait.
   */
  acquire(
    bucket: string,
    host: string,
    entry: QueueEntry,
    maxWaitMS: number,
    signal: AbortSignal,
  ): Promise<ReleasePermit>
  /** Gives priority `known` to all logins of this credential that wait in this subnet. */
  promote(subnet: string, fingerprint: string): void
  /** How many logins wait for this host or call it. */
  countPending(host: string): number
  /** The number of waiting logins of each bucket that has any. */
  waitingByBucket(): Iterable<readonly [bucket: string, count: number]>
}

export type SchedulerOptions = {
  acquireTokens: AcquireTokens
  /** Concurrent calls per host. */
  maxCalls: number
  /** Monotonic milliseconds. */
  now(): number
  /** Runs a callback later, unless the returned function is called first. */
  after(ms: number, run: () => void): () => void
}

export function createScheduler(options: SchedulerOptions): Scheduler {
  const hosts = new Map<string, HostScheduler>()
  const hostNamed = (name: string): HostScheduler => {
    const existing = hosts.get(name)
    if (existing) return existing
    const host = new HostScheduler(options)
    hosts.set(name, host)
    return host
  }
  return {
    async acquire(bucket, host, entry, maxWaitMS, signal) {
      signal.throwIfAborted()
      return hostNamed(host).acquire(bucket, entry, maxWaitMS, signal)
    },
    promote(subnet, fingerprint) {
      for (const host of hosts.values()) host.promote(subnet, fingerprint)
    },
    countPending: host => hosts.get(host)?.countPending() ?? 0,
    *waitingByBucket() {
      for (const host of hosts.values()) yield* host.waitingByBucket()
    },
  }
}

type Waiter = QueueEntry & {
  /** Monotonic milliseconds. */
  deadline: number
  grant(): void
  reject(waitMS: number): void
}

/** How often waiters past their deadline are rejected. No wait exceeds its limit by more. Milliseconds. */
const SWEEP_MS = 50

class HostScheduler {
  readonly #options: SchedulerOptions
  readonly #queues = new HostQueues<Waiter>()
  #calls = 0
  #waiting = 0
  #sweepAt = 0
  #cancelTimer: (() => void) | undefined

  constructor(options: SchedulerOptions) {
    this.#options = options
  }

  acquire(
    bucket: string,
    entry: QueueEntry,
    maxWaitMS: number,
    signal: AbortSignal,
  ): ReleasePermit | Promise<ReleasePermit> {
    const queue = this.#queues.get(bucket)
    if (queue) return this.#wait(queue, entry, maxWaitMS, signal)
    const { acquireTokens, maxCalls, now } = this.#options
    const isReserved = this.#calls < maxCalls
    if (isReserved) this.#calls++ // before the lease is awaited
    const proceed = (lease: Lease): ReleasePermit | Promise<ReleasePermit> => {
      if (isReserved && lease.tokens > 0) return this.#createRelease()
      if (isReserved) this.#calls--
      const own = this.#queues.get(bucket) ?? new AccountQueue<Waiter>(bucket, acquireTokens, now)
      own.addLease(lease)
      return this.#wait(own, entry, maxWaitMS, signal)
    }
    const lease = requestLease(acquireTokens, bucket, isReserved ? 1 : 0)
    return lease instanceof Promise ? lease.then(proceed) : proceed(lease)
  }

  promote(subnet: string, fingerprint: string): void {
    for (const queue of this.#queues.all()) {
      if (queue.waiters.promote(subnet, fingerprint)) this.#queues.update(queue)
    }
  }

  countPending(): number {
    return this.#waiting + this.#calls
  }

  *waitingByBucket(): Iterable<readonly [bucket: string, count: number]> {
    for (const { bucket, waiters } of this.#queues.all()) yield [bucket, waiters.length]
  }

  #wait(
    queue: AccountQueue<Waiter>,
    entry: QueueEntry,
    maxWaitMS: number,
    signal: AbortSignal,
  ): Promise<ReleasePermit> {
    const ms = queue.waitMS(queue.waiters.tokensUntil(entry))
    if (ms > maxWaitMS) return Promise.reject(exhausted(ms))
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        if (queue.waiters.remove(waiter)) this.#countRemoved(queue, 1)
        reject(signal.reason)
      }
      const waiter: Waiter = {
        ...entry,
        deadline: this.#options.now() + maxWaitMS,
        grant: () => {
          signal.removeEventListener('abort', onAbort)
          resolve(this.#createRelease())
        },
        reject(waitMS) {
          signal.removeEventListener('abort', onAbort)
          reject(exhausted(waitMS))
        },
      }
      signal.addEventListener('abort', onAbort, { once: true })
      queue.waiters.enqueue(waiter)
      this.#queues.update(queue)
      this.#waiting++
      if (!this.#cancelTimer) this.#serveAfter((queue.retryAt ?? 0) - this.#options.now())
    })
  }

  /** Serves the account queues as long as there are tokens and calls, and sets a timer for the time when there may be more. */
  #serve(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    const { maxCalls, now } = this.#options
    const time = now()
    if (time >= this.#sweepAt) this.#rejectExpired(time)
    let serveAt = this.#sweepAt
    const nextQueue = this.#queues.startRound(queue => {
      const share = Math.ceil((maxCalls - this.#calls) / this.#queues.size)
      if (queue.ensureToken(Math.min(queue.waiters.length, share), () => this.#serve())) return true
      serveAt = Math.min(serveAt, queue.retryAt ?? serveAt)
      return false
    })
    while (this.#calls < maxCalls) {
      const queue = nextQueue()
      const waiter = queue?.waiters.dequeue()
      if (!queue || !waiter) break
      this.#grant(queue, waiter, time)
    }
    if (this.#waiting > 0) this.#serveAfter(serveAt - time)
  }

  #serveAfter(ms: number): void {
    this.#cancelTimer = this.#options.after(Math.max(1, Math.ceil(ms)), () => this.#serve())
  }

  /** Grants a permit to a waiter that was dequeued, and rejects those behind it that would be served too late. */
  #grant(queue: AccountQueue<Waiter>, waiter: Waiter, time: number): void {
    queue.consumeToken()
    this.#calls++
    waiter.grant()
    this.#queues.moveToEnd(queue)
    this.#countRemoved(queue, 1)
    this.#reject(
      queue,
      queue.waiters.removeLate(waiter, ({ deadline }, tokens) => time + queue.waitMS(tokens) > deadline),
    )
  }

  #rejectExpired(time: number): void {
    this.#sweepAt = time + SWEEP_MS
    for (const queue of this.#queues.all()) {
      this.#reject(
        queue,
        queue.waiters.removeExpired(({ deadline }) => deadline <= time),
      )
    }
  }

  #reject(queue: AccountQueue<Waiter>, removed: Waiter[]): void {
    this.#countRemoved(queue, removed.length)
    for (const waiter of removed) waiter.reject(queue.waitMS(queue.waiters.tokensUntil(waiter)))
  }

  #countRemoved(queue: AccountQueue<Waiter>, count: number): void {
    this.#waiting -= count
    this.#queues.update(queue)
  }

  #createRelease(): ReleasePermit {
    let isReleased = false
    return () => {
      if (isReleased) return
      isReleased = true
      this.#calls--
      if (this.#waiting > 0) this.#serve()
    }
  }
}

function exhausted(waitMS: number): Fault {
  return new Fault('budget/exhausted', undefined, { backoffMS: Math.max(1, Math.ceil(waitMS)) })
}
