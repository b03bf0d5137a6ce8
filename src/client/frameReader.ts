/** What a client has sent and nobody has taken yet: whole frames, in order, bounded, with its leaving noticed at once. */
import type { Socket } from 'node:net'
import { type Frame, Framer } from '../wire/frame.js'

/**
 * `begun` is called when the next frame was asked for and only the beginning of it is there; `left` when the client ends
 * its side or its socket closes, also while nobody waits for a frame, perhaps twice. Whoever waits for a frame has it
 * `inTurn`. `limit`: bytes that may lie here.
 */
export type Parts = { limit: number; begun(): void; left(): void; inTurn(step: () => void): void }

/** Reads a socket, which keeps flowing while nobody asks (a paused one would hide that its peer left), up to the limit. */
export class Inbox {
  readonly #socket: Socket
  readonly #parts: Parts
  readonly #framer: Framer
  #over = false
  #wake: (() => void) | undefined

  constructor(socket: Socket, parts: Parts) {
    this.#socket = socket
    this.#parts = parts
    this.#framer = new Framer(parts.limit)
    socket.on('data', this.#keep)
    socket.on('end', this.#leave)
    socket.on('close', this.#leave)
  }

  /** The next frame; undefined once the client has ended its side. Throws `frame/length`. */
  async next(): Promise<Frame | undefined> {
    for (;;) {
      // Each look has its turn, also at what lay here already: thousands of frames fit into one read.
      if (this.#framer.bufferedBytes > 0) await new Promise<void>(resolve => this.#parts.inTurn(resolve))
      const frame = this.#framer.next()
      if (frame || this.#over) return frame
      if (this.#framer.bufferedBytes > 0) this.#parts.begun()
      if (this.#socket.isPaused()) this.#socket.resume()
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /** Stops reading and gives what was read and not taken. */
  release(): Buffer {
    this.#socket.off('data', this.#keep).off('end', this.#leave).off('close', this.#leave).pause()
    return this.#framer.takeRest()
  }

  readonly #keep = (chunk: Buffer): void => {
    this.#framer.add(chunk)
    if (this.#framer.bufferedBytes > this.#parts.limit) this.#socket.pause()
    this.#stir()
  }

  readonly #leave = (): void => {
    this.#over = true
    this.#parts.left()
    this.#stir()
  }

  #stir(): void {
    this.#wake?.()
    this.#wake = undefined
  }
}
