/**
 * Monitors one member of the upstream and caches its hello.
 *
 *     streaming socket   hello {topologyVersion, maxAwaitTimeMS} ─▶ the member replies when its state changes, or after 10 s
 *     polling socket     hello ─▶ the member replies at once; sent whenever a caller needs a fresh hello
 *
 * Neither socket logs in. A server without a topologyVersion (FerretDB) cannot hold a hello, so its monitor only polls.
 * https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-monitoring.md
 *
 * Rejected: the monitoring of the `mongodb` driver. It turns every number into a double, stops for good if the upstream is
 * down at start, and opens further connections.
 */
import type { Document, ObjectId } from 'bson'
import { type Backoff, backoffMS } from '../backoff.js'
import type { After } from '../clock.js'
import { Fault, type FaultData, toLogFields } from '../errors.js'
import type { Log, LogFields } from '../log.js'
import { type Channel, openChannel } from './channel.js'
import { ConnectionError, connectionFailureOf } from './connectionError.js'
import { withTimeout } from './deadline.js'
import { validateHello } from './helloReply.js'
import { PROXY_METADATA } from './metadata.js'
import { sanitizeText } from './reply.js'
import { singleFlight } from './singleFlight.js'
import type { Target } from './target.js'
import { readTopologyVersion } from './topologyVersion.js'

export type ServerMonitorOptions = {
  target: Target
  log: Log
  /** From 0 up to 1. Spreads the reconnects of many proxies. */
  random: () => number
  /** Called with each hello before any caller of `freshHello` has it, and with undefined when the member is unreachable. */
  onHello: (hello: Document | undefined) => void
  /** Called when another process answers at this address: its configuration may differ. */
  onServerRestart?: () => void
  after: After
}

/** Bounds connecting and a plain hello together. */
const CHECK_TIMEOUT_MS = 2_000
const MAX_AWAIT_TIME_MS = 10_000
/** The shortest time between two awaitable hellos. A hostile upstream may never hold them. */
const MIN_STREAM_INTERVAL_MS = 50
/** The shortest time between two plain hellos. Callers within it share one. */
const MIN_POLL_INTERVAL_MS = 5
const RECONNECT: Backoff = { firstMS: 250, maxMS: 10_000 }

const HELLO = { hello: 1, $db: 'admin' }

export class ServerMonitor {
  readonly #options: ServerMonitorOptions
  readonly #stop = new AbortController()
  readonly #checkServer: () => Promise<Document>
  #hello: Document | undefined
  #lastError: Fault | undefined
  #loggedState: LogFields<'upstream state changed'> = {}
  #processId: ObjectId | undefined
  #polling: Channel | undefined
  #streaming: Channel | undefined
  #isStreaming = false
  #endReconnectPause = (): void => {}

  constructor(options: ServerMonitorOptions) {
    this.#options = options
    this.#checkServer = singleFlight(
      () => this.#runCheck(),
      () => this.#pause(MIN_POLL_INTERVAL_MS),
    )
    void this.#keepStreaming()
  }

  /**
   * A hello that the member sends after this call. Concurrent callers share it.
   * Throws `upstream/unreachable`, `upstream/protocol-error`, or the reason given to `close`.
   */
  freshHello(): Promise<Document> {
    const { aborted, reason } = this.#stop.signal
    return aborted ? Promise.reject(reason) : this.#checkServer()
  }

  /** The last hello, with its BSON types; undefined while the member is unreachable. */
  cachedHello(): Document | undefined {
    return this.#hello
  }

  /** Why the last check failed; undefined if it succeeded or none has ended yet. */
  lastError(): Fault | undefined {
    return this.#lastError
  }

  /** Pending calls of `freshHello` reject with the reason. */
  close(reason: Fault): void {
    this.#stop.abort(reason)
    this.#polling?.destroy()
    this.#streaming?.destroy()
    this.#endReconnectPause()
  }

  /** One check of the member: a plain hello, and another one over a new socket if the first one times out. */
  async #runCheck(): Promise<Document> {
    try {
      return await this.#poll().catch(thrown => {
        // The timeout may concern only this socket, which is closed by now.
        if (connectionFailureOf(thrown) !== 'timeout') throw thrown
        return this.#poll()
      })
    } catch (thrown) {
      this.#polling?.destroy()
      // A member at its connection limit refuses new sockets while it is well. If it is down, the streaming socket closes too.
      if (this.#streaming?.isOpen && connectionFailureOf(thrown) === 'closed') throw thrown
      this.#streaming?.destroy()
      this.#markUnreachable(thrown)
      throw thrown
    }
  }

  #poll(): Promise<Document> {
    return this.#withTimeout(CHECK_TIMEOUT_MS, async signal => {
      if (this.#polling?.isOpen) {
        try {
          return this.#acceptHello(await this.#polling.request(HELLO, signal))
        } catch (thrown) {
          // The member may have closed this socket while it was idle. Only a new socket shows whether it is reachable.
          if (signal.aborted || Fault.from(thrown).kind !== 'upstream/unreachable') throw thrown
          this.#polling.destroy()
        }
      }
      const [channel, hello] = await this.#connect(signal)
      this.#polling = channel
      if (signal.aborted) channel.destroy() // `onHello` may have closed this monitor
      return hello
    })
  }

  /** Keeps a streaming socket open until the member sends a hello without a topologyVersion. */
  async #keepStreaming(): Promise<void> {
    this.#isStreaming = true
    let failures = 0
    while (!this.#stop.signal.aborted) {
      try {
        await this.#stream(() => {
          failures = 0
        })
        break
      } catch (thrown) {
        failures++
        // Restarts and elections close sockets of members that are well, so reconnect once without a pause.
        if (failures === 1 && this.#hello) continue
        this.#markUnreachable(thrown)
        await this.#pauseBeforeReconnect(failures)
      }
    }
    this.#isStreaming = false
  }

  /** Sends awaitable hellos over one socket. `onReply` is called with each reply. Throws when the socket fails. */
  async #stream(onReply: () => void): Promise<void> {
    const [channel, firstHello] = await this.#withTimeout(CHECK_TIMEOUT_MS, signal => this.#connect(signal))
    this.#streaming = channel
    try {
      let topologyVersion = readTopologyVersion(firstHello)
      while (topologyVersion) {
        const minInterval = this.#pause(MIN_STREAM_INTERVAL_MS)
        const command = { hello: 1, topologyVersion, maxAwaitTimeMS: MAX_AWAIT_TIME_MS, $db: 'admin' }
        const reply = await this.#withTimeout(MAX_AWAIT_TIME_MS + CHECK_TIMEOUT_MS, signal =>
          channel.request(command, signal),
        )
        const hello = this.#acceptHello(reply)
        onReply()
        topologyVersion = readTopologyVersion(hello)
        await minInterval
      }
    } finally {
      channel.destroy()
    }
  }

  async #connect(signal: AbortSignal): Promise<[Channel, Document]> {
    const channel = await openChannel(this.#options.target, signal)
    try {
      const reply = await channel.request({ ...HELLO, client: PROXY_METADATA }, signal)
      return [channel, this.#acceptHello(reply)]
    } catch (thrown) {
      channel.destroy()
      throw thrown
    }
  }

  /** Validates a hello, caches it and reports it. Returns the cached hello if that one is newer. */
  #acceptHello(hello: Document): Document {
    this.#assertUsable(hello)
    if (this.#hello && isOutdated(hello, this.#hello)) return this.#hello
    const state = describeState(hello)
    const isChanged = !this.#hello || JSON.stringify(state) !== JSON.stringify(this.#loggedState)
    this.#loggedState = state
    this.#hello = hello
    this.#lastError = undefined
    const topologyVersion = readTopologyVersion(hello)
    this.#detectRestart(topologyVersion?.processId)
    const { log, target, onHello } = this.#options
    if (isChanged) log('info', 'upstream state changed', { upstream: target.address, ...state })
    onHello(hello)
    this.#endReconnectPause()
    if (topologyVersion && !this.#isStreaming) void this.#keepStreaming()
    return hello
  }

  #assertUsable(hello: Document): void {
    const { address, replicaSet } = this.#options.target
    if (Number(hello.ok) !== 1) {
      throw this.#unreachable({ code: Number(hello.code), errmsg: sanitizeText(hello.errmsg) })
    }
    if (replicaSet !== undefined && hello.setName !== replicaSet) {
      throw new Fault('upstream/unreachable', 'the member does not belong to the replica set that upstream.uri names', {
        upstream: address,
        expected: replicaSet,
        setName: sanitizeText(hello.setName),
      })
    }
    validateHello(hello)
  }

  #detectRestart(processId: ObjectId | undefined): void {
    if (!processId) return
    const before = this.#processId
    this.#processId = processId
    if (before && !before.equals(processId)) this.#options.onServerRestart?.()
  }

  #markUnreachable(thrown: unknown): void {
    if (this.#stop.signal.aborted) return
    const fault = Fault.from(thrown)
    const { log, target, onHello } = this.#options
    if (!this.#lastError) {
      log(fault.definition.level, 'upstream unreachable', { upstream: target.address, ...toLogFields(fault) })
    }
    this.#lastError = fault
    this.#hello = undefined
    onHello(undefined)
  }

  #unreachable(data: FaultData['upstream/unreachable'], cause?: ConnectionError): Fault {
    const { address } = this.#options.target
    return new Fault('upstream/unreachable', undefined, { upstream: address, ...data }, cause)
  }

  #withTimeout<T>(ms: number, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const timeoutReason = () => this.#unreachable({ code: 'ETIMEDOUT' }, new ConnectionError('timeout'))
    return withTimeout(ms, { after: this.#options.after, timeoutReason, signal: this.#stop.signal }, run)
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => this.#options.after(ms, resolve))
  }

  /** Ends early when the polling socket gets a hello, or when the monitor closes. */
  #pauseBeforeReconnect(failures: number): Promise<void> {
    const { after, random } = this.#options
    return new Promise(resolve => {
      const cancel = after(backoffMS(RECONNECT, failures, random()), resolve)
      this.#endReconnectPause = () => {
        cancel()
        resolve()
      }
    })
  }
}

/** Both come from one process, and the counter of the cached hello is higher. */
function isOutdated(hello: Document, cached: Document): boolean {
  const [version, cachedVersion] = [readTopologyVersion(hello), readTopologyVersion(cached)]
  if (!version || !cachedVersion || !version.processId.equals(cachedVersion.processId)) return false
  return version.counter.lessThan(cachedVersion.counter)
}

/** The fields of hello that the log shows. Only a change of one of them is logged. */
function describeState(hello: Document): LogFields<'upstream state changed'> {
  const { setName, primary, me, isWritablePrimary, ismaster, secondary } = hello
  return {
    setName: sanitizeText(setName),
    primary: sanitizeText(primary),
    me: sanitizeText(me),
    writable: (isWritablePrimary ?? ismaster) === true,
    secondary: secondary === true,
    counter: readTopologyVersion(hello)?.counter.toString(),
  }
}
