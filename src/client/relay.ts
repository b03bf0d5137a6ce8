/**
 * Forwards bytes between an authenticated client and the upstream until one side closes.
 *
 * The relay counts the replies that the upstream has yet to send. Some requests are answered by the proxy: a hello, a
 * refused command, a login. Such an answer waits until no reply is pending and the upstream's stream is between two
 * frames; the client's next bytes wait too. So answers keep the order of the requests. Meanwhile up to 64 KiB of the
 * client are read, because a socket that is not read never reports that its peer closed.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault, toReply } from '../errors.js'
import { ByteQueue } from '../wire/byteQueue.js'
import { OP_MSG } from '../wire/frame.js'
import { type Command, writeReply } from '../wire/message.js'
import type { CommandSummary } from '../wire/peek.js'
import { PendingReplies } from '../wire/pendingReplies.js'
import { type InterceptedRequest, ReplySplitter, RequestSplitter } from '../wire/split.js'
import { Backpressure } from './backpressure.js'
import {
  addCloseRequest,
  type CloseReason,
  type CloseRequest,
  type Ending,
  findDue,
  type Pending,
  type Requester,
  relayEndings,
  type Side,
  type SocketAction,
} from './closing.js'
import type { UpstreamSession } from './upstreamSession.js'

/** A socket whose peer does not answer a FIN within this time is destroyed. Milliseconds. */
const FIN_TIMEOUT_MS = 10_000
/** Bytes that were written longer ago than this have reached the client. Milliseconds. */
const DELIVERED_AFTER_MS = 1_000
/** Aborts an answer in progress. One shared error, because a new one costs a stack trace per connection. */
const RELAY_ENDED = new Error('the relay has ended')
/** Bytes of the client that may wait for an answer of the proxy. */
const MAX_WAITING_BYTES = 64 * 1024
/** Answers of the proxy per iteration of the event loop, so that one client leaves time for the others. */
const MAX_ANSWERS_PER_ITERATION = 8

const EMPTY = Buffer.alloc(0)
const NO_REQUESTS: readonly never[] = []
const doNothing = (): void => {}

type ReplyTarget = Pick<Command, 'opCode' | 'requestID'>

export type CommandInterceptor = {
  /**
   * The fault to answer a command with; undefined forwards the command. A fault that it throws closes the connection
   * without an answer.
   */
  check(command: CommandSummary): Fault | undefined
  /**
   * The reply to a step of a login. Without this method, logins are refused. A fault that it throws is sent as the last
   * reply.
   */
  authenticate?(command: Command, signal: AbortSignal): Promise<Document | Fault>
  /**
   * Called when a request is forwarded. `command` is undefined for requests that were not checked, because they are
   * longer than 64 KiB or want no reply. A fault that it throws for such a request closes the connection instead.
   */
  onForwarded(command?: CommandSummary): void
  /** Called for all but the last reply of a stream. */
  onStreamed?(): void
}

type RelayContext = {
  connectionId: number
  /** The reply to a hello. A fault that it throws becomes the reply. */
  answerHello(command: Command, signal: AbortSignal): Promise<Document>
  /** Called for each refused command. */
  onRefused(name: string): void
  /** Called for a reply without a pending request while the client is leaving. */
  onUnexpectedReply(fault: Fault): void
  nextRequestID(): number
  after: After
  /** Monotonic milliseconds. */
  now(): number
}

export type RelayOptions = RelayContext & {
  client: Socket
  session: Pick<UpstreamSession, 'socket' | 'readBuffer' | 'rest' | 'maxMessageBytes' | 'release'>
  /** Bytes that the client sent after its login. */
  fromClient: Buffer
}

type TimedCloseRequest = CloseRequest & { cancelTimeout(): void }

/** Owns both sockets, which must allow half-open and have no listeners for data. Releases the session when it ends. */
export class Relay {
  readonly ended: Promise<CloseReason>
  readonly #client: Socket
  readonly #upstream: Socket
  readonly #session: Pick<UpstreamSession, 'release'>
  readonly #context: RelayContext
  readonly #requests: RequestSplitter
  readonly #replies: ReplySplitter
  readonly #pendingReplies = new PendingReplies()
  readonly #clientBackpressure: Backpressure
  readonly #upstreamBackpressure: Backpressure
  #interceptor: CommandInterceptor | undefined
  #intercepted: InterceptedRequest | undefined // the request that the proxy answers
  #isAnswering = false
  #isTakingRequests = false
  #hasSentLast = false // the client's latest request announced that it leaves
  #answersInIteration = 0
  #answerAbort: AbortController | undefined // created by the first hello
  #waitingBytes: ByteQueue | undefined // the client's bytes behind the intercepted request
  #lastClientWrite: number
  #closeRequests: readonly TimedCloseRequest[] = NO_REQUESTS
  #cancelLinger = doNothing
  #hasEnded = false
  #resolveEnded = (_: CloseReason): void => {}

  constructor({ client, session, fromClient, ...context }: RelayOptions) {
    const { socket: upstream, readBuffer, rest, maxMessageBytes } = session
    this.#client = client
    this.#upstream = upstream
    this.#session = session
    this.#context = context
    this.#requests = new RequestSplitter(maxMessageBytes)
    this.#replies = new ReplySplitter(maxMessageBytes)
    const onTimeout = (fault: Fault): void => this.destroy('proxy', fault)
    this.#clientBackpressure = new Backpressure(client, context.after, onTimeout)
    this.#upstreamBackpressure = new Backpressure(upstream, context.after, onTimeout)
    this.#lastClientWrite = context.now()
    this.ended = new Promise<CloseReason>(resolve => {
      this.#resolveEnded = resolve
    })
    client.on('data', chunk => this.#onClientData(chunk))
    readBuffer.setConsumer({
      onChunk: bytes => this.#onUpstreamData(bytes),
      retainsChunks: () => client.writableLength > 0,
      expectedBytes: () => this.#replies.remainingBytes,
    })
    client.on('end', () => this.#onClientEnd())
    upstream.on('end', () => this.#close('upstreamEnd', 'nothing', 'upstream'))
    this.#listenForClose('client', client)
    this.#listenForClose('upstream', upstream)
    this.#begin(rest, fromClient)
  }

  #begin(fromUpstream: Buffer, fromClient: Buffer): void {
    if (this.#upstream.destroyed) this.destroy('upstream')
    if (fromUpstream.length > 0) {
      this.destroy('upstream', new Fault('upstream/protocol-error', undefined, { why: 'bytes after the login' }))
    }
    if (fromClient.length > 0) this.#onClientData(fromClient)
    if (this.#hasEnded) return
    this.#controlClientFlow()
    this.#upstream.resume()
  }

  /** The number of replies that the client waits for, those of the proxy included. */
  countPendingReplies(): number {
    return this.#pendingReplies.size + (this.#intercepted ? 1 : 0)
  }

  /** Shows commands that want a reply to an interceptor before they are forwarded. Undefined removes it. */
  setInterceptor(interceptor: CommandInterceptor | undefined): void {
    this.#interceptor = interceptor
    this.#requests.interceptCommands = interceptor !== undefined
  }

  /** Closes once nothing is pending. `fault`: the reason, unless this is an ordinary end. */
  drain(requester: 'shutdown' | 'loginExpired', fault?: Fault): void {
    this.#requestClose(requester, 'proxy', fault)
    this.#settle()
  }

  /**
   * Closes at once if no reply is pending, otherwise 20 ms after the last reply, and after 100 ms at the latest. Returns
   * a promise for the end if the relay has not ended yet.
   */
  closeAfterReply(fault: Fault): Promise<unknown> | undefined {
    if (this.#hasEnded) return undefined
    if (this.#isReplyPending()) {
      this.#requestClose('newPrimary', 'proxy', fault)
      return this.ended
    }
    this.#close('newPrimary', 'nothing', 'proxy', fault)
    return undefined
  }

  /** Closes both sockets at once. */
  destroy(by: Side, fault?: Fault): void {
    this.#end(by, fault)
    this.#client.destroy()
    this.#upstream.destroy()
  }

  // Both directions

  #onClientData(chunk: Buffer): void {
    if (this.#hasEnded) return
    if (this.#intercepted) {
      this.#holdBack(chunk)
      return void this.#controlClientFlow()
    }
    try {
      this.#takeRequests(chunk)
    } catch (thrown) {
      this.destroy('client', Fault.from(thrown))
    }
  }

  /** Forwards requests up to the first one that the proxy answers. In a loop, because thousands fit into one chunk. */
  #takeRequests(bytes: Buffer): void {
    let rest = bytes
    this.#isTakingRequests = true
    while (rest.length > 0 && !this.#intercepted && !this.#hasEnded) {
      const result = this.#requests.split(rest)
      rest = result.rest
      for (const request of result.requests) {
        this.#pendingReplies.add(request)
        this.#hasSentLast = request.isLast
      }
      if (result.requests.length > 0) this.#interceptor?.onForwarded()
      for (const forwarded of result.forward) this.#writeToUpstream(forwarded)
      if (result.intercepted) {
        this.#intercepted = result.intercepted
        this.#settle()
      }
    }
    this.#isTakingRequests = false
    if (this.#hasEnded) return
    if (rest.length > 0) this.#holdBack(rest)
    this.#controlClientFlow()
    if (!this.#intercepted) this.#settle()
  }

  #onUpstreamData(chunk: Buffer): void {
    if (this.#hasEnded) return
    try {
      this.#forwardReplies(chunk)
    } catch (thrown) {
      this.destroy('upstream', Fault.from(thrown))
    }
  }

  #forwardReplies(chunk: Buffer): void {
    const { forward, replies } = this.#replies.split(chunk)
    try {
      if (forward.length > 0) {
        this.#pendingReplies.assertPending()
        this.#writeToClient(forward)
      }
      for (const reply of replies) {
        if (this.#pendingReplies.complete(reply)) this.#interceptor?.onStreamed?.() // a stream may never end
      }
    } catch (thrown) {
      this.#onUnexpectedReply(Fault.from(thrown))
      return
    }
    this.#settle()
  }

  /** FerretDB answers an endSessions that wants no reply, often before the FIN of the client arrives. */
  #onUnexpectedReply(fault: Fault): void {
    const isClientLeaving = this.#hasSentLast || this.#closeRequests.some(({ requester }) => requester === 'clientEnd')
    if (!isClientLeaving) throw fault
    this.#context.onUnexpectedReply(fault)
    this.#close('clientEnd', 'nothing', 'client')
  }

  #writeToClient(bytes: Buffer): void {
    this.#lastClientWrite = this.#context.now()
    if (this.#client.write(bytes)) return
    this.#upstream.pause()
    this.#clientBackpressure.onDrain(() => this.#upstream.resume())
  }

  #writeToUpstream(bytes: Buffer): void {
    if (!this.#upstream.write(bytes)) this.#upstreamBackpressure.onDrain(() => this.#controlClientFlow())
  }

  #holdBack(bytes: Buffer): void {
    this.#waitingBytes ??= new ByteQueue()
    this.#waitingBytes.push(bytes)
  }

  /** Reads the client unless the upstream is full or too many bytes wait. */
  #controlClientFlow(): void {
    const isFull = this.#upstream.writableNeedDrain || (this.#waitingBytes?.length ?? 0) > MAX_WAITING_BYTES
    if (isFull) this.#client.pause()
    else if (this.#client.isPaused()) this.#client.resume()
  }

  // Answers of the proxy

  #isReplyPending(): boolean {
    return this.#pendingReplies.size > 0 || this.#replies.midFrame
  }

  /** Once no reply is pending, closes if that was requested; otherwise starts an answer of the proxy. */
  #settle(): void {
    if (this.#hasEnded || this.#isReplyPending()) return
    if (this.#closeRequests.length > 0 && this.#closeIfDue()) return
    const intercepted = this.#intercepted
    if (!intercepted || this.#isAnswering || this.#answersInIteration === MAX_ANSWERS_PER_ITERATION) return
    this.#isAnswering = true
    this.#answer(intercepted)
  }

  #answer(intercepted: InterceptedRequest): void {
    if (intercepted.is === 'offered') return void this.#checkCommand(intercepted)
    if (intercepted.is === 'refused') return void this.#refuse(intercepted.name, intercepted)
    const { is, command } = intercepted
    this.#answerAbort ??= new AbortController()
    const { signal } = this.#answerAbort
    const answer =
      is === 'hello' ? this.#context.answerHello(command, signal) : this.#interceptor?.authenticate?.(command, signal)
    if (!answer) return void this.#refuse(command.name, command)
    answer.then(
      document => this.#run('proxy', () => this.#writeAnswer(command, document)),
      thrown => {
        const fault = Fault.from(thrown)
        this.#run('proxy', () =>
          is === 'hello' ? this.#writeAnswer(command, fault) : this.#rejectLogin(command, fault),
        )
      },
    )
  }

  #refuse(name: string, to: ReplyTarget): void {
    this.#context.onRefused(name)
    this.#writeAnswer(to, new Fault('command/forbidden', name))
  }

  /** Forwards a command, or answers it with the fault of the interceptor. */
  #checkCommand({ summary, request, bytes }: InterceptedRequest & { is: 'offered' }): void {
    let fault: Fault | undefined
    try {
      fault = this.#interceptor?.check(summary)
    } catch (thrown) {
      return void this.#close('loginRejected', 'nothing', 'proxy', Fault.from(thrown))
    }
    if (fault) return void this.#writeAnswer({ opCode: OP_MSG, requestID: request.requestID }, fault)
    this.#pendingReplies.add(request)
    this.#writeToUpstream(bytes)
    this.#interceptor?.onForwarded(summary)
    this.#continueRequests()
  }

  #writeAnswer(to: ReplyTarget, answer: Document | Fault): void {
    if (this.#hasEnded) return
    const document = answer instanceof Fault ? toReply(answer, this.#context.connectionId) : answer
    if (!document) throw answer
    this.#writeToClient(writeReply(to, document, this.#context.nextRequestID()))
    if (!this.#client.writableNeedDrain) return void this.#continueRequests()
    this.#clientBackpressure.onDrain(() => this.#run('client', () => this.#continueRequests()))
  }

  /** Sends the fault as the last reply. */
  #rejectLogin(to: ReplyTarget, fault: Fault): void {
    const document = toReply(fault, this.#context.connectionId)
    if (document) this.#client.write(writeReply(to, document, this.#context.nextRequestID()))
    this.#close('loginRejected', 'nothing', 'proxy', fault)
  }

  /** Takes further requests, once the client has taken the answer: a client that never reads gets no more answers. */
  #continueRequests(): void {
    if (++this.#answersInIteration === MAX_ANSWERS_PER_ITERATION) {
      setImmediate(() => {
        this.#answersInIteration = 0
        this.#run('client', () => this.#settle())
      })
    }
    this.#intercepted = undefined
    this.#isAnswering = false
    if (this.#isTakingRequests) return
    const bytes = this.#waitingBytes?.read(this.#waitingBytes.length) ?? EMPTY
    this.#run('client', () => this.#takeRequests(bytes))
  }

  /** Runs a step. Its fault destroys both sockets, even within a frame. */
  #run(by: Side, step: () => void): void {
    if (this.#hasEnded) return
    try {
      step()
    } catch (thrown) {
      this.destroy(by, Fault.from(thrown))
    }
  }

  // The end

  #onClientEnd(): void {
    if (this.#hasEnded) return
    // An answer of the proxy is of use only for further requests, so do not wait for one in progress. A partial request
    // can never become complete. If bytes wait, it is not known yet whether they end with a complete request.
    if (this.#isAnswering || (this.#requests.midFrame && !this.#waitingBytes?.length)) {
      return void this.#close('clientEnd', this.#requests.midFrame ? 'request' : 'nothing', 'client')
    }
    this.#requestClose('clientEnd', 'client', undefined)
    this.#settle()
  }

  #listenForClose(side: 'client' | 'upstream', socket: Socket): void {
    socket.on('error', ({ message }) => {
      if (!this.#hasEnded) this.destroy(side, new Fault('connection/reset', undefined, { side, why: message }))
    })
    socket.on('close', () => {
      if (!this.#hasEnded) this.destroy(side)
    })
  }

  /** Records a request that may have to wait. Call `#settle` afterwards. */
  #requestClose(requester: Requester, by: Side, fault: Fault | undefined): void {
    if (this.#hasEnded || this.#closeRequests.some(request => request.requester === requester)) return
    const { maxWaitMS } = relayEndings[requester]
    const cancelTimeout =
      maxWaitMS === undefined ? doNothing : this.#context.after(maxWaitMS, () => this.destroy(by, fault))
    this.#closeRequests = addCloseRequest(this.#closeRequests, { requester, by, fault, cancelTimeout })
  }

  /** Carries out a request that does not have to wait any longer. Returns whether there was one. No reply is pending. */
  #closeIfDue(): boolean {
    const pending: Pending = this.#intercepted ? 'answer' : this.#requests.midFrame ? 'request' : 'nothing'
    const due = findDue(this.#closeRequests, pending)
    if (!due) return false
    const { requester, by, fault } = due.request
    const { lingerMS } = relayEndings[requester]
    if (lingerMS === undefined) this.#carryOut(due.ending, by, fault)
    else {
      this.#cancelLinger()
      this.#cancelLinger = this.#context.after(lingerMS, () => {
        if (!this.#isReplyPending()) this.#carryOut(due.ending, by, fault)
      })
    }
    return true
  }

  /** Closes without waiting. */
  #close(requester: Requester, pending: Pending, by: Side, fault?: Fault): void {
    const ending = relayEndings[requester][pending]
    if (ending !== 'wait') this.#carryOut(ending, by, fault)
  }

  #carryOut({ client, upstream, why }: Ending, by: Side, fault: Fault | undefined): void {
    if (this.#hasEnded) return
    this.#end(by, fault ?? (why === undefined ? undefined : new Fault('connection/reset', undefined, { why })))
    this.#closeSocket(this.#client, client)
    this.#closeSocket(this.#upstream, upstream)
  }

  #closeSocket(socket: Socket, action: SocketAction): void {
    if (action === 'destroy') return void socket.destroy()
    if (action === 'reset' && this.#hasClientReceivedAll()) return void reset(socket)
    socket.end()
    socket.once(
      'close',
      this.#context.after(FIN_TIMEOUT_MS, () => socket.destroy()),
    )
    socket.resume()
  }

  /** A reset would discard bytes that have not arrived. */
  #hasClientReceivedAll(): boolean {
    return this.#client.writableLength === 0 && this.#context.now() - this.#lastClientWrite >= DELIVERED_AFTER_MS
  }

  #end(by: Side, fault: Fault | undefined): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    for (const { cancelTimeout } of this.#closeRequests) cancelTimeout()
    this.#cancelLinger()
    this.#answerAbort?.abort(RELAY_ENDED)
    this.#clientBackpressure.cancelTimeout()
    this.#upstreamBackpressure.cancelTimeout()
    this.#session.release()
    this.#resolveEnded(fault ? { by, fault } : { by })
  }
}

function reset(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}
