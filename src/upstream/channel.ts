/**
 * A connection to the upstream before the relay takes it over: one command, then its reply, one at a time.
 *
 * The upstream may be hostile. Frames are bounded, a reply must answer the pending request, and a message that was not
 * requested is an error. Every error destroys the socket, so a channel never needs to resynchronize.
 */
import { connect as connectTCP, isIP, type Socket } from 'node:net'
import { connect as connectTLS } from 'node:tls'
import type { Document } from 'bson'
import { errorCode, type Facts, Fault } from '../errors.js'
import { type Frame, Framer } from '../wire/frame.js'
import { readReply, writeMessage } from '../wire/message.js'
import { ConnectionError } from './connectionError.js'
import { ReadBuffer } from './readBuffer.js'
import type { Target } from './target.js'

/** Hello and SASL replies have a few KiB, even those of a large replica set. */
const MAX_FRAME_BYTES = 256 * 1024
const KEEP_ALIVE_MS = 60_000
/** One for all channels: each login hands over its channel, and a stack trace per login is expensive. */
const HANDED_OVER = new Fault('internal', undefined, { why: 'the channel was handed over' })

type PendingRequest = { requestID: number; resolve(reply: Document): void; reject(reason: unknown): void }

export class Channel {
  readonly #socket: Socket
  readonly #readBuffer: ReadBuffer
  readonly #target: Target
  readonly #framer = new Framer(MAX_FRAME_BYTES)
  #lastRequestID = 0
  #pending: PendingRequest | undefined
  /** Why the channel cannot be used any more. */
  #closeReason: unknown
  /** Its abort destroys the socket while a request is pending. Most requests of a channel share one signal. */
  #signal: AbortSignal | undefined

  /** The socket must be connected; call `openChannel` instead. */
  constructor(socket: Socket, readBuffer: ReadBuffer, target: Target) {
    this.#socket = socket
    this.#readBuffer = readBuffer
    this.#target = target
    // Chunks are retained: an incomplete frame needs them, and documents refer to their bytes.
    readBuffer.setConsumer({ onChunk: this.#onChunk, retainsChunks: () => true, expectedBytes: () => 0 })
    socket.resume().on('end', this.#onEnd).on('error', this.#onError).on('close', this.#onEnd)
  }

  /** False once the channel has failed, was destroyed, or was handed over. */
  get isOpen(): boolean {
    return this.#closeReason === undefined
  }

  /**
   * Sends a command, which includes its `$db`. Returns the reply, whether `ok` is 1 or 0, with the BSON types of its
   * numbers. Throws `upstream/unreachable`, `upstream/protocol-error`, or the signal's reason; its abort destroys the
   * socket.
   */
  request(command: Document, signal?: AbortSignal): Promise<Document> {
    if (signal?.aborted) this.#fail(signal.reason)
    if (!this.#closeReason && (this.#pending || this.#framer.bufferedBytes > 0)) this.#fail(this.#unrequestedMessage())
    if (this.#closeReason) return Promise.reject(this.#closeReason)
    const requestID = ++this.#lastRequestID
    this.#listenTo(signal)
    return new Promise<Document>((resolve, reject) => {
      this.#pending = { requestID, resolve, reject }
      this.#socket.write(writeMessage(command, requestID))
    })
  }

  #listenTo(signal: AbortSignal | undefined): void {
    if (signal === this.#signal) return
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
  }

  /**
   * Gives up the socket, which is paused, and the bytes that were read beyond the last reply. Call it in the same tick as
   * the last reply.
   */
  handOver(): { socket: Socket; readBuffer: ReadBuffer; rest: Buffer } {
    if (this.#closeReason) throw this.#closeReason
    this.#closeReason = HANDED_OVER
    this.#listenTo(undefined)
    this.#socket.pause()
    this.#socket.off('end', this.#onEnd).off('error', this.#onError).off('close', this.#onEnd)
    this.#socket.on('error', () => {}) // an error before the new owner listens must not end the process
    return { socket: this.#socket, readBuffer: this.#readBuffer, rest: this.#framer.takeRest() }
  }

  destroy(): void {
    if (this.isOpen) this.#fail(unreachable(this.#target, 'closed here'))
  }

  readonly #onChunk = (chunk: Buffer) => {
    // The channel was handed over, but has no other consumer yet: this chunk would be lost, so the socket is useless.
    if (this.#closeReason !== undefined) return void this.#socket.destroy()
    try {
      if (!this.#pending) throw this.#unrequestedMessage()
      this.#framer.add(chunk)
      const frame = this.#framer.next()
      if (!frame) return
      const reply = this.#readReply(frame, this.#pending.requestID)
      const { resolve } = this.#pending
      this.#pending = undefined
      resolve(reply)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      this.#fail(fault.kind === 'upstream/protocol-error' ? fault : this.#protocolError(fault.kind, {}, fault))
    }
  }

  #readReply(frame: Frame, requestID: number): Document {
    const { responseTo } = frame
    if (responseTo !== requestID) throw this.#protocolError('a reply to another request', { responseTo })
    const { document, moreToCome } = readReply(frame, { exact: true })
    if (moreToCome) throw this.#protocolError('an exhaust stream that was not requested')
    return document
  }

  /** An abort between two requests affects neither of them. */
  readonly #onAbort = () => {
    if (this.#pending) this.#fail(this.#signal?.reason)
  }
  readonly #onEnd = () => {
    if (this.isOpen) this.#fail(unreachable(this.#target, 'closed by the upstream'))
  }
  readonly #onError = (error: Error) => {
    if (this.isOpen) this.#fail(unreachable(this.#target, undefined, error))
  }

  #fail(reason: unknown): void {
    if (this.#closeReason !== undefined) return
    this.#closeReason = reason ?? unreachable(this.#target, 'aborted')
    this.#listenTo(undefined)
    this.#socket.destroy()
    const pending = this.#pending
    this.#pending = undefined
    pending?.reject(this.#closeReason)
  }

  #unrequestedMessage(): Fault {
    return this.#protocolError('a message that was not requested')
  }

  #protocolError(why: string, fields: Facts = {}, cause?: unknown): Fault {
    return new Fault('upstream/protocol-error', undefined, { upstream: this.#target.address, why, ...fields }, cause)
  }
}

/**
 * Connects over TCP, and TLS if the target has it, within the target's `connectTimeoutMS`.
 * Throws `upstream/unreachable` with host, port and the system's error code, or the signal's reason.
 */
export function openChannel(target: Target, signal?: AbortSignal): Promise<Channel> {
  if (signal?.aborted) return Promise.reject(signal.reason)
  return new Promise((resolve, reject) => {
    const readBuffer = new ReadBuffer()
    const socket = connect(target, readBuffer)
    const settle = (act: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError).off('close', onClose)
      act()
    }
    const fail = (reason: unknown) =>
      settle(() => {
        socket.on('error', () => {}).destroy() // a later error of this socket concerns no caller
        reject(reason)
      })
    const onAbort = () => fail(signal?.reason)
    const onError = (error: Error) => fail(unreachable(target, undefined, error))
    const onClose = () => fail(unreachable(target, 'closed by the upstream'))
    const timer = setTimeout(() => fail(unreachable(target, 'ETIMEDOUT')), target.connectTimeoutMS)
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.on('error', onError).on('close', onClose)
    socket.once(target.tls ? 'secureConnect' : 'connect', () =>
      settle(() => resolve(new Channel(socket, readBuffer, target))),
    )
  })
}

/** `allowHalfOpen` because of the relay: a side that has ended its half may still get a pending reply. */
function connect({ host, port, tls }: Target, { onread }: ReadBuffer): Socket {
  const address = { host, port, allowHalfOpen: true, onread }
  const servername = tls?.servername ?? (isIP(host) ? undefined : host)
  // Set them as options: on a socket that is not connected yet, the methods cause each system call twice.
  if (!tls) return connectTCP({ ...address, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS })
  return connectTLS({
    ...address,
    secureContext: tls.context,
    rejectUnauthorized: tls.verify !== 'none',
    ...(servername !== undefined && { servername }),
    ...(tls.verify === 'chain' && { checkServerIdentity: () => undefined }),
  })
    .setNoDelay(true)
    .setKeepAlive(true, KEEP_ALIVE_MS)
}

function unreachable({ host, port }: Target, ownCode: string | undefined, cause?: Error): Fault {
  const code = ownCode ?? errorCode(cause) ?? cause?.message
  const error = new ConnectionError(code === 'ETIMEDOUT' ? 'timeout' : 'closed', cause)
  return new Fault('upstream/unreachable', undefined, { host, port, code }, error)
}
