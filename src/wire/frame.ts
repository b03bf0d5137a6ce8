/**
 * Frames: what a chunk of a TCP stream is cut into. Nothing but the 16 bytes of the header is understood here.
 *
 *     0        4         8          12      16
 *     | length | requestID | responseTo | opCode | body …      int32, little endian; length counts itself
 */
import { Fault } from '../errors.js'
import { ByteQueue } from './byteQueue.js'

export const HEADER_BYTES = 16

/** The opcodes that anybody may still meet. */
export const OP_REPLY = 1
export const OP_QUERY = 2004
export const OP_COMPRESSED = 2012
export const OP_MSG = 2013

/** One whole message; `bytes` is all of it, header included. */
export type Frame = { requestID: number; responseTo: number; opCode: number; bytes: Buffer }

/** Cuts a stream into frames. A length is judged before more of its message is waited for. */
export class Framer {
  readonly limit: number
  readonly #pieces = new ByteQueue()

  /** `limit`: the longest frame in bytes, header included. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Bytes that were added and not given yet. */
  get bufferedBytes(): number {
    return this.#pieces.length
  }

  add(chunk: Buffer): void {
    this.#pieces.push(chunk)
  }

  /** The next frame that is whole; undefined while there is none. Throws `frame/length`. */
  next(): Frame | undefined {
    const pieces = this.#pieces
    if (pieces.length < 4) return undefined
    const length = pieces.peek(4).readInt32LE(0)
    if (length < HEADER_BYTES || length > this.limit) {
      throw new Fault('frame/length', undefined, { length, limit: this.limit, looksLike: guess(pieces.peek(4)) })
    }
    if (pieces.length < length) return undefined
    const bytes = pieces.read(length)
    return {
      requestID: bytes.readInt32LE(4),
      responseTo: bytes.readInt32LE(8),
      opCode: bytes.readInt32LE(12),
      bytes,
    }
  }

  /** The frames that this chunk completes. Leave the loop whenever you like: what was not yielded stays. Throws as `next`. */
  *push(chunk: Buffer): Generator<Frame, void, void> {
    this.add(chunk)
    for (let writeFrame = this.next(); writeFrame; writeFrame = this.next()) yield writeFrame
  }

  /** Everything that was added and not given; the framer is empty afterwards. */
  takeRest(): Buffer {
    return this.#pieces.read(this.#pieces.length)
  }
}

/** A frame of our own. */
export function frame(opCode: number, requestID: number, responseTo: number, body: readonly Uint8Array[]): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  let length = HEADER_BYTES
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
