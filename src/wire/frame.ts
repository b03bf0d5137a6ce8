/**
 * Frames: what a chunk of a TCP stream is cut into. Nothing but the 16 bytes of the header is understood here.
 *
 *     0        4         8          12      16
 *     | length | requestID | responseTo | opCode | body …      int32, little endian; length counts itself
 */
import { Fault } from '../errors.js'

export const HEADER = 16

/** The opcodes that anybody may still meet. */
export const OP_REPLY = 1
export const OP_QUERY = 2004
export const OP_COMPRESSED = 2012
export const OP_MSG = 2013

/** One whole message; `bytes` is all of it, header included. */
export type Frame = { requestID: number; responseTo: number; opCode: number; bytes: Buffer }

/** Cuts a stream into frames. A length is judged before a byte of its message is kept. */
export class Framer {
  readonly limit: number
  #chunks: Buffer[] = []
  #held = 0

  /** `limit`: the longest frame in bytes, header included. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** True while a frame has begun and is not complete. */
  get midway(): boolean {
    return this.#held > 0
  }

  /**
   * The frames that this chunk completes. Leave the loop whenever you like: what was not yielded stays for `rest`.
   * Throws `frame/length`.
   */
  *push(chunk: Buffer): Generator<Frame, void, void> {
    if (chunk.length > 0) {
      this.#chunks.push(chunk)
      this.#held += chunk.length
    }
    while (this.#held >= 4) {
      const length = this.#gather(4).readInt32LE(0)
      if (length < HEADER || length > this.limit) {
        throw new Fault('frame/length', undefined, { length, limit: this.limit, looksLike: guess(this.#gather(4)) })
      }
      if (this.#held < length) return
      const bytes = this.#take(length)
      yield {
        requestID: bytes.readInt32LE(4),
        responseTo: bytes.readInt32LE(8),
        opCode: bytes.readInt32LE(12),
        bytes,
      }
    }
  }

  /** Everything that was pushed and not yielded; the framer is empty afterwards. */
  rest(): Buffer {
    return this.#take(this.#held)
  }

  /** The first chunk, made at least `size` bytes long. */
  #gather(size: number): Buffer {
    const [first] = this.#chunks
    if (first && first.length >= size) return first
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    return all
  }

  #take(length: number): Buffer {
    const all = this.#chunks.length === 1 ? this.#gather(0) : Buffer.concat(this.#chunks)
    const taken = all.subarray(0, length)
    const left = all.subarray(length)
    this.#chunks = left.length > 0 ? [left] : []
    this.#held = left.length
    return taken
  }
}

/** A frame of our own. */
export function frame(opCode: number, requestID: number, responseTo: number, body: readonly Uint8Array[]): Buffer {
  const header = Buffer.allocUnsafe(HEADER)
  let length = HEADER
  for (const part of body) length += part.length
  writeHeader(header, opCode, requestID, responseTo, length)
  return Buffer.concat([header, ...body], length)
}

/** Writes the header of a frame, which is these bytes unless its `length` is given. */
export function writeHeader(
  bytes: Buffer,
  opCode: number,
  requestID: number,
  responseTo: number,
  length = bytes.length,
): void {
  bytes.writeInt32LE(length, 0)
  bytes.writeInt32LE(requestID, 4)
  bytes.writeInt32LE(responseTo, 8)
  bytes.writeInt32LE(opCode, 12)
}

/** What a stranger's first bytes are most likely to be: the answer to the operator's first question. */
function guess(start: Buffer): string {
  if (start[0] === 0x16 && start[1] === 0x03) return 'TLS'
  return /^[A-Z]{3}/.test(start.toString('latin1', 0, 4)) ? 'HTTP' : 'unknown'
}
