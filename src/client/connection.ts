/** One client connection from accept to close: a conversation, then a relay, and one log line at the end. */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { After } from '../clock.js'
import { Fault, type FaultKind, type Level, toLogFields } from '../errors.js'
import type { Log } from '../log.js'
import type { CloseReason } from './closing.js'
import type { Stage } from './connectionTable.js'
import { reauthenticates } from './drivers.js'
import { type ClientInfo, readHello } from './handshake.js'
import { type ConnectionAuthenticator, type LoginRecord, toLoginFields } from './login.js'
import {
  type AcceptedClient,
  Conversation,
  type ConversationHost,
  type ConversationMetrics,
  type ConversationOptions,
} from './preauth.js'
import { limitLoginAge } from './reauth.js'
import { Relay } from './relay.js'
import type { Session } from './upstreamSession.js'

/**
 * The mode for drivers that report code 391 to their application. They retry most operations that a closed connection
 * interrupts.
 */
const closeMode = () => 'close' as const
/** Distinct names in the log line. There are few refused commands, but a client may spell them in many ways. */
const MAX_REFUSALS = 8
/** After the last reply, a client that does not close its side is cut off. Milliseconds. */
const LAST_REPLY_TIMEOUT_MS = 1_000

export type ConnectionOptions = ConversationOptions & {
  authenticator: ConnectionAuthenticator
  /** What happens to a connection whose login is older than its rule allows. */
  reauthenticationMode(): 'ask' | 'close'
  metrics: ConnectionMetrics
  /** Whether to log another line about an unauthenticated client. */
  shouldLog(kind: FaultKind): boolean
  /** Monotonic milliseconds. */
  now(): number
}

export type ConnectionMetrics = ConversationMetrics & {
  recordRefusedCommand(): void
  recordRelayedBytes(bytes: { toUpstream: number; toClient: number }): void
}

/** The socket speaks plain text (after TLS, if any), allows half-open and has no listeners for data. */
export class Connection implements ConversationHost {
  readonly closed: Promise<void>
  readonly client: AcceptedClient
  readonly address: string
  readonly loginRecord: LoginRecord = { ms: {} }
  closeReason: CloseReason | undefined
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #openedAt: number
  /** When the client was logged in. */
  #admittedAt: number | undefined
  #stage: Stage = 'connecting'
  #conversation: Conversation | undefined // until the relay starts
  #relay: Relay | undefined
  #isDraining = false
  #refusals: Map<string, number> | undefined
  /** Bytes of the client's socket when the relay started. */
  #bytesBeforeRelay = { read: 0, written: 0 }

  constructor(socket: Socket, client: AcceptedClient, options: ConnectionOptions) {
    this.client = client
    this.address = client.peer.slice(0, client.peer.lastIndexOf(':'))
    this.#socket = socket
    this.#options = options
    this.#openedAt = options.now()
    socket.on('error', ({ message: why }) => {
      this.closeReason ??= { by: 'client', fault: new Fault('connection/reset', undefined, { side: 'client', why }) }
    })
    this.#conversation = new Conversation(socket, this, options)
    this.closed = this.#conversation.ended
      .then(reason => reason ?? (this.#relay as Relay).ended)
      .catch((thrown): CloseReason => ({ by: 'proxy', fault: Fault.from(thrown) }))
      .then(reason => this.#onEnd(reason))
  }

  /** Closes once the client waits for nothing. */
  drain(): void {
    this.#isDraining = true
    this.#relay?.drain('shutdown')
    this.#conversation?.drain()
  }

  /** There is a new primary. Closes a monitor whose driver has to learn that its pooled connections were closed. */
  closeIfMonitor(fault: Fault): void {
    this.#conversation?.closeIfMonitor(fault)
  }

  /** Closes at once, at any stage. */
  destroy(fault: Fault): void {
    this.closeReason ??= { by: 'proxy', fault }
    if (this.#relay) this.#relay.destroy('proxy', fault)
    else this.#socket.destroy()
  }

  setStage(stage: Stage): void {
    this.#stage = stage
    this.client.setStage(stage)
  }

  recordRefusal(what: string): void {
    this.#refusals ??= new Map()
    if (this.#refusals.size < MAX_REFUSALS || this.#refusals.has(what)) {
      this.#refusals.set(what, (this.#refusals.get(what) ?? 0) + 1)
    }
  }

  readonly log: Log = (level, event, fields) => {
    const { id, peer } = this.client
    this.#options.log(level, event, { id, peer, ...fields } as typeof fields)
  }

  startRelay(session: Session, lastReply: Buffer, fromClient: Buffer, client: ClientInfo): void {
    const { answerHello, audit, metrics, nextRequestID, after, now } = this.#options
    const { id } = this.client
    const socket = this.#socket
    this.#admittedAt = now()
    this.#bytesBeforeRelay = { read: socket.bytesRead - fromClient.length, written: socket.bytesWritten }
    socket.write(lastReply)
    const relay = new Relay({
      client: socket,
      session,
      fromClient,
      connectionId: id,
      answerHello: async (command, signal) => {
        if (command.elements.has('client')) throw new Fault('hello/metadata-repeated')
        return answerHello(readHello(command), id, signal, socket)
      },
      onRefused: name => {
        metrics.recordRefusedCommand()
        this.recordRefusal(name)
        audit.recordCommandRefused(this.client, { command: name, record: this.loginRecord })
      },
      onUnexpectedReply: fault => this.log('debug', 'unexpected reply', toLogFields(fault)),
      nextRequestID,
      after,
      now,
    })
    this.#relay = relay
    this.#conversation = undefined
    if (this.#isDraining) relay.drain('shutdown')
    const stopLimit = this.#limitLoginAge(relay, session, client)
    const stopWatching = session.term.onCloseSessions(fault => relay.closeAfterReply(fault))
    relay.ended.then(() => {
      stopLimit()
      stopWatching()
    })
  }

  #limitLoginAge(relay: Relay, session: Session, info: ClientInfo): () => void {
    const { audit, authenticator, handshakeContext, metrics, reauthenticationMode, after } = this.#options
    const { address, client } = this
    return limitLoginAge(relay, {
      request: {
        client: {},
        connectionId: client.id,
        address,
        certificate: client.certificate,
        destroy: fault => this.destroy(fault),
      },
      user: this.loginRecord.user,
      maxAgeMS: () => session.live.match?.maxAgeMS,
      reauthenticate: (request, abort) => authenticator.reauthenticate(request, session.live, abort),
      mode: reauthenticates(info.metadata) ? reauthenticationMode : closeMode,
      handshakeContext: command => handshakeContext(address, command),
      audit: {
        assertAvailable: () => audit.assertAvailable(),
        recordLogin: record =>
          audit.recordLogin(client, { record, info, upstream: session.endpoint, kind: 'reauthentication' }),
        recordRefused: (record, fault) =>
          audit.recordLoginRefused(client, { record, info, fault, kind: 'reauthentication' }),
      },
      metrics,
      log: this.log,
      after,
    })
  }

  #chooseLevel(fault: Fault | undefined): Level {
    const isAuthenticated = this.#stage === 'authenticated'
    if (!fault) return isAuthenticated || this.#refusals ? 'info' : 'debug'
    if (!isAuthenticated && !this.#options.shouldLog(fault.kind)) return 'debug'
    // An unreachable upstream was logged as an error once. Every monitor meets it about twice a second.
    const isMonitor = this.#stage === 'connecting' || this.#stage === 'unauthenticated'
    return isMonitor && fault.kind === 'upstream/unreachable' ? 'info' : fault.definition.level
  }

  #onEnd({ by, fault: reason = this.closeReason?.fault }: CloseReason): void {
    const fault = (by === 'client' && this.#findSilence()) || reason
    const { metrics, after } = this.#options
    const { bytesRead, bytesWritten } = this.#socket
    if (this.#relay) {
      const { read, written } = this.#bytesBeforeRelay
      metrics.recordRelayedBytes({ toUpstream: bytesRead - read, toClient: bytesWritten - written })
    } else endSocket(this.#socket, after)
    if (fault) metrics.recordFault(fault.kind)
    this.#auditEnd(by, fault)
    this.#logClose(by, fault)
  }

  #auditEnd(by: CloseReason['by'], fault: Fault | undefined): void {
    if (this.#admittedAt === undefined) return
    const { audit, now } = this.#options
    audit.recordSessionEnd(this.client, {
      by,
      ...(fault && { fault }),
      record: this.loginRecord,
      durationMS: Math.round(now() - this.#admittedAt),
      bytes: this.#countBytes(),
    })
  }

  #countBytes(): { fromClient: number; toClient: number } {
    const { bytesRead, bytesWritten } = this.#socket
    return { fromClient: bytesRead, toClient: bytesWritten }
  }

  /** A client that closes a connection after the TLS handshake, before its first byte, has probably rejected the certificate. */
  #findSilence(): Fault | undefined {
    const { explainSilence } = this.client
    if (!explainSilence || this.#socket.bytesRead > 0) return undefined
    const { servername } = this.#socket as Partial<TLSSocket>
    return new Fault('tls/no-message', undefined, { why: explainSilence(servername || undefined) })
  }

  #logClose(by: CloseReason['by'], fault: Fault | undefined): void {
    const { loginRecord: record } = this
    this.log(this.#chooseLevel(fault), 'connection closed', {
      stage: this.#stage,
      by,
      ...toLoginFields(record),
      ...(this.#refusals && { refused: Object.fromEntries(this.#refusals) }),
      ...(fault && toLogFields(fault)),
      ms: { ...record.ms, open: Math.round(this.#options.now() - this.#openedAt) },
      bytes: this.#countBytes(),
    })
  }
}

/** Sends the last reply and a FIN. A client that never closes its side is cut off. */
function endSocket(socket: Socket, after: After): void {
  if (socket.destroyed) return
  socket.removeAllListeners('data')
  socket.resume()
  socket.end()
  socket.once(
    'close',
    after(LAST_REPLY_TIMEOUT_MS, () => socket.destroy()),
  )
}
