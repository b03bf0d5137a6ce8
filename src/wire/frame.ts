/**
 * Frames of the MongoDB wire protocol: splits a TCP stream into messages. This file knows the 16 bytes of the header only.
 *
 *     0        4         8          12      16
 *     | length | requestID | responseTo | opCode | body …      int32, little endian; length includes the header
 *
 * https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
 */
import { Fault } from '../errors.js'
import { ByteQueue } from './byteQueue.js'

export const HEADER_BYTES = 16

/** The opcodes that current drivers and servers use. */
export const OP_REPLY = 1
export const OP_QUERY = 2004
export const OP_COMPRESSED = 2012
export const OP_MSG = 2013

/** One message. `bytes` includes the header. */
export type Frame = { requestID: number; responseTo: number; opCode: number; bytes: Buffer }

/** Splits a stream into frames. The length of a frame is checked before the rest of it is buffered. */
export class Framer {
  readonly limit: number
  readonly #queue = new ByteQueue()

  /** `limit`: the maximum length of a frame in bytes, including the header. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** The number of bytes that were added and not returned yet. */
  get bufferedBytes(): number {
    return this.#queue.length
  }

  add(chunk: Buffer): void {
    this.#queue.push(chunk)
  }

  /** The next complete frame; undefined if there is none yet. Throws `frame/length`. */
  next(): Frame | undefined {
    const queue = this.#queue
    if (queue.length < 4) return undefined
    const length = queue.peek(4).readInt32LE(0)
    if (length < HEADER_BYTES || length > this.limit) {
      throw new Fault('frame/length', undefined, {
        length,
        maxLength: this.limit,
        looksLike: guessProtocol(queue.peek(4)),
      })
    }
    if (queue.length < length) return undefined
    const bytes = queue.read(length)
    return {
      requestID: bytes.readInt32LE(4),
      responseTo: bytes.readInt32LE(8),
      opCode: bytes.readInt32LE(12),
      bytes,
    }
  }

  /** Adds a chunk and yields the frames that are complete. Frames that are not consumed stay buffered. Throws `frame/length`. */
  *push(chunk: Buffer): Generator<Frame, void, void> {
    this.add(chunk)
    for (let next = this.next(); next; next = this.next()) yield next
  }

  /** Removes and returns all bytes that were added and not returned yet. */
  takeRest(): Buffer {
    return this.#queue.read(this.#queue.length)
  }
}

/** Builds a frame. */
export function writeFrame(opCode: number, requestID: number, responseTo: number, body: readonly Uint8Array[]): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  let length = HEADER_BYTES
  for (const part of body) length += part.length
  writeHeader(header, opCode, requestID, responseTo, length)
  return Buffer.concat([header, ...body], length)
}

/** Writes a header to the start of `bytes`. By default `bytes` is the whole frame. */
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

/** A guess at the protocol of the client, for the log: TLS and HTTP are the usual mistakes. */
function guessProtocol(start: Buffer): string {
  if (start[0] === 0x16 && start[1] === 0x03) return 'TLS'
  return /^[A-Z]{3}/.test(start.toString('latin1', 0, 4)) ? 'HTTP' : 'unknown'
}
