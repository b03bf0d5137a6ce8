/**
 * One socket to the upstream before it is a relay: a command out, its reply in, one at a time.
 *
 * The upstream may be hostile: frames are bounded, a reply must answer the request that is open, and nobody may speak
 * unasked. Whatever goes wrong destroys the socket, so a channel never has to be resynchronised.
 */
import { connect as connectTCP, isIP, type Socket } from 'node:net'
import { connect as connectTLS } from 'node:tls'
import type { Document } from 'bson'
import { errorCode, Fault } from '../errors.js'
import { type Frame, Framer } from '../wire/frame.js'
import { readReply, writeMessage } from '../wire/message.js'
import { ReadBuffer } from './readBuffer.js'
import type { Target } from './target.js'

/** Hello and SASL replies are a few KiB; a large set's hello stays far below this. */
const LIMIT = 256 * 1024
const KEEP_ALIVE_MS = 60_000
/** What a channel says that is asked after its socket was given away. One for all: a stack trace a login is dear. */
const HANDED_OVER = new Fault('internal', undefined, { why: 'the channel was handed over' })

type Open = { requestID: number; resolve(reply: Document): void; reject(reason: unknown): void }

export class Channel {
  readonly #socket: Socket
  readonly #readBuffer: ReadBuffer
  readonly #target: Target
  readonly #framer = new Framer(LIMIT)
  #requests = 0
  #open: Open | undefined
  #over: unknown
  /** Whose abort destroys the socket while a request is open: most requests of a channel have the same. */
  #signal: AbortSignal | undefined

  /** Of a connected socket; use `connect`. */
  constructor(socket: Socket, readBuffer: ReadBuffer, target: Target) {
    this.#socket = socket
    this.#readBuffer = readBuffer
    this.#target = target
    // Frames are kept until they are whole, and documents hold on to them.
    readBuffer.setConsumer({ onChunk: this.#onData, retainsChunks: () => true, expectedBytes: () => 0 })
    socket.resume().on('end', this.#onEnd).on('error', this.#onError).on('close', this.#onEnd)
  }

  /** False once nothing can be asked here any more. */
  get isOpen(): boolean {
    return this.#over === undefined
  }

  /**
   * Sends a command (with its `$db`) and gives the reply, `ok: 0` or not, numbers with their BSON types.
   * Throws `upstream/unreachable`, `upstream/protocol-error`, or the signal's reason, which also destroys the socket.
   */
  request(command: Document, signal?: AbortSignal): Promise<Document> {
    if (signal?.aborted) this.#fail(signal.reason)
    if (!this.#over && (this.#open || this.#framer.bufferedBytes > 0)) this.#fail(this.#malformed('it spoke unasked'))
    if (this.#over) return Promise.reject(this.#over)
    const requestID = ++this.#requests
    this.#heed(signal)
    return new Promise<Document>((resolve, reject) => {
      this.#open = { requestID, resolve, reject }
      this.#socket.write(writeMessage(command, requestID))
    })
  }

  #heed(signal: AbortSignal | undefined): void {
    if (signal === this.#signal) return
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
  }

  /** Gives the socket away, paused, with what was read and not asked for. Call it in the tick of the last reply. */
  handOver(): { socket: Socket; readBuffer: ReadBuffer; rest: Buffer } {
    if (this.#over) throw this.#over
    this.#over = HANDED_OVER
    this.#heed(undefined)
    this.#socket.pause()
    this.#socket.off('end', this.#onEnd).off('error', this.#onError).off('close', this.#onEnd)
    this.#socket.on('error', () => {}) // until the new owner listens, an error must not end the process
    return { socket: this.#socket, readBuffer: this.#readBuffer, rest: this.#framer.takeRest() }
  }

  destroy(): void {
    this.#fail(away(this.#target, 'closed here'))
  }

  readonly #onData = (chunk: Buffer) => {
    // It was handed over, and what comes before it has another reader would be lost.
    if (this.#over !== undefined) return void this.#socket.destroy()
    try {
      if (!this.#open) throw this.#malformed('it spoke unasked')
      this.#framer.add(chunk)
      const frame = this.#framer.next()
      if (!frame) return
      const reply = this.#read(frame, this.#open.requestID)
      const { resolve } = this.#open
      this.#open = undefined
      resolve(reply)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      this.#fail(fault.kind === 'upstream/protocol-error' ? fault : this.#malformed(fault.kind, fault.facts, fault))
    }
  }

  #read(frame: Frame, requestID: number): Document {
    const { responseTo } = frame
    if (responseTo !== requestID) throw this.#malformed('a reply to another request', { responseTo })
    const { document, moreToCome } = readReply(frame, { exact: true })
    if (moreToCome) throw this.#malformed('an exhaust stream that was not asked for')
    return document
  }

  /** One that comes between two requests stops neither. */
  readonly #onAbort = () => {
    if (this.#open) this.#fail(this.#signal?.reason)
  }
  readonly #onEnd = () => this.#fail(away(this.#target, 'closed by the upstream'))
  readonly #onError = (error: Error) => this.#fail(away(this.#target, undefined, error))

  #fail(reason: unknown): void {
    if (this.#over !== undefined) return
    this.#over = reason ?? away(this.#target, 'aborted')
    this.#heed(undefined)
    this.#socket.destroy()
    const open = this.#open
    this.#open = undefined
    open?.reject(this.#over)
  }

  #malformed(why: string, facts = {}, cause?: unknown): Fault {
    return new Fault('upstream/protocol-error', undefined, { upstream: this.#target.address, why, ...facts }, cause)
  }
}

/**
 * Opens a channel: TCP, and TLS where the target says so. Takes at most the target's `connectTimeoutMS`.
 * Throws `upstream/unreachable` with host, port and the system's code, or the signal's reason.
 */
export function openChannel(target: Target, signal?: AbortSignal): Promise<Channel> {
  if (signal?.aborted) return Promise.reject(signal.reason)
  return new Promise((resolve, reject) => {
    const readBuffer = new ReadBuffer()
    const socket = open(target, readBuffer)
    const settle = (act: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError).off('close', onClose)
      act()
    }
    const giveUp = (reason: unknown) =>
      settle(() => {
        socket.on('error', () => {}).destroy() // a late error of a socket nobody wants is nobody's
        reject(reason)
      })
    const onAbort = () => giveUp(signal?.reason)
    const onError = (error: Error) => giveUp(away(target, undefined, error))
    const onClose = () => giveUp(away(target, 'closed by the upstream'))
    const timer = setTimeout(() => giveUp(away(target, 'ETIMEDOUT')), target.connectTimeoutMS)
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.on('error', onError).on('close', onClose)
    socket.once(target.tls ? 'secureConnect' : 'connect', () =>
      settle(() => resolve(new Channel(socket, readBuffer, target))),
    )
  })
}

/** Half-open is allowed because the relay needs it: a side that ended may still be owed its last answer. */
function open({ host, port, tls }: Target, { onread }: ReadBuffer): Socket {
  const where = { host, port, allowHalfOpen: true, onread }
  const name = tls?.servername ?? (isIP(host) ? undefined : host)
  // Options where they are taken: of a socket that is not connected yet, methods set each of them twice.
  if (!tls) return connectTCP({ ...where, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS })
  return connectTLS({
    ...where,
    secureContext: tls.context,
    rejectUnauthorized: tls.verify !== 'none',
    ...(name !== undefined && { servername: name }),
    ...(tls.verify === 'chain' && { checkServerIdentity: () => undefined }),
  })
    .setNoDelay(true)
    .setKeepAlive(true, KEEP_ALIVE_MS)
}

function away({ host, port }: Target, code: string | undefined, cause?: Error): Fault {
  const told = code ?? errorCode(cause) ?? cause?.message
  return new Fault('upstream/unreachable', undefined, { host, port, code: told }, cause)
}
