/**
 * The live mirror of the upstream's hello, from which every client's hello and monitor is answered (R7, R8).
 *
 * Two sockets of its own, which never log in: one watches, by hellos that the upstream holds until something changes;
 * the other asks at once for whoever needs a hello now. An upstream without a topologyVersion (FerretDB) cannot be
 * watched, and has the second alone.
 *
 * One page long because its sockets, its waiters and the last hello are one state. The `mongodb` driver's monitoring is not used: it turns every number into a double, gives up for good where the
 * upstream is down at start, and opens connections besides (R7).
 */
import type { Document, ObjectId } from 'bson'
import { type Facts, Fault } from '../errors.js'
import type { Log } from '../log.js'
import { type Channel, connect } from './channel.js'
import { coalesced } from './coalesced.js'
import { isNews, type TopologyVersion, topologyVersionOf } from './hello.js'
import { withProxy } from './metadata.js'
import { unless, within } from './patience.js'
import { told } from './reply.js'
import type { Target } from './target.js'

export type Mirror = {
  /** A hello that the upstream gave after this was called. Throws `upstream/away`, `upstream/malformed`, the reason. */
  fresh(signal: AbortSignal): Promise<Document>
  /** A hello that is news to whoever knows `known`, or the current one after `maxAwaitTimeMS`. Throws as `fresh`. */
  next(known: TopologyVersion, maxAwaitTimeMS: number, signal: AbortSignal): Promise<Document>
  /** The last hello, with its BSON types; undefined while the upstream is away. */
  current(): Document | undefined
  close(): void
}

export type Parts = {
  target: Target
  log: Log
  /** From 0 up to 1: spreads what many proxies would do at once. */
  random: () => number
  /** Called when another process answers than before: whatever else was asked of the old one may have changed. */
  restarted?: () => void
  /** Runs a step after so many milliseconds, unless the returned function is called before. */
  after: (ms: number, run: () => void) => () => void
}

const QUICK_MS = 2_000
const AWAIT_MS = 10_000
/** Clients may ask to wait longer; they are answered earlier and ask again. */
const LONGEST_MS = 60_000
/** The least time between two watching hellos: an upstream that never holds them must not keep us busy. */
const PACE_MS = 50
const RETRY = { firstMS: 250, mostMS: 10_000 }

const HELLO = { hello: 1, $db: 'admin' }

export function mirror({ target, log, random, restarted, after }: Parts): Mirror {
  const stop = new AbortController()
  const waiting = new Set<{ look(hello: Document): void; fail(fault: unknown): void }>()
  let latest: Document | undefined
  let processId: ObjectId | undefined
  let away = false
  let asking: Channel | undefined
  let watching: Channel | undefined
  let following = false
  let wake = () => {}

  const see = (reply: Document): Document => {
    if (Number(reply.ok) !== 1) throw gone({ code: Number(reply.code), errmsg: told(reply.errmsg) })
    if (target.replicaSet !== undefined && reply.setName !== target.replicaSet) {
      throw new Fault('upstream/away', 'it is not of the replica set that upstream.uri names', about(reply))
    }
    const [was, is] = [latest && topologyVersionOf(latest), topologyVersionOf(reply)]
    if (latest && was && is && was.processId.equals(is.processId) && is.counter.lessThan(was.counter)) return latest
    const news = JSON.stringify(latest && about(latest)) !== JSON.stringify(about(reply))
    latest = reply
    away = false
    if (processId && is && !processId.equals(is.processId)) restarted?.()
    processId = is?.processId ?? processId
    if (news) log('info', 'upstream changed', about(reply))
    for (const one of [...waiting]) one.look(reply)
    wake()
    if (is && !following) follow()
    return reply
  }

  const lose = (thrown: unknown): void => {
    if (stop.signal.aborted) return
    const fault = Fault.from(thrown)
    if (!away) log(fault.row.level, 'upstream lost', { fault: fault.kind, upstream: target.address, ...fault.facts })
    away = true
    latest = undefined
    for (const one of [...waiting]) one.fail(fault)
  }

  const gone = (facts: Facts) => new Fault('upstream/away', undefined, { upstream: target.address, ...facts })
  const bounded = <T>(ms: number, run: (signal: AbortSignal) => Promise<T>) =>
    within(ms, { after, late: () => gone({ code: 'ETIMEDOUT' }), stop: stop.signal }, run)

  const open = async (signal: AbortSignal): Promise<[Channel, Document]> => {
    const channel = await connect(target, signal)
    try {
      return [channel, see(await channel.request({ ...HELLO, client: withProxy(undefined) }, signal))]
    } catch (thrown) {
      channel.destroy()
      throw thrown
    }
  }

  const ask = coalesced(async () => {
    try {
      return await bounded(QUICK_MS, async signal => {
        if (asking?.alive) {
          try {
            return see(await asking.request(HELLO, signal))
          } catch (thrown) {
            // It may have been closed while it lay idle, which tells nothing about a new one.
            if (signal.aborted || Fault.from(thrown).kind !== 'upstream/away') throw thrown
            asking.destroy()
          }
        }
        const [channel, reply] = await open(signal)
        asking = channel
        return reply
      })
    } catch (thrown) {
      asking?.destroy()
      watching?.destroy() // it finds out for itself now, instead of when its time is over
      if (!following) lose(thrown)
      throw thrown
    }
  })

  /** Watches until the upstream gives no topologyVersion. Throws when the socket is lost. */
  const watch = async (onHeld: () => void): Promise<void> => {
    const [channel, first] = await bounded(QUICK_MS, open)
    watching = channel
    try {
      let topologyVersion = topologyVersionOf(first)
      while (topologyVersion) {
        const paced = new Promise<void>(resolve => after(PACE_MS, resolve))
        const question = { hello: 1, topologyVersion, maxAwaitTimeMS: AWAIT_MS, $db: 'admin' }
        const reply = see(await bounded(AWAIT_MS + QUICK_MS, signal => channel.request(question, signal)))
        onHeld()
        topologyVersion = topologyVersionOf(reply)
        await paced
      }
    } finally {
      channel.destroy()
    }
  }

  const follow = async (): Promise<void> => {
    following = true
    let failures = 0
    while (!stop.signal.aborted) {
      try {
        await watch(() => {
          failures = 0
        })
        break
      } catch (thrown) {
        failures++
        // A watch that was lost is tried again at once: a restart and a failover end sockets too.
        if (failures === 1 && latest) continue
        lose(thrown)
        const pause = Math.min(RETRY.mostMS, RETRY.firstMS * 2 ** Math.min(failures, 10)) * (0.5 + random() / 2)
        await new Promise<void>(resolve => {
          const cancel = after(pause, resolve)
          wake = () => {
            cancel()
            resolve()
          }
        })
      }
    }
    following = false
  }

  const fresh = (signal: AbortSignal) =>
    stop.signal.aborted ? Promise.reject(stop.signal.reason) : unless(signal, ask())

  /** Waits for news, at most so long; then the current hello has to do. */
  const changed = (known: TopologyVersion, ms: number, signal: AbortSignal) =>
    new Promise<Document>((resolve, reject) => {
      const end = (act: () => void) => {
        cancel()
        signal.removeEventListener('abort', abort)
        waiting.delete(one)
        act()
      }
      const one = {
        look: (hello: Document) => {
          if (isNews(topologyVersionOf(hello), known)) end(() => resolve(hello))
        },
        fail: (fault: unknown) => end(() => reject(fault)),
      }
      const abort = () => one.fail(signal.reason)
      const cancel = after(ms, () => end(() => (latest ? resolve(latest) : reject(gone({})))))
      signal.addEventListener('abort', abort, { once: true })
      waiting.add(one)
      if (signal.aborted) abort()
    })

  follow()
  return {
    fresh,
    next: (known, maxAwaitTimeMS, signal) => {
      const hello = latest
      const version = hello && topologyVersionOf(hello)
      if (!hello || !version || stop.signal.aborted) return fresh(signal)
      if (isNews(version, known)) return Promise.resolve(hello)
      return changed(known, Math.min(maxAwaitTimeMS, LONGEST_MS), signal)
    },
    current: () => latest,
    close: () => {
      stop.abort(new Fault('listener/draining'))
      for (const one of [...waiting]) one.fail(stop.signal.reason)
      asking?.destroy()
      watching?.destroy()
      wake()
    },
  }
}

/** What a change is judged and logged by. */
function about(hello: Document): Document {
  const { setName, primary, me, isWritablePrimary, ismaster, secondary } = hello
  const counter = topologyVersionOf(hello)?.counter.toString()
  return {
    setName: told(setName),
    primary: told(primary),
    me: told(me),
    writable: (isWritablePrimary ?? ismaster) === true,
    secondary: secondary === true,
    counter,
  }
}
