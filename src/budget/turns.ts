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
import type { Lease, Lend } from './buckets.js'
import { type Place, type Queue, queue } from './queue.js'

/** Ends a turn: the call was answered, or never made. */
export type Done = () => void

export type Turns = {
  /**
   * Waits at most `patienceMS` for a turn at `host`, paid from `bucket`. Throws `budget/spent`, with the fact
   * `backoffMS`, at once where it would be longer; and the signal's reason, which gives the place back.
   */
  take(bucket: string, host: string, place: Place, patienceMS: number, signal: AbortSignal): Promise<Done>
  /** How many wait at a host. */
  busy(host: string): number
  /** How many wait for each bucket that has any. */
  waiting(): Iterable<readonly [bucket: string, count: number]>
}

type Waiting = Place & {
  until: number
  grant(): void
  refuse(backoffMS: number): void
}

/** The queue of one bucket; it is there as long as somebody waits. */
type Line = {
  bucket: string
  queue: Queue<Waiting>
  tokens: number
  asking: boolean
  nextAt: number
  perSecond: number
}
type Host = {
  calls: number
  waiting: number
  lines: Map<string, Line>
  sweepAt: number
  rest: (() => void) | undefined
}

/** How often those are looked for whose patience is over; nobody waits much longer than it said. Milliseconds. */
const SWEEP_MS = 50

/** What a lender gives that cannot be reached. */
const NOTHING: Lease = { tokens: 0, nextMS: SWEEP_MS, perSecond: 1 }

/** `calls`: at a time, for each host. `now`: monotonic milliseconds. */
export function turns({ lend, calls, now, after }: { lend: Lend; calls: number; now(): number; after: After }): Turns {
  const hosts = new Map<string, Host>()
  const hostOf = (name: string): Host => {
    const known = hosts.get(name)
    if (known) return known
    const fresh = { calls: 0, waiting: 0, lines: new Map(), sweepAt: 0, rest: undefined }
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

  const learn = (line: Line, { tokens, nextMS, perSecond }: Lease): void => {
    line.tokens += tokens
    line.nextAt = now() + nextMS
    line.perSecond = perSecond
  }

  /** True if the line has a token; more are asked for where that makes sense. */
  const funded = (host: Host, line: Line): boolean => {
    if (line.tokens > 0) return true
    if (line.asking || now() < line.nextAt) return false
    const free = Math.max(1, calls - host.calls)
    const lease = lend(line.bucket, Math.min(line.queue.length, Math.ceil(free / host.lines.size)))
    if (!(lease instanceof Promise)) learn(line, lease)
    else {
      line.asking = true
      const settle = (lent: Lease): void => {
        line.asking = false
        learn(line, lent)
        serve(host)
      }
      lease.catch(() => ({ ...NOTHING, perSecond: line.perSecond })).then(settle)
    }
    return line.tokens > 0
  }

  const leave = (host: Host, line: Line, count: number): void => {
    host.waiting -= count
    if (line.queue.length === 0) host.lines.delete(line.bucket)
  }

  const msAhead = (line: Line, tokens: number): number => (Math.max(0, tokens - line.tokens) * 1000) / line.perSecond

  const refuse = (host: Host, line: Line, refused: Waiting[]): void => {
    leave(host, line, refused.length)
    for (const waiting of refused) waiting.refuse(msAhead(line, line.queue.ahead(waiting)))
  }

  /** Serves the lines in turn, as long as there are tokens and calls, and comes back when there may be more. */
  function serve(host: Host): void {
    host.rest?.()
    host.rest = undefined
    const time = now()
    if (time >= host.sweepAt) {
      host.sweepAt = time + SWEEP_MS
      for (const line of host.lines.values())
        refuse(
          host,
          line,
          line.queue.expire(({ until }) => until <= time),
        )
    }
    let next = host.sweepAt
    // A line that is served goes to the end, where this very loop meets it again.
    for (const line of host.lines.values()) {
      if (host.calls >= calls) break
      if (!funded(host, line)) {
        if (!line.asking) next = Math.min(next, line.nextAt)
        continue
      }
      const waiting = line.queue.next()
      if (!waiting) continue
      line.tokens--
      host.calls++
      waiting.grant()
      host.lines.delete(line.bucket)
      if (line.queue.length > 0) host.lines.set(line.bucket, line)
      leave(host, line, 1)
      refuse(
        host,
        line,
        line.queue.cut(waiting, ({ until }, ahead) => time + msAhead(line, ahead) > until),
      )
    }
    if (host.waiting > 0) host.rest = after(Math.max(1, Math.ceil(next - time)), () => serve(host))
  }

  /** Takes a place in the line. */
  function wait(
    host: Host,
    line: Line,
    { address, priority }: Place,
    patienceMS: number,
    signal: AbortSignal,
  ): Promise<Done> {
    const ms = msAhead(line, line.queue.ahead({ address, priority }))
    if (ms > patienceMS) return Promise.reject(spent(ms))
    return new Promise((resolve, reject) => {
      const gone = (): void => {
        if (line.queue.remove(waiting)) leave(host, line, 1)
        reject(signal.reason)
      }
      const settled = (): void => signal.removeEventListener('abort', gone)
      const waiting: Waiting = {
        address,
        priority,
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
      host.lines.set(line.bucket, line)
      host.waiting++
      host.rest ??= after(Math.max(1, Math.ceil(line.nextAt - now())), () => serve(host))
    })
  }

  const take: Turns['take'] = async (bucket, name, place, patienceMS, signal) => {
    signal.throwIfAborted()
    const host = hostOf(name)
    const known = host.lines.get(bucket)
    if (known) return wait(host, known, place, patienceMS, signal)
    const free = host.calls < calls
    if (free) host.calls++ // before anything is waited for
    const enter = (lease: Lease): Done | Promise<Done> => {
      if (free && lease.tokens > 0) return done(host)
      if (free) host.calls--
      const fresh = { bucket, queue: queue<Waiting>(), tokens: 0, asking: false, nextAt: 0, perSecond: 1 }
      const line = host.lines.get(bucket) ?? fresh
      learn(line, lease)
      return wait(host, line, place, patienceMS, signal)
    }
    const lent = lend(bucket, free ? 1 : 0)
    return lent instanceof Promise ? lent.catch(() => NOTHING).then(enter) : enter(lent)
  }

  return {
    take,
    busy: name => hosts.get(name)?.waiting ?? 0,
    *waiting() {
      for (const { lines } of hosts.values()) for (const line of lines.values()) yield [line.bucket, line.queue.length]
    },
  }
}

function spent(waitMS: number): Fault {
  return new Fault('budget/spent', undefined, { backoffMS: Math.max(1, Math.ceil(waitMS)) })
}
