/**
 * Requests and replies in frames.
 *
 *     OP_MSG    header | uint32 flagBits | section … | [uint32 CRC-32C]
 *       section 0: 00 | document                                     the body, exactly one
 *       section 1: 01 | int32 size | cstring identifier | document … size includes itself, but not the kind
 *     OP_QUERY  header | int32 flags | cstring "db.$cmd" | int32 skip | int32 return | document [| document]
 *     OP_REPLY  header | int32 flags | int64 cursorID | int32 startingFrom | int32 numberReturned | document
 *
 * https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md
 */
import { type Document, deserialize, serialize } from 'bson'
import { SandboxError } from '../errors.js'
import { crc32c } from './crc32c.js'
import { encodeFrame, type Frame, HEADER_LENGTH, OP_MSG, OP_REPLY } from './frame.js'

export const CHECKSUM_PRESENT = 1 << 0
export const MORE_TO_COME = 1 << 1
export const EXHAUST_ALLOWED = 1 << 16
/** A receiver must reject bits 0 to 15 that it does not know. */
const UNKNOWN_REQUIRED_BITS = 0xffff & ~(CHECKSUM_PRESENT | MORE_TO_COME)

const REPLY_FIELDS = 20
const AWAIT_CAPABLE = 8

export type Sequence = { identifier: string; documents: Buffer[] }

/** The sections of an OP_MSG. Documents are not parsed. */
export type Message = { flagBits: number; body: Buffer; sequences: Sequence[] }

/** An OP_QUERY of `db.$cmd`: a command by the protocol before OP_MSG. */
export type Query = { db: string; name: string; body: Buffer }

/** Parses an OP_MSG. Throws `malformedMessage`. */
export function readMessage({ bytes }: Frame): Message {
  if (bytes.length < HEADER_LENGTH + 4) throw malformed('no flag bits')
  const flagBits = bytes.readUInt32LE(HEADER_LENGTH)
  if (flagBits & UNKNOWN_REQUIRED_BITS) throw malformed('unknown flag bits')
  let end = bytes.length
  if (flagBits & CHECKSUM_PRESENT) {
    end -= 4
    if (end < HEADER_LENGTH + 4 || crc32c(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) {
      throw malformed('a wrong checksum')
    }
  }
  let body: Buffer | undefined
  const sequences: Sequence[] = []
  for (let at = HEADER_LENGTH + 4; at < end; ) {
    const kind = bytes[at++]
    const section = sizedAt(bytes, at, end)
    if (kind === 0) body = section
    else if (kind === 1) sequences.push(readSequence(section.subarray(4)))
    else throw malformed(`a section of kind ${kind}`)
    at += section.length
  }
  if (!body) throw malformed('no body')
  return { flagBits, body, sequences }
}

/** Parses an OP_QUERY, with or without `$query` around the command. Throws `malformedMessage`. */
export function readQuery({ bytes }: Frame): Query {
  const end = bytes.indexOf(0, HEADER_LENGTH + 4)
  const namespace = bytes.toString('utf8', HEADER_LENGTH + 4, end)
  if (end < 0 || !namespace.endsWith('.$cmd')) throw malformed('OP_QUERY on a collection')
  const sent = sizedAt(bytes, end + 9, bytes.length)
  const outerName = nameOf(sent)
  const wrapped = outerName === '$query' || outerName === 'query'
  const body = wrapped ? sizedAt(sent, 5 + outerName.length + 1, sent.length) : sent
  return { db: namespace.slice(0, -'.$cmd'.length), name: nameOf(body), body }
}

/** The name of a command: the first key of its document. */
export function nameOf(body: Buffer): string {
  return body.toString('utf8', 5, body.indexOf(0, 5))
}

/** Encodes a reply as OP_REPLY, the answer to OP_QUERY. */
export function encodeReply(responseTo: number, document: Document, requestID: number): Buffer {
  const fields = Buffer.alloc(REPLY_FIELDS)
  fields.writeInt32LE(AWAIT_CAPABLE, 0)
  fields.writeInt32LE(1, 16)
  return encodeFrame(OP_REPLY, requestID, responseTo, [fields, serialize(document)])
}

/** Encodes an OP_MSG with a body and no other section. `body`: an encoded document. */
export function encodeMessage(body: Uint8Array, requestID: number, responseTo = 0, flagBits = 0): Buffer {
  if (flagBits === 0) return encodeFrame(OP_MSG, requestID, responseTo, [NO_FLAGS, body])
  const flags = Buffer.alloc(5)
  flags.writeUInt32LE(flagBits, 0)
  return encodeFrame(OP_MSG, requestID, responseTo, [flags, body])
}

/** Parses a reply, OP_MSG or OP_REPLY, as a test's client does. Numbers keep their BSON types. */
export function readReply(frame: Frame): { document: Document; moreToCome: boolean } {
  if (frame.opCode === OP_MSG) {
    const { flagBits, body } = readMessage(frame)
    return { document: deserialize(body, EXACT), moreToCome: (flagBits & MORE_TO_COME) !== 0 }
  }
  if (frame.opCode !== OP_REPLY) throw malformed(`opcode ${frame.opCode}`)
  return { document: deserialize(frame.bytes.subarray(HEADER_LENGTH + REPLY_FIELDS), EXACT), moreToCome: false }
}

const NO_FLAGS = Buffer.alloc(5)
const EXACT = { promoteValues: false, promoteBuffers: false, promoteLongs: false }

function readSequence(bytes: Buffer): Sequence {
  const end = bytes.indexOf(0)
  if (end < 0) throw malformed('a sequence without an identifier')
  const documents: Buffer[] = []
  for (let at = end + 1; at < bytes.length; ) {
    const document = sizedAt(bytes, at, bytes.length)
    documents.push(document)
    at += document.length
  }
  return { identifier: bytes.toString('utf8', 0, end), documents }
}

/** The bytes from `at` whose length, itself included, is the int32 there. */
function sizedAt(bytes: Buffer, at: number, end: number): Buffer {
  const size = at + 5 > end ? 0 : bytes.readInt32LE(at)
  if (size < 5 || at + size > end) throw malformed('a size leaves the message')
  return bytes.subarray(at, at + size)
}

function malformed(message: string): SandboxError {
  return new SandboxError('malformedMessage', message)
}
