/**
 * Turns at STS: who may ask now. A turn takes a token of its bucket and one of the calls that a host is asked at a time.
 *
 *     take ─▶ a token is there and a call is free ──────────────────────▶ turn ─▶ done
 *        └──▶ queue of the bucket ─▶ buckets with tokens take turns, too ──▲
 *        └──▶ would wait longer than its patience: told at once, with how long it would have been
 *
 * Who waits and is overtaken so often that its time will not do is told as soon as that is clear.
 */
import { Fault } from '../errors.js'
import { type AccountQueue, createAccountQueue, requestLease } from './accountQueue.js'
import type { AcquireTokens, Lease } from './buckets.js'
import type { QueueEntry } from './fairQueue.js'
import { type Lanes, lanes } from './hostQueues.js'

/** Ends a turn: the call was answered, or never made. */
export type ReleasePermit = () => void

export type Scheduler = {
  /**
   * Waits at most `patienceMS` for a turn at `host`, paid from `bucket`. Throws `budget/exhausted`, with the fact
   * `backoffMS`, at once where it would be longer; and the signal's reason, which gives the place back.
   */
  acquire(
    bucket: string,
    host: string,
    place: QueueEntry,
    patienceMS: number,
    signal: AbortSignal,
  ): Promise<ReleasePermit>
  /** This holder is known at this address from now on: whoever waits there as another goes before the others. */
  promote(address: string, holder: string): void
  /** How many wait at a host or ask it. */
  countPending(host: string): number
  /** How many wait for each bucket that has any. */
  waitingByBucket(): Iterable<readonly [bucket: string, count: number]>
}

type Waiting = QueueEntry & {
  until: number
  grant(): void
  refuse(backoffMS: number): void
}

/** `lines`: one for each bucket, as long as somebody waits there. */
type Host = {
  calls: number
  waiting: number
  lines: Lanes<Waiting>
  sweepAt: number
  rest: (() => void) | undefined
}

/** How often those are looked for whose patience is over; nobody waits much longer than it said. Milliseconds. */
const SWEEP_MS = 50

/** `calls`: at a time, for each host. `now`: monotonic milliseconds. */
export function createScheduler({
  acquireTokens,
  maxCalls,
  now,
  after,
}: {
  acquireTokens: AcquireTokens
  maxCalls: number
  now(): number
  /** Runs a step later, unless the returned function is called before. */
  after(ms: number, run: () => void): () => void
}): Scheduler {
  const hosts = new Map<string, Host>()
  const hostOf = (name: string): Host => {
    const known = hosts.get(name)
    if (known) return known
    const fresh = { calls: 0, waiting: 0, lines: lanes<Waiting>(), sweepAt: 0, rest: undefined }
    hosts.set(name, fresh)
    return fresh
  }

  /** Once for each call, however often it is said. */
  const done = (host: Host): ReleasePermit => {
    let over = false
    return () => {
      if (over) return
      over = true
      host.calls--
      if (host.waiting > 0) serve(host)
    }
  }

  const leave = (host: Host, line: AccountQueue<Waiting>, count: number): void => {
    host.waiting -= count
    host.lines.settle(line)
  }

  const refuse = (host: Host, line: AccountQueue<Waiting>, refused: Waiting[]): void => {
    leave(host, line, refused.length)
    for (const waiting of refused) waiting.refuse(line.waitMS(line.queue.tokensUntil(waiting)))
  }

  /** Serves the lines in turn, as long as there are tokens and calls, and comes back when there may be more. */
  function serve(host: Host): void {
    host.rest?.()
    host.rest = undefined
    const time = now()
    if (time >= host.sweepAt) {
      host.sweepAt = time + SWEEP_MS
      for (const line of host.lines.all()) {
        const over = line.queue.removeExpired(({ until }) => until <= time)
        refuse(host, line, over)
      }
    }
    let next = host.sweepAt
    const lineNext = host.lines.round(line => {
      const free = Math.ceil((maxCalls - host.calls) / host.lines.size)
      if (line.ensureToken(Math.min(line.queue.length, free), () => serve(host))) return true
      next = Math.min(next, line.nextAt() ?? next)
      return false
    })
    while (host.calls < maxCalls) {
      const line = lineNext()
      const waiting = line?.queue.dequeue()
      if (!line || !waiting) break
      line.spendToken()
      host.calls++
      waiting.grant()
      host.lines.settle(line, true)
      leave(host, line, 1)
      refuse(
        host,
        line,
        line.queue.removeLate(waiting, ({ until }, ahead) => time + line.waitMS(ahead) > until),
      )
    }
    if (host.waiting > 0) host.rest = after(Math.max(1, Math.ceil(next - time)), () => serve(host))
  }

  /** Takes a place in the line. */
  function wait(
    host: Host,
    line: AccountQueue<Waiting>,
    place: QueueEntry,
    patienceMS: number,
    signal: AbortSignal,
  ): Promise<ReleasePermit> {
    const ms = line.waitMS(line.queue.tokensUntil(place))
    if (ms > patienceMS) return Promise.reject(spent(ms))
    return new Promise((resolve, reject) => {
      const gone = (): void => {
        if (line.queue.remove(waiting)) leave(host, line, 1)
        reject(signal.reason)
      }
      const settled = (): void => signal.removeEventListener('abort', gone)
      const waiting: Waiting = {
        ...place,
        until: now() + patienceMS,
        grant() {
          settled()
          resolve(done(host))
        },
        refuse(backoffMS) {
          settled()
          reject(spent(backoffMS))
        },
      }
      signal.addEventListener('abort', gone, { once: true })
      line.queue.enqueue(waiting)
      host.lines.settle(line)
      host.waiting++
      host.rest ??= after(Math.max(1, Math.ceil((line.nextAt() ?? 0) - now())), () => serve(host))
    })
  }

  const acquire: Scheduler['acquire'] = async (bucket, name, place, patienceMS, signal) => {
    signal.throwIfAborted()
    const host = hostOf(name)
    const known = host.lines.of(bucket)
    if (known) return wait(host, known, place, patienceMS, signal)
    const free = host.calls < maxCalls
    if (free) host.calls++ // before anything is waited for
    const enter = (lease: Lease): ReleasePermit | Promise<ReleasePermit> => {
      if (free && lease.tokens > 0) return done(host)
      if (free) host.calls--
      const own = host.lines.of(bucket) ?? createAccountQueue<Waiting>(bucket, acquireTokens, now)
      own.addLease(lease)
      return wait(host, own, place, patienceMS, signal)
    }
    const lease = requestLease(acquireTokens, bucket, free ? 1 : 0)
    return lease instanceof Promise ? lease.then(enter) : enter(lease)
  }

  return {
    acquire,
    promote(address, holder) {
      for (const { lines } of hosts.values()) {
        for (const line of lines.all()) if (line.queue.promote(address, holder)) lines.settle(line)
      }
    },
    countPending(name) {
      const { waiting, calls } = hosts.get(name) ?? { waiting: 0, calls: 0 }
      return waiting + calls
    },
    *waitingByBucket() {
      for (const { lines } of hosts.values()) for (const line of lines.all()) yield [line.bucket, line.queue.length]
    },
  }
}

function spent(waitMS: number): Fault {
  return new Fault('budget/exhausted', undefined, { backoffMS: Math.max(1, Math.ceil(waitMS)) })
}
