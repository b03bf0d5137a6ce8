/**
 * The live mirror of one member's hello (R7, R8).
 *
 * Two sockets of its own, which never log in: one watches, by hellos that the member holds until something changes; the
 * other asks at once for whoever needs a hello now. A server without a topologyVersion (FerretDB) cannot be watched, and
 * has the second alone.
 *
 * The `mongodb` driver's monitoring is not used: it turns every number into a double, gives up for good where the
 * upstream is down at start, and opens connections besides (R7). The file is long because two sockets have one state.
 */

import type { Document, ObjectId } from 'bson'
import type { After } from '../clock.js'
import { type Facts, Fault } from '../errors.js'
import type { Log } from '../log.js'
import { type Channel, openChannel } from './channel.js'
import { withTimeout } from './deadline.js'
import { readTopologyVersion, validateHello } from './hello.js'
import { addProxyMetadata } from './metadata.js'
import { sanitizeText } from './reply.js'
import { singleFlight } from './singleFlight.js'
import type { Target } from './target.js'

export type ServerMonitor = {
  /** A hello that the member gave after this was called. Throws `upstream/unreachable`, `upstream/protocol-error`. */
  freshHello(): Promise<Document>
  /** The last hello, with its BSON types; undefined while the member is away. */
  cachedHello(): Document | undefined
  /** Why it did not answer when it was last asked; undefined if it did, or was not asked yet. */
  lastError(): Fault | undefined
  /** `why`: what those are told who still wait. */
  close(why: Fault): void
}

export type ServerMonitorOptions = {
  target: Target
  log: Log
  /** From 0 up to 1: spreads what many proxies would do at once. */
  random: () => number
  /** Called with each hello before anybody else has it, and with undefined when the member is away. */
  onHello: (hello: Document | undefined) => void
  /** Called when another process answers than before: whatever else was asked of the old one may have changed. */
  onServerRestart?: () => void
  after: After
}

const QUICK_MS = 2_000
const AWAIT_MS = 10_000
/** The least time between two watching hellos: an upstream that never holds them must not keep us busy. */
const PACE_MS = 50
/** The least time between two plain hellos, so that many clients at once cost the upstream few. */
const PLAIN_MS = 5
const RETRY = { firstMS: 250, mostMS: 10_000 }

const HELLO = { hello: 1, $db: 'admin' }

export function createServerMonitor({
  target,
  log,
  random,
  onHello: changed,
  onServerRestart: restarted,
  after,
}: ServerMonitorOptions): ServerMonitor {
  const stop = new AbortController()
  let latest: Document | undefined
  let logged: Document = {} // what is known of it, as it stands in the log
  let processId: ObjectId | undefined
  let away: Fault | undefined
  let asking: Channel | undefined
  let watching: Channel | undefined
  let following = false
  let wake = () => {}

  const see = (reply: Document): Document => {
    if (Number(reply.ok) !== 1) throw gone({ code: Number(reply.code), errmsg: sanitizeText(reply.errmsg) })
    if (target.replicaSet !== undefined && reply.setName !== target.replicaSet) {
      throw new Fault('upstream/unreachable', 'it is not of the replica set that upstream.uri names', about(reply))
    }
    validateHello(reply)
    const [was, is] = [latest && readTopologyVersion(latest), readTopologyVersion(reply)]
    if (latest && was && is && was.processId.equals(is.processId) && is.counter.lessThan(was.counter)) return latest
    const facts = about(reply)
    const news = !latest || Object.entries(facts).some(([name, value]) => logged[name] !== value)
    logged = facts
    latest = reply
    away = undefined
    if (processId && is && !processId.equals(is.processId)) restarted?.()
    processId = is?.processId ?? processId
    if (news) log('info', 'upstream state changed', { upstream: target.address, ...facts })
    changed(reply)
    wake()
    if (is && !following) follow()
    return reply
  }

  const lose = (thrown: unknown): void => {
    if (stop.signal.aborted) return
    const fault = Fault.from(thrown)
    if (!away)
      log(fault.definition.level, 'upstream unreachable', {
        fault: fault.kind,
        upstream: target.address,
        ...fault.facts,
      })
    away = fault
    latest = undefined
    changed(undefined)
  }

  const gone = (facts: Facts) => new Fault('upstream/unreachable', undefined, { upstream: target.address, ...facts })
  const bounded = <T>(ms: number, run: (signal: AbortSignal) => Promise<T>) =>
    withTimeout(ms, { after, timeoutReason: () => gone({ code: 'ETIMEDOUT' }), signal: stop.signal }, run)

  const open = async (signal: AbortSignal): Promise<[Channel, Document]> => {
    const channel = await openChannel(target, signal)
    try {
      return [channel, see(await channel.request({ ...HELLO, client: addProxyMetadata(undefined) }, signal))]
    } catch (thrown) {
      channel.destroy()
      throw thrown
    }
  }

  const pause = (ms: number) => () => new Promise<void>(resolve => after(ms, resolve))

  const askOnce = () =>
    bounded(QUICK_MS, async signal => {
      if (asking?.isOpen) {
        try {
          return see(await asking.request(HELLO, signal))
        } catch (thrown) {
          // It may have been closed while it lay idle, which tells nothing about a new one.
          if (signal.aborted || Fault.from(thrown).kind !== 'upstream/unreachable') throw thrown
          asking.destroy()
        }
      }
      const [channel, reply] = await open(signal)
      asking = channel
      if (signal.aborted) channel.destroy() // what it said may be why nobody needs it any more
      return reply
    })

  /** One answer that is late may be an accident of its socket, which is gone with it; the next one is asked elsewhere. */
  const askTwice = (thrown: unknown) => {
    if (Fault.from(thrown).facts.code !== 'ETIMEDOUT') throw thrown
    return askOnce()
  }

  const ask = singleFlight(async () => {
    try {
      return await askOnce().catch(askTwice)
    } catch (thrown) {
      asking?.destroy()
      if (watching?.isOpen && isTurnedAway(thrown)) throw thrown
      watching?.destroy() // its answer would not come either
      lose(thrown)
      throw thrown
    }
  }, pause(PLAIN_MS))

  /** Watches until the upstream gives no topologyVersion. Throws when the socket is lost. */
  const watch = async (onHeld: () => void): Promise<void> => {
    const [channel, first] = await bounded(QUICK_MS, open)
    watching = channel
    try {
      let topologyVersion = readTopologyVersion(first)
      while (topologyVersion) {
        const paced = pause(PACE_MS)()
        const question = { hello: 1, topologyVersion, maxAwaitTimeMS: AWAIT_MS, $db: 'admin' }
        const reply = see(await bounded(AWAIT_MS + QUICK_MS, signal => channel.request(question, signal)))
        onHeld()
        topologyVersion = readTopologyVersion(reply)
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

  const fresh = () => (stop.signal.aborted ? Promise.reject(stop.signal.reason) : ask())

  follow()
  return {
    freshHello: fresh,
    cachedHello: () => latest,
    lastError: () => away,
    close: why => {
      stop.abort(why)
      asking?.destroy()
      watching?.destroy()
      wake()
    },
  }
}

/**
 * Whether a connection was refused or closed, as by a server that has as many as it wants. If it is gone, so is the socket
 * that watches it, which tells by itself.
 */
function isTurnedAway(thrown: unknown): boolean {
  const { kind, facts } = Fault.from(thrown)
  return kind === 'upstream/unreachable' && typeof facts.code === 'string' && facts.code !== 'ETIMEDOUT'
}

/** What a change is judged and logged by. */
function about(hello: Document): Document {
  const { setName, primary, me, isWritablePrimary, ismaster, secondary } = hello
  const counter = readTopologyVersion(hello)?.counter.toString()
  return {
    setName: sanitizeText(setName),
    primary: sanitizeText(primary),
    me: sanitizeText(me),
    writable: (isWritablePrimary ?? ismaster) === true,
    secondary: secondary === true,
    counter,
  }
}
