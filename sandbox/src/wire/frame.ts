/**
 * Frames of the MongoDB wire protocol: a header of 16 bytes and a body that is not parsed here.
 *
 *     0        4         8          12      16
 *     | length | requestID | responseTo | opCode | body …      int32, little endian; length includes the header
 *
 * https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
 *
 * The proxy has a codec of its own. The sandbox does not share it: an error in it would then be invisible to every test.
 */
import { SandboxError } from '../errors.js'

export const HEADER_LENGTH = 16

export const OP_REPLY = 1
export const OP_QUERY = 2004
export const OP_MSG = 2013

/** One complete message. `bytes` includes the header. */
export type Frame = { requestID: number; responseTo: number; opCode: number; bytes: Buffer }

/** Splits a stream into frames. */
export class FrameSplitter {
  readonly #maxLength: number
  /** Chunks that are not yet part of a complete frame. They are joined once per frame, not once per chunk. */
  #chunks: Buffer[] = []
  #length = 0

  /** `maxLength`: the longest frame in bytes, header included. */
  constructor(maxLength: number) {
    this.#maxLength = maxLength
  }

  /** Adds a chunk and returns the frames that it completes. Throws `malformedMessage` for an impossible length. */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    const frames: Frame[] = []
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame)
    return frames
  }

  #next(): Frame | undefined {
    if (this.#length < 4) return undefined
    const length = this.#join(4).readInt32LE(0)
    if (length < HEADER_LENGTH || length > this.#maxLength) {
      throw new SandboxError('malformedMessage', `a message of ${length} bytes`)
    }
    if (this.#length < length) return undefined
    const joined = this.#join(length)
    const bytes = joined.subarray(0, length)
    if (joined.length > length) this.#chunks[0] = joined.subarray(length)
    else this.#chunks.shift()
    this.#length -= length
    return {
      requestID: bytes.readInt32LE(4),
      responseTo: bytes.readInt32LE(8),
      opCode: bytes.readInt32LE(12),
      bytes,
    }
  }

  /** The first chunk, after it was joined with the following ones if it is shorter than `length`. */
  #join(length: number): Buffer {
    const [first] = this.#chunks
    if (first && first.length >= length) return first
    const joined = Buffer.concat(this.#chunks)
    this.#chunks = [joined]
    return joined
  }
}

/** Encodes a frame. */
export function encodeFrame(
  opCode: number,
  requestID: number,
  responseTo: number,
  body: readonly Uint8Array[],
): Buffer {
  const header = Buffer.allocUnsafe(HEADER_LENGTH)
  const length = body.reduce((sum, part) => sum + part.length, HEADER_LENGTH)
  header.writeInt32LE(length, 0)
  header.writeInt32LE(requestID, 4)
  header.writeInt32LE(responseTo, 8)
  header.writeInt32LE(opCode, 12)
  return Buffer.concat([header, ...body], length)
}
