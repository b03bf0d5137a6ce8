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
import { type Line, leaseOf, line } from './accountQueue.js'
import type { Lease, Lend } from './buckets.js'
import type { Place } from './fairQueue.js'
import { type Lanes, lanes } from './priorityLanes.js'

/** Ends a turn: the call was answered, or never made. */
export type Done = () => void

export type Turns = {
  /**
   * Waits at most `patienceMS` for a turn at `host`, paid from `bucket`. Throws `budget/exhausted`, with the fact
   * `backoffMS`, at once where it would be longer; and the signal's reason, which gives the place back.
   */
  take(bucket: string, host: string, place: Place, patienceMS: number, signal: AbortSignal): Promise<Done>
  /** This holder is known at this address from now on: whoever waits there as another goes before the others. */
  raise(address: string, holder: string): void
  /** How many wait at a host or ask it. */
  busy(host: string): number
  /** How many wait for each bucket that has any. */
  waiting(): Iterable<readonly [bucket: string, count: number]>
}

type Waiting = Place & {
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
export function turns({
  lend,
  calls,
  now,
  after,
}: {
  lend: Lend
  calls: number
  now(): number
  /** Runs a step later, unless the returned function is called before. */
  after(ms: number, run: () => void): () => void
}): Turns {
  const hosts = new Map<string, Host>()
  const hostOf = (name: string): Host => {
    const known = hosts.get(name)
    if (known) return known
    const fresh = { calls: 0, waiting: 0, lines: lanes<Waiting>(), sweepAt: 0, rest: undefined }
    hosts.set(name, fresh)
    return fresh
  }

  /** Once for each call, however often it is said. */
  const done = (host: Host): Done => {
    let over = false
    return () => {
      if (over) return
      over = true
      host.calls--
      if (host.waiting > 0) serve(host)
    }
  }

  const leave = (host: Host, line: Line<Waiting>, count: number): void => {
    host.waiting -= count
    host.lines.settle(line)
  }

  const refuse = (host: Host, line: Line<Waiting>, refused: Waiting[]): void => {
    leave(host, line, refused.length)
    for (const waiting of refused) waiting.refuse(line.msUntil(line.queue.ahead(waiting)))
  }

  /** Serves the lines in turn, as long as there are tokens and calls, and comes back when there may be more. */
  function serve(host: Host): void {
    host.rest?.()
    host.rest = undefined
    const time = now()
    if (time >= host.sweepAt) {
      host.sweepAt = time + SWEEP_MS
      for (const line of host.lines.all()) {
        const over = line.queue.expire(({ until }) => until <= time)
        refuse(host, line, over)
      }
    }
    let next = host.sweepAt
    const lineNext = host.lines.round(line => {
      const free = Math.ceil((calls - host.calls) / host.lines.size)
      if (line.fund(Math.min(line.queue.length, free), () => serve(host))) return true
      next = Math.min(next, line.nextAt() ?? next)
      return false
    })
    while (host.calls < calls) {
      const line = lineNext()
      const waiting = line?.queue.next()
      if (!line || !waiting) break
      line.spend()
      host.calls++
      waiting.grant()
      host.lines.settle(line, true)
      leave(host, line, 1)
      refuse(
        host,
        line,
        line.queue.cut(waiting, ({ until }, ahead) => time + line.msUntil(ahead) > until),
      )
    }
    if (host.waiting > 0) host.rest = after(Math.max(1, Math.ceil(next - time)), () => serve(host))
  }

  /** Takes a place in the line. */
  function wait(host: Host, line: Line<Waiting>, place: Place, patienceMS: number, signal: AbortSignal): Promise<Done> {
    const ms = line.msUntil(line.queue.ahead(place))
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
      line.queue.add(waiting)
      host.lines.settle(line)
      host.waiting++
      host.rest ??= after(Math.max(1, Math.ceil((line.nextAt() ?? 0) - now())), () => serve(host))
    })
  }

  const take: Turns['take'] = async (bucket, name, place, patienceMS, signal) => {
    signal.throwIfAborted()
    const host = hostOf(name)
    const known = host.lines.of(bucket)
    if (known) return wait(host, known, place, patienceMS, signal)
    const free = host.calls < calls
    if (free) host.calls++ // before anything is waited for
    const enter = (lease: Lease): Done | Promise<Done> => {
      if (free && lease.tokens > 0) return done(host)
      if (free) host.calls--
      const own = host.lines.of(bucket) ?? line<Waiting>(bucket, lend, now)
      own.learn(lease)
      return wait(host, own, place, patienceMS, signal)
    }
    const lease = leaseOf(lend, bucket, free ? 1 : 0)
    return lease instanceof Promise ? lease.then(enter) : enter(lease)
  }

  return {
    take,
    raise(address, holder) {
      for (const { lines } of hosts.values()) {
        for (const line of lines.all()) if (line.queue.raise(address, holder)) lines.settle(line)
      }
    },
    busy(name) {
      const { waiting, calls } = hosts.get(name) ?? { waiting: 0, calls: 0 }
      return waiting + calls
    },
    *waiting() {
      for (const { lines } of hosts.values()) for (const line of lines.all()) yield [line.bucket, line.queue.length]
    },
  }
}

function spent(waitMS: number): Fault {
  return new Fault('budget/exhausted', undefined, { backoffMS: Math.max(1, Math.ceil(waitMS)) })
}
