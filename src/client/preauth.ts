/**
 * What a client says and is told before the relay: one frame in, one answer out, then the next frame is looked at. While
 * the proof is being judged nobody takes the next one, so nothing overtakes the verdict.
 *
 * Nothing of it is held on to once the client is admitted, since a connection then lasts for hours. The file is long because
 * whatever may be said or waited for there has one state.
 */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault, type FaultKind, toLogFields, toReply } from '../errors.js'
import type { Log } from '../log.js'
import { readTopologyVersion } from '../upstream/topologyVersion.js'
import type { Frame } from '../wire/frame.js'
import { type Command, EXHAUST_ALLOWED, MORE_TO_COME, readCommand, writeMessage, writeReply } from '../wire/message.js'
import { Backpressure } from './backpressure.js'
import type { Stage } from './connectionTable.js'
import { FrameReader } from './frameReader.js'
import {
  type Action,
  type ClientInfo,
  finishLogin,
  type HandshakeContext,
  type HelloRequest,
  handleCommand,
  initialState,
  type State,
} from './handshake.js'
import type { LoginRecord, LoginRequest, UpstreamSession } from './login.js'
import type { Ending } from './relay.js'

/** Bytes of the longest frame before login: hello and SASL fit many times over. */
const LIMIT = 64 * 1024
/** A frame that has begun must be complete within this time, the first one within this time of accept. Milliseconds. */
const FRAME_MS = 5_000
/** Between frames, drivers ask every ten seconds or so; nothing for this long is nobody. */
const IDLE_MS = 600_000
/** A challenge that is not answered within this time is dropped. Drivers have their credentials before they ask for it. */
const CHALLENGE_MS = 30_000

/** The least time between two streamed replies that tell nothing new; no driver asks for less. Milliseconds. */
const STREAM_MS = 500

/**
 * Drivers whose pools notice by themselves that a connection was closed. The others learn it from their monitor's, which
 * is closed, too: else they would take a closed one for the second try of a write, and there is no third. These are left
 * their monitors, since they wait half a second before they open another.
 */
const NOTICES = /^nodejs\b/

/** Why a login is given up; one for all, since a reason made on the spot costs a stack trace. */
const LEFT = new Error('the client left')

/** What the listener knows of a client, and what it wants to be told. */
export type AcceptedClient = {
  /** Counts connections. */
  id: number
  /** Its address, as address:port. */
  peer: string
  /** The fingerprint of its certificate, where this very TLS handshake verified one. */
  certificate: string | undefined
  setStage(stage: Stage): void
  /** A whole frame came: the connection is alive. */
  recordActivity(): void
  /** Runs a step when it is the turn of this client's address, at once if nobody waits. */
  schedule(step: () => void): void
}

/** The same for all connections. */
export type ConversationOptions = {
  log: Log
  /** What the proxy brings to a conversation with a client of this address. */
  handshakeContext(address: string): HandshakeContext
  /** The answer to a hello, from an upstream reply obtained after it was asked. `client`: its own socket. */
  answerHello(asked: HelloRequest, connectionId: number, signal: AbortSignal, client: Socket): Promise<Document>
  login(candidate: LoginRequest, over: AbortController): Promise<UpstreamSession>
  metrics: {
    recordFault(kind: FaultKind): void
    recordLogin(outcome: 'success' | FaultKind, journal: LoginRecord): void
  }
  nextRequestID(): number
  after: After
}

/** The connection that it is the beginning of. */
export type ConversationHost = {
  readonly client: AcceptedClient
  /** The client's address alone. */
  readonly address: string
  readonly loginRecord: LoginRecord
  /** How it was closed, if it was. */
  readonly closeReason: Ending | undefined
  setStage(stage: Stage): void
  /** A command was refused, and the connection goes on. */
  refused(what: string): void
  log: Log
  /** The relay takes the socket over, in the same tick. `rest`: what was read of it and not answered. */
  admit(admitted: UpstreamSession, welcome: Buffer, rest: Buffer, client: ClientInfo): void
  /** Closes now. */
  destroy(fault: Fault): void
}

/** Talks with the client of a socket that has no readers. */
export class Conversation {
  /** How the connection has ended; undefined where the client is admitted. */
  readonly over: Promise<Ending | undefined>
  readonly #socket: Socket
  readonly #host: ConversationHost
  readonly #parts: ConversationOptions
  readonly #left = new AbortController()
  readonly #inbox: FrameReader
  #state: State = initialState
  #quiet = true // the client waits for nothing, or for a change of the topology
  #draining = false
  #greeted = 0
  #monitors = false // it is no connection that will log in
  #hurried = true // the first frame is in a hurry from the start
  #cancel: () => void

  constructor(socket: Socket, host: ConversationHost, parts: ConversationOptions) {
    this.#socket = socket
    this.#host = host
    this.#parts = parts
    this.#cancel = this.#hurry()
    const begun = (): void => this.#begun()
    const left = (): void => this.#left.abort(LEFT)
    this.#inbox = new FrameReader(socket, {
      maxBytes: LIMIT,
      onFrameStarted: begun,
      onClientLeft: left,
      schedule: host.client.schedule,
    })
    this.over = this.#converse().finally(() => this.#cancel())
  }

  /** Ends as soon as the client waits for nothing. */
  drain(): void {
    this.#draining = true
    if (this.#quiet) this.#host.destroy(new Fault('proxy/shutdown'))
  }

  /** The primary is another one: a monitor is closed if its driver has to be told that the relays were. */
  closeIfMonitor(fault: Fault): void {
    if (this.#monitors && this.#state.at === 'start') this.#host.destroy(fault)
  }

  /** One frame after the other; it keeps none in hand, since whoever waits here may wait for hours. */
  async #converse(): Promise<Ending | undefined> {
    for (;;) {
      this.#quiet = true
      if (this.#draining) return { by: 'proxy' }
      if (!this.#hurried) this.#cancel = this.#rest()
      if (this.#socket.writableNeedDrain) await this.#drained()
      const heard = await this.#hear(await this.#inbox.next())
      if (heard !== true) return heard || undefined
    }
  }

  /** Answers a frame. True: go on with the next one; false: the relay has begun. */
  async #hear(frame: Frame | undefined): Promise<boolean | Ending> {
    const host = this.#host
    if (!frame || this.#socket.destroyed) return host.closeReason ?? { by: 'client' }
    this.#quiet = false
    this.#hurried = false
    this.#cancel()
    host.client.recordActivity()
    const command = readCommand(frame)
    try {
      return await this.#act(command, handleCommand(this.#state, command, this.#parts.handshakeContext(host.address)))
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (host.closeReason?.by === 'proxy') return host.closeReason
      if (fault.kind === 'login/abandoned') return { by: 'client', fault }
      if (this.#left.signal.aborted && !(thrown instanceof Fault)) return host.closeReason ?? { by: 'client' }
      const document = toReply(fault, host.client.id)
      if (document) this.#reply(command, document)
      return { by: 'proxy', fault }
    }
  }

  /** Carries out a turn. True: go on with the next frame. */
  async #act(command: Command, turn: Action): Promise<boolean> {
    const { client, log } = this.#host
    this.#state = turn.next
    switch (turn.do) {
      case 'reply':
        this.#reply(command, turn.document)
        return true
      case 'hello':
        this.#quiet = turn.asked.awaiting !== undefined
        this.#greeted += 1
        this.#monitors = (this.#greeted > 1 || this.#quiet) && isToldByMonitors(turn.next)
        if (this.#greeted === 1) this.#host.setStage('unauthenticated')
        await this.#greet(command, turn.asked)
        return true
      case 'refuse': {
        const document = toReply(turn.fault, client.id)
        if (!document || turn.next.at === 'over') throw turn.fault
        log('debug', 'command refused', toLogFields(turn.fault))
        this.#host.refused(turn.fault.kind)
        this.#parts.metrics.recordFault(turn.fault.kind)
        this.#reply(command, document)
        return true
      }
      case 'prove':
        return this.#prove(command, turn)
    }
  }

  /** Lets the login decide. */
  async #prove(command: Command, { fields, challenge, client, next }: Action & { do: 'prove' }): Promise<boolean> {
    const host = this.#host
    const { address, loginRecord: journal } = host
    const { metrics, login, nextRequestID } = this.#parts
    host.setStage('authenticating')
    let admitted: UpstreamSession
    try {
      const { certificate } = host.client
      const revoke = (fault: Fault): void => host.destroy(fault)
      admitted = await login(
        { fields, challenge, client, address, certificate, record: journal, close: revoke },
        this.#left,
      )
      if (this.#left.signal.aborted) {
        discard(admitted)
        throw new Fault('login/abandoned')
      }
      if (admitted.term.endReason) {
        discard(admitted)
        throw new Fault('upstream/unreachable', 'it stepped down during the login')
      }
    } catch (thrown) {
      const fault = Fault.from(thrown)
      metrics.recordLogin(fault.kind, journal)
      return this.#act(command, finishLogin(next, fault))
    }
    metrics.recordLogin('success', journal)
    host.log('debug', 'login succeeded', { arn: journal.arn, user: journal.user })
    const welcome = finishLogin(next)
    if (welcome.do !== 'reply') throw new Fault('internal')
    this.#state = welcome.next
    host.setStage('authenticated')
    const bytes = writeReply(command, welcome.document, nextRequestID())
    host.admit(admitted, bytes, this.#inbox.release(), client)
    return false
  }

  /**
   * Answers a hello. One that allows it is answered with every change and whenever its time is over, each reply to the
   * one before it, until the client leaves or something fails
   * (https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-monitoring.md).
   */
  async #greet(command: Command, asked: HelloRequest): Promise<void> {
    const { answerHello, nextRequestID } = this.#parts
    const { id, recordActivity } = this.#host.client
    const { signal } = this.#left
    const streams = asked.awaiting && (command.flagBits & EXHAUST_ALLOWED) !== 0
    const maxAwaitTimeMS = Math.max(asked.awaiting?.maxAwaitTimeMS ?? 0, STREAM_MS)
    for (;;) {
      const document = await answerHello(asked, id, signal, this.#socket)
      const topologyVersion = streams && readTopologyVersion(document)
      if (!topologyVersion) return this.#reply(command, document)
      const requestID = nextRequestID()
      this.#socket.write(writeMessage(document, requestID, command.requestID, MORE_TO_COME))
      command.requestID = requestID // what the next reply answers, an error too
      asked.awaiting = { topologyVersion, maxAwaitTimeMS }
      if (this.#socket.writableNeedDrain) await this.#drained()
      signal.throwIfAborted()
      recordActivity()
    }
  }

  #reply(command: Command, document: Document): void {
    this.#socket.write(writeReply(command, document, this.#parts.nextRequestID()))
  }

  /** Whoever begins a frame has to finish it; whoever is between frames has all the time that monitors need. */
  #hurry(): () => void {
    return this.#parts.after(FRAME_MS, () => this.#host.destroy(new Fault('connection/frame-timeout')))
  }
  #rest(): () => void {
    const ms = this.#state.at === 'challenged' ? CHALLENGE_MS : IDLE_MS
    return this.#parts.after(ms, () => this.#host.destroy(new Fault('connection/idle-timeout')))
  }
  #begun(): void {
    if (this.#hurried) return
    this.#hurried = true
    this.#cancel()
    this.#cancel = this.#hurry()
  }

  /** Waits until the client has taken its answers: one that never reads them gets no more of them made. */
  async #drained(): Promise<void> {
    const giveUp = (): void => this.#host.destroy(new Fault('connection/write-timeout', undefined, { side: 'client' }))
    const stall = new Backpressure(this.#socket, this.#parts.after, giveUp)
    await new Promise<void>(resolve => stall.onDrain(resolve))
  }
}

function isToldByMonitors(state: State): boolean {
  return state.at === 'start' && !NOTICES.test(state.client.metadata?.driver.name)
}

/** An upstream connection that nobody came for. */
function discard({ socket, leave }: UpstreamSession): void {
  socket.destroy()
  leave()
}
