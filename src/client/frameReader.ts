/** Reads the frames of an unauthenticated client: in order, within a byte limit, and noticing at once when it leaves. */
import type { Socket } from 'node:net'
import { type Frame, Framer } from '../wire/frame.js'

export type FrameReaderOptions = {
  /** Longest frame, and about as many bytes as may wait here. */
  maxBytes: number
  /** Called when `next` waits for a frame of which only the beginning has arrived. */
  onFrameStarted(): void
  /** Called when the client ends its side or its socket closes, even if no call of `next` waits. May be called twice. */
  onClientLeft(): void
  /** Runs a step when the client's address is due. */
  schedule(step: () => void): void
}

/** The socket keeps flowing up to the limit even if no call of `next` waits: a paused socket never reports that its peer left. */
export class FrameReader {
  readonly #socket: Socket
  readonly #options: FrameReaderOptions
  readonly #framer: Framer
  #hasEnded = false
  #wake: (() => void) | undefined

  constructor(socket: Socket, options: FrameReaderOptions) {
    this.#socket = socket
    this.#options = options
    this.#framer = new Framer(options.maxBytes)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onEnd)
  }

  /** The next frame; undefined once the client has ended its side. Throws `frame/length`. */
  async next(): Promise<Frame | undefined> {
    for (;;) {
      // Schedule every attempt, also for bytes that arrived earlier: thousands of frames fit into one read.
      if (this.#framer.bufferedBytes > 0) await new Promise<void>(resolve => this.#options.schedule(resolve))
      const frame = this.#framer.next()
      if (frame || this.#hasEnded) return frame
      if (this.#framer.bufferedBytes > 0) this.#options.onFrameStarted()
      if (this.#socket.isPaused()) this.#socket.resume()
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /** Stops reading and returns the bytes that `next` has not returned. */
  release(): Buffer {
    this.#socket.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onEnd).pause()
    return this.#framer.takeRest()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#framer.add(chunk)
    if (this.#framer.bufferedBytes > this.#options.maxBytes) this.#socket.pause()
    this.#wakeReader()
  }

  readonly #onEnd = (): void => {
    this.#hasEnded = true
    this.#options.onClientLeft()
    this.#wakeReader()
  }

  #wakeReader(): void {
    this.#wake?.()
    this.#wake = undefined
  }
}
