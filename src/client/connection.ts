/**
 * One client from accept to close: a conversation, then a relay, and its one line in the log. It is long because that line
 * has to know of all that happened.
 */
import type { Socket } from 'node:net'
import type { After } from '../clock.js'
import { Fault, type FaultKind, type Level, toLogFields } from '../errors.js'
import type { Log } from '../log.js'
import type { Stage } from './connectionTable.js'
import { type ClientInfo, readHello } from './handshake.js'
import type { LoginRecord, UpstreamSession } from './login.js'
import {
  type AcceptedClient,
  Conversation,
  type ConversationHost,
  type ConversationOptions as Conversing,
} from './preauth.js'
import { type Reauthenticate, watchLoginAge } from './reauth.js'
import { type Ending, Relay } from './relay.js'

/**
 * Relays to who was the primary are closed behind the reply that they owe, this much later without one. Its members
 * answer what an election interrupts with a label by which drivers try again, which some (Node's) do not where several
 * connections of a pool are closed under what they wait for. Milliseconds.
 */
const LAST_REPLY_MS = 100
/**
 * Drivers that answer code 391 by logging in again. Those for Go, C and Rust give it to their application, to which a
 * closed connection is less: what can be tried again is.
 */
const LOGS_IN_AGAIN = /^(nodejs|PyMongo|mongo-java-driver|mongo-csharp-driver)\b/

const closes = () => 'close' as const
/** What a client is refused has few names, but a stranger may spell them in many ways. */
const MOST_KINDS = 8

export type ConnectionOptions = Conversing & {
  /** The login again, over a connection that has its upstream. */
  reauthenticate: Reauthenticate
  /** What becomes of a connection whose login is older than its rule allows. */
  reauthenticationMode(): 'ask' | 'close'
  metrics: ConnectionMetrics
  /** Whether a line about somebody who never logged in is one of few. */
  shouldLog(kind: FaultKind): boolean
  now(): number
}

/** What is counted. */
export type ConnectionMetrics = Conversing['metrics'] & {
  recordRefusedCommand(): void
  recordRelayedBytes(bytes: { toUpstream: number; toClient: number }): void
}

/** Serves a client whose socket (TLS done, if any) allows half-open and has no readers. */
export class Connection implements ConversationHost {
  readonly closed: Promise<void>
  readonly client: AcceptedClient
  readonly address: string
  readonly loginRecord: LoginRecord = { ms: {} }
  closeReason: Ending | undefined
  readonly #socket: Socket
  readonly #parts: ConnectionOptions
  readonly #born: number
  #stage: Stage = 'connecting'
  #talk: Conversation | undefined // until the relay has begun
  #relay: Relay | undefined
  #draining = false
  #refused: Map<string, number> | undefined
  /** Bytes of the client's socket when the relay began. */
  #before = { read: 0, written: 0 }

  constructor(socket: Socket, client: AcceptedClient, parts: ConnectionOptions) {
    this.client = client
    this.address = client.peer.slice(0, client.peer.lastIndexOf(':'))
    this.#socket = socket
    this.#parts = parts
    this.#born = parts.now()
    socket.on('error', ({ message: why }) => {
      this.closeReason ??= { by: 'client', fault: new Fault('connection/reset', undefined, { side: 'client', why }) }
    })
    this.#talk = new Conversation(socket, this, parts)
    this.closed = this.#talk.over
      .then(ending => ending ?? (this.#relay as Relay).ended)
      .catch((thrown): Ending => ({ by: 'proxy', fault: Fault.from(thrown) }))
      .then(ending => this.#ended(ending))
  }

  /** Closes as soon as the client waits for nothing. */
  drain(): void {
    this.#draining = true
    this.#relay?.drain()
    this.#talk?.drain()
  }

  /** The primary is another one: a monitor is closed if its driver has to be told that the relays were. */
  closeIfMonitor(fault: Fault): void {
    this.#talk?.closeIfMonitor(fault)
  }

  /** Closes now. */
  destroy(fault: Fault): void {
    this.closeReason ??= { by: 'proxy', fault }
    if (this.#relay) this.#relay.destroy('proxy', fault)
    else this.#socket.destroy()
  }

  setStage(to: Stage): void {
    this.#stage = to
    this.client.setStage(to)
  }

  /** What was refused, a command or the fault that it met, goes into the one line at the end; a few kinds of it. */
  refused(what: string): void {
    this.#refused ??= new Map()
    if (this.#refused.size < MOST_KINDS || this.#refused.has(what)) {
      this.#refused.set(what, (this.#refused.get(what) ?? 0) + 1)
    }
  }

  readonly log: Log = (level, event, fields) => {
    const { id, peer } = this.client
    this.#parts.log(level, event, { id, peer, ...fields } as typeof fields)
  }

  /** From here on the relay owns both sockets. */
  admit(
    { socket: upstream, readBuffer, rest, limit, term, live, leave }: UpstreamSession,
    welcome: Buffer,
    fromClient: Buffer,
    { metadata }: ClientInfo,
  ): void {
    const { answerHello, handshakeContext, metrics, reauthenticate, reauthenticationMode, nextRequestID, after, now } =
      this.#parts
    const { address } = this
    const { id, certificate } = this.client
    const client = this.#socket
    this.#before = { read: client.bytesRead - fromClient.length, written: client.bytesWritten }
    client.write(welcome)
    const relay = new Relay({
      client,
      upstream,
      readBuffer,
      fromClient,
      fromUpstream: rest,
      limit,
      connectionId: id,
      hello: async (command, signal) => {
        if (command.elements.has('client')) throw new Fault('hello/metadata-repeated')
        return answerHello(readHello(command), id, signal, client)
      },
      refused: name => {
        metrics.recordRefusedCommand()
        this.refused(name)
      },
      nextRequestID,
      after,
      now,
    })
    this.#relay = relay
    this.#talk = undefined
    if (this.#draining) relay.drain()
    const forget = watchLoginAge(relay, {
      request: { client: {}, address, certificate, close: live.close },
      live,
      reauthenticate,
      mode: LOGS_IN_AGAIN.test(metadata?.driver.name) ? reauthenticationMode : closes,
      handshakeContext: () => handshakeContext(address),
      metrics,
      after,
    })
    const stay = term.onCloseSessions(fault => relay.leave(fault, LAST_REPLY_MS))
    relay.ended.then(() => {
      leave()
      forget()
      stay()
    })
  }

  #level(fault: Fault | undefined): Level {
    // That the upstream is away was told as an error once, and every monitor meets it twice a second.
    const isMonitor = this.#stage === 'connecting' || this.#stage === 'unauthenticated'
    if (fault && this.#stage !== 'authenticated' && !this.#parts.shouldLog(fault.kind)) return 'debug'
    if (fault) return isMonitor && fault.kind === 'upstream/unreachable' ? 'info' : fault.definition.level
    return this.#stage === 'authenticated' || this.#refused ? 'info' : 'debug'
  }

  #ended({ by, fault = this.closeReason?.fault }: Ending): void {
    const { metrics, after, now } = this.#parts
    const { loginRecord } = this
    const { bytesRead, bytesWritten } = this.#socket
    if (this.#relay) {
      const { read, written } = this.#before
      metrics.recordRelayedBytes({ toUpstream: bytesRead - read, toClient: bytesWritten - written })
    } else leave(this.#socket, after)
    if (fault) metrics.recordFault(fault.kind)
    this.log(this.#level(fault), 'connection closed', {
      stage: this.#stage,
      by,
      ...(loginRecord.accessKeyId && { accessKeyId: loginRecord.accessKeyId }),
      ...(loginRecord.arn && { arn: loginRecord.arn }),
      ...(loginRecord.user && { user: loginRecord.user }),
      ...loginRecord.by,
      ...(loginRecord.cached && { cached: true }),
      ...(this.#refused && { refused: Object.fromEntries(this.#refused) }),
      ...(fault && toLogFields(fault)),
      ms: { ...loginRecord.ms, open: Math.round(now() - this.#born) },
      bytes: { fromClient: bytesRead, toClient: bytesWritten },
    })
  }
}

/** Closes a socket once the last answer is on its way; a client that never closes its side is cut off. */
function leave(socket: Socket, after: After): void {
  if (socket.destroyed) return
  socket.removeAllListeners('data')
  socket.resume()
  socket.end()
  socket.once(
    'close',
    after(1_000, () => socket.destroy()),
  )
}
