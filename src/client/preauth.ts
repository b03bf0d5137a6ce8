/**
 * The conversation with an unauthenticated client: one frame in, one reply out, then the next frame. While a proof is
 * being verified no frame is read, so nothing overtakes the verdict.
 *
 * A connection holds no reference to its conversation after the login, because it may then last for hours.
 */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault, type FaultKind, toLogFields, toReply } from '../errors.js'
import type { Log } from '../log.js'
import { readTopologyVersion } from '../upstream/topologyVersion.js'
import type { Frame } from '../wire/frame.js'
import { type Command, EXHAUST_ALLOWED, MORE_TO_COME, readCommand, writeMessage, writeReply } from '../wire/message.js'
import type { ConnectionAudit } from './audit.js'
import { Backpressure } from './backpressure.js'
import { type ClientWait, type CloseReason, unauthenticatedEndings } from './closing.js'
import type { Stage } from './connectionTable.js'
import { detectsClosedConnections } from './drivers.js'
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
import type { ConnectionAuthenticator, LoginRecord, LoginRequest } from './login.js'
import type { Session } from './upstreamSession.js'

/** The longest frame before login. hello and SASL messages are far shorter. */
const MAX_FRAME_BYTES = 64 * 1024
/** Time to complete a frame that has begun. For the first frame it starts at the accept. Milliseconds. */
const FRAME_TIMEOUT_MS = 5_000
/** Time between frames. Drivers send a hello about every ten seconds. Milliseconds. */
const IDLE_TIMEOUT_MS = 600_000
/** Time to answer a challenge. Drivers obtain their credentials before they ask for one. Milliseconds. */
const CHALLENGE_TIMEOUT_MS = 30_000
/** Minimum interval between two streamed hello replies without news. No driver asks for less. Milliseconds. */
const MIN_STREAM_INTERVAL_MS = 500

/** The commands with which a client logs in, by any mechanism. */
const LOGIN_COMMANDS = new Set(['saslStart', 'saslContinue', 'authenticate'])

/** Aborts a login or a hello. One shared error, because a new one costs a stack trace per connection. */
const CLIENT_LEFT = new Error('the client left')

/** An accepted client, with the callbacks of the listener. */
export type AcceptedClient = {
  /** Counts connections. */
  id: number
  /** address:port */
  peer: string
  /** The fingerprint of the client certificate that this very TLS handshake verified. */
  certificate: string | undefined
  /** With TLS: the likely cause if the client closes the connection without a message. */
  explainSilence?: ((servername: string | undefined) => string) | undefined
  setStage(stage: Stage): void
  /** The client has sent a second hello, or one that waits for a change. */
  markMonitor(): void
  /** Call this for each complete frame. */
  recordActivity(): void
  /** Runs a step when the client's address is due: at once if nothing is queued. */
  schedule(step: () => void): void
}

export type ConversationMetrics = {
  recordFault(kind: FaultKind): void
  recordLogin(outcome: 'success' | FaultKind, record: LoginRecord): void
}

/** The same for all connections. */
export type ConversationOptions = {
  log: Log
  /** The context in which a client of this address sends a command; a promise if it depends on another process. */
  handshakeContext(address: string, command: string): HandshakeContext | Promise<HandshakeContext>
  /** The reply to a hello, from an upstream reply that is newer than the request. `client`: the client's socket. */
  answerHello(request: HelloRequest, connectionId: number, signal: AbortSignal, client: Socket): Promise<Document>
  authenticator: Pick<ConnectionAuthenticator, 'login'>
  audit: ConnectionAudit
  metrics: ConversationMetrics
  nextRequestID(): number
  after: After
}

/** The connection that a conversation belongs to. */
export type ConversationHost = {
  readonly client: AcceptedClient
  /** The client's address, without its port. */
  readonly address: string
  readonly loginRecord: LoginRecord
  /** Set once the connection was closed. */
  readonly closeReason: CloseReason | undefined
  log: Log
  setStage(stage: Stage): void
  /** Records a command that was refused while the connection goes on. `what`: its name, or the kind of its fault. */
  recordRefusal(what: string): void
  /** Hands the socket over to a relay, synchronously. `fromClient`: bytes that were read and not answered. */
  startRelay(session: Session, lastReply: Buffer, fromClient: Buffer, client: ClientInfo): void
  destroy(fault: Fault): void
}

export class Conversation {
  /** Why the connection has ended; undefined if a relay has started. */
  readonly ended: Promise<CloseReason | undefined>
  readonly #socket: Socket
  readonly #host: ConversationHost
  readonly #options: ConversationOptions
  readonly #abort = new AbortController()
  readonly #frames: FrameReader
  #state: State = initialState
  /** The client's metadata and API version. The states after the challenge no longer hold them. */
  #info: ClientInfo | undefined
  #clientWait: ClientWait = 'nothing'
  #isDraining = false
  #helloCount = 0
  #isMonitor = false // it sends hello only
  #isFrameTimeoutRunning = true
  #cancelTimeout: () => void

  /** `socket` has no listeners for data. */
  constructor(socket: Socket, host: ConversationHost, options: ConversationOptions) {
    this.#socket = socket
    this.#host = host
    this.#options = options
    this.#cancelTimeout = this.#startFrameTimeout()
    this.#frames = new FrameReader(socket, {
      maxBytes: MAX_FRAME_BYTES,
      onFrameStarted: () => this.#onFrameStarted(),
      onClientLeft: () => this.#abort.abort(CLIENT_LEFT),
      schedule: host.client.schedule,
    })
    this.ended = this.#converse().finally(() => this.#cancelTimeout())
  }

  /** Closes now, or behind the answer that the client waits for. */
  drain(): void {
    this.#isDraining = true
    if (unauthenticatedEndings.shutdown[this.#clientWait] === 'destroy') {
      this.#host.destroy(new Fault('proxy/shutdown'))
    }
  }

  /** There is a new primary. Closes a monitor whose driver has to learn that its pooled connections were closed. */
  closeIfMonitor(fault: Fault): void {
    if (!this.#isMonitor || this.#state.at !== 'start') return
    if (unauthenticatedEndings.newPrimary[this.#clientWait] === 'destroy') this.#host.destroy(fault)
  }

  /** Handles frame by frame. Keeps no reference to a frame while it waits for the next one, which may take hours. */
  async #converse(): Promise<CloseReason | undefined> {
    for (;;) {
      this.#clientWait = 'nothing'
      if (this.#isDraining) return { by: 'proxy' }
      if (!this.#isFrameTimeoutRunning) this.#cancelTimeout = this.#startIdleTimeout()
      if (this.#socket.writableNeedDrain) await this.#waitForDrain()
      const result = await this.#handleFrame(await this.#frames.next())
      if (result !== 'continue') return result === 'relayed' ? undefined : result
    }
  }

  async #handleFrame(frame: Frame | undefined): Promise<'continue' | 'relayed' | CloseReason> {
    const host = this.#host
    if (!frame || this.#socket.destroyed) return host.closeReason ?? { by: 'client' }
    this.#clientWait = 'answer'
    this.#isFrameTimeoutRunning = false
    this.#cancelTimeout()
    host.client.recordActivity()
    const command = readCommand(frame)
    try {
      const context = this.#options.handshakeContext(host.address, command.name)
      const action = handleCommand(this.#state, command, context instanceof Promise ? await context : context)
      return await this.#perform(command, action)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (host.closeReason?.by === 'proxy') return host.closeReason
      if (fault.kind === 'login/abandoned') return { by: 'client', fault }
      if (this.#abort.signal.aborted && !(thrown instanceof Fault)) return host.closeReason ?? { by: 'client' }
      const document = toReply(fault, host.client.id)
      if (document) this.#reply(command, document)
      return { by: 'proxy', fault }
    }
  }

  async #perform(command: Command, action: Action): Promise<'continue' | 'relayed'> {
    this.#state = action.next
    if ('client' in action.next) this.#info = action.next.client
    switch (action.do) {
      case 'reply':
        this.#reply(command, action.document)
        return 'continue'
      case 'hello':
        this.#recordHello(action)
        await this.#answerHello(command, action.request)
        return 'continue'
      case 'refuse':
        this.#refuse(command, action)
        return 'continue'
      case 'prove':
        return this.#logIn(command, action)
    }
  }

  /** Throws a fault that has no reply, or after whose reply the connection ends. */
  #refuse(command: Command, { fault, next }: Action & { do: 'refuse' }): void {
    const { client, log } = this.#host
    const document = toReply(fault, client.id)
    this.#auditRefusal(command, fault)
    if (!document || next.at === 'closed') throw fault
    log('debug', 'command refused', toLogFields(fault))
    this.#host.recordRefusal(fault.kind)
    this.#options.metrics.recordFault(fault.kind)
    this.#reply(command, document)
  }

  #auditRefusal({ name }: Command, fault: Fault): void {
    const { audit } = this.#options
    const { client, loginRecord: record } = this.#host
    if (LOGIN_COMMANDS.has(name)) {
      audit.recordLoginRefused(client, { record, info: this.#info, fault, kind: 'first' })
    } else if (fault.kind === 'command/unauthorized') {
      audit.recordCommandRefused(client, { command: name, fault, record })
    }
  }

  async #logIn(command: Command, action: Action & { do: 'prove' }): Promise<'continue' | 'relayed'> {
    const { client, next } = action
    const host = this.#host
    const { loginRecord: record } = host
    const { metrics, nextRequestID } = this.#options
    this.#clientWait = 'login'
    host.setStage('authenticating')
    let session: Session
    try {
      this.#options.audit.assertAvailable()
      session = await this.#options.authenticator.login(this.#createLoginRequest(action), this.#abort)
      this.#assertWanted(session)
      await this.#auditLogin(session, client)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      metrics.recordLogin(fault.kind, record)
      return this.#perform(command, finishLogin(next, fault))
    }
    metrics.recordLogin('success', record)
    host.log('debug', 'login succeeded', { arn: record.arn, user: record.user })
    const last = finishLogin(next)
    if (last.do !== 'reply') throw new Fault('internal')
    this.#state = last.next
    host.setStage('authenticated')
    const lastReply = writeReply(command, last.document, nextRequestID())
    host.startRelay(session, lastReply, this.#frames.release(), client)
    return 'relayed'
  }

  /** Waits until the login is recorded. The client may have left meanwhile, or access may have been revoked. */
  async #auditLogin(session: Session, info: ClientInfo): Promise<void> {
    const { audit } = this.#options
    const { client, loginRecord: record } = this.#host
    try {
      await audit.recordLogin(client, { record, info, upstream: session.endpoint, kind: 'first' })
      this.#assertWanted(session)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      session.dispose()
      const bytes = { fromClient: this.#socket.bytesRead, toClient: this.#socket.bytesWritten }
      audit.recordSessionEnd(client, { by: 'proxy', fault, record, durationMS: 0, bytes })
      throw fault
    }
  }

  #createLoginRequest({ fields, challenge, client }: Action & { do: 'prove' }): LoginRequest {
    const host = this.#host
    const { address, loginRecord: record } = host
    const { id: connectionId, certificate } = host.client
    const destroy = (fault: Fault): void => host.destroy(fault)
    return { fields, challenge, client, connectionId, address, certificate, record, destroy }
  }

  /** Disposes of a session whose client has left or whose primary has stepped down, and throws. */
  #assertWanted(session: Session): void {
    const { aborted } = this.#abort.signal
    if (!aborted && !session.term.endReason) return
    session.dispose()
    if (aborted) throw new Fault('login/abandoned')
    throw new Fault('upstream/unreachable', 'it stepped down during the login')
  }

  #recordHello({ request, next }: Action & { do: 'hello' }): void {
    const isAwaitable = request.awaiting !== undefined
    if (isAwaitable) this.#clientWait = 'change'
    this.#helloCount += 1
    if (this.#helloCount === 1) this.#host.setStage('unauthenticated')
    const isMonitor = this.#helloCount > 1 || isAwaitable
    this.#isMonitor = isMonitor && needsMonitorClosed(next)
    if (isMonitor) this.#host.client.markMonitor()
  }

  /**
   * Answers a hello. If it allows a stream, replies to every change and at the end of every interval, each reply in
   * response to the one before, until the client leaves or a fault occurs
   * (https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-monitoring.md).
   */
  async #answerHello(command: Command, request: HelloRequest): Promise<void> {
    const { answerHello, nextRequestID } = this.#options
    const { id, recordActivity } = this.#host.client
    const { signal } = this.#abort
    const isStream = request.awaiting && (command.flagBits & EXHAUST_ALLOWED) !== 0
    const maxAwaitTimeMS = Math.max(request.awaiting?.maxAwaitTimeMS ?? 0, MIN_STREAM_INTERVAL_MS)
    for (;;) {
      const document = await answerHello(request, id, signal, this.#socket)
      const topologyVersion = isStream && readTopologyVersion(document)
      if (!topologyVersion) return this.#reply(command, document)
      const requestID = nextRequestID()
      this.#socket.write(writeMessage(document, requestID, command.requestID, MORE_TO_COME))
      command.requestID = requestID // the next reply responds to it, even if it is an error
      request.awaiting = { topologyVersion, maxAwaitTimeMS }
      if (this.#socket.writableNeedDrain) await this.#waitForDrain()
      signal.throwIfAborted()
      recordActivity()
    }
  }

  #reply(command: Command, document: Document): void {
    this.#socket.write(writeReply(command, document, this.#options.nextRequestID()))
  }

  #startFrameTimeout(): () => void {
    return this.#options.after(FRAME_TIMEOUT_MS, () => this.#host.destroy(new Fault('connection/frame-timeout')))
  }

  #startIdleTimeout(): () => void {
    const ms = this.#state.at === 'challenged' ? CHALLENGE_TIMEOUT_MS : IDLE_TIMEOUT_MS
    return this.#options.after(ms, () => this.#host.destroy(new Fault('connection/idle-timeout')))
  }

  #onFrameStarted(): void {
    if (this.#isFrameTimeoutRunning) return
    this.#isFrameTimeoutRunning = true
    this.#cancelTimeout()
    this.#cancelTimeout = this.#startFrameTimeout()
  }

  /** Waits until the client has taken its replies: a client that never reads gets no more of them. */
  async #waitForDrain(): Promise<void> {
    const onTimeout = (): void =>
      this.#host.destroy(new Fault('connection/write-timeout', undefined, { side: 'client' }))
    const backpressure = new Backpressure(this.#socket, this.#options.after, onTimeout)
    await new Promise<void>(resolve => backpressure.onDrain(resolve))
  }
}

/**
 * Drivers whose pools do not notice a closed connection learn from their monitor that the pool must be cleared. So their
 * monitors are closed too: otherwise they would retry a write on another closed connection, and they retry only once.
 * Other monitors stay open, since their drivers wait 500 ms before they open another one.
 */
function needsMonitorClosed(state: State): boolean {
  return state.at === 'start' && !detectsClosedConnections(state.client.metadata)
}
