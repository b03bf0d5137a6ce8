/**
 * Reads and writes the commands and replies in frames.
 *
 *     OP_MSG    header | uint32 flagBits | section … | [uint32 CRC-32C]
 *       section 0: 00 | document                                     the body, exactly one
 *       section 1: 01 | int32 size | cstring identifier | document … size includes itself, not the kind
 *     OP_QUERY  header | int32 flags | cstring "db.$cmd" | int32 skip | int32 return | document [| document]
 *     OP_REPLY  header | int32 flags | int64 cursorID | int32 startingFrom | int32 numberReturned | document
 *
 * https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md
 */
import { type Document, serialize } from 'bson'
import { Fault } from '../errors.js'
import { crc32c } from './crc32c.js'
import { readDocument } from './document.js'
import { Elements } from './elements.js'
import {
  type Frame,
  HEADER_BYTES,
  OP_COMPRESSED,
  OP_MSG,
  OP_QUERY,
  OP_REPLY,
  writeFrame,
  writeHeader,
} from './frame.js'

export const CHECKSUM_PRESENT = 1 << 0
export const MORE_TO_COME = 1 << 1
export const EXHAUST_ALLOWED = 1 << 16
/** The offset of the document in a message that has a body only, after the flag bits and the section kind. */
const BODY_OFFSET = HEADER_BYTES + 5
/** A receiver must reject unknown flags among bits 0–15. Only bits 0 and 1 are defined. */
const UNKNOWN_REQUIRED = 0xffff & ~(CHECKSUM_PRESENT | MORE_TO_COME)

export type Sequence = { identifier: string; documents: Buffer[] }

/** The sections of an OP_MSG. Their documents are not parsed. */
export type Message = { flagBits: number; body: Buffer; sequences: Sequence[] }

/** A request, OP_MSG or OP_QUERY. `bytes` is its body as it was sent, `elements` the same body by name. */
export type Command = {
  requestID: number
  opCode: typeof OP_MSG | typeof OP_QUERY
  flagBits: number
  name: string
  db: string
  elements: Elements
  bytes: Buffer
}

/** Reads the request of a client. Throws `frame/opcode`, `message/compressed`, `message/malformed`. */
export function readCommand(from: Frame): Command {
  const { requestID, opCode } = from
  if (opCode === OP_MSG) {
    const { flagBits, body: bytes } = readMessage(from)
    const elements = new Elements(bytes)
    const db = elements.get('$db')
    if (typeof db !== 'string') throw malformed('$db is missing')
    return { requestID, opCode, flagBits, name: commandName(elements), db, elements, bytes }
  }
  if (opCode === OP_QUERY) return readQuery(from)
  if (opCode === OP_COMPRESSED) throw new Fault('message/compressed')
  throw new Fault('frame/opcode', undefined, { opCode })
}

/**
 * Reads the reply of a server, OP_MSG or OP_REPLY. `exact`: as in `readDocument`. Throws `frame/opcode` and
 * `message/malformed`.
 */
export function readReply(from: Frame, options?: { exact: boolean }): { document: Document; moreToCome: boolean } {
  if (from.opCode === OP_MSG) {
    const { flagBits, body } = readMessage(from)
    return { document: readDocument(body, options), moreToCome: (flagBits & MORE_TO_COME) !== 0 }
  }
  if (from.opCode === OP_REPLY && from.bytes.length > HEADER_BYTES + 20) {
    return { document: readDocument(from.bytes.subarray(HEADER_BYTES + 20), options), moreToCome: false }
  }
  throw new Fault('frame/opcode', undefined, { opCode: from.opCode })
}

/** Splits an OP_MSG into its sections, in any order, and verifies its checksum. Throws `message/malformed`. */
export function readMessage({ bytes }: Frame): Message {
  if (bytes.length < HEADER_BYTES + 4) throw malformed('no flag bits')
  const flagBits = bytes.readUInt32LE(HEADER_BYTES)
  if (flagBits & UNKNOWN_REQUIRED) throw malformed('unknown flag bits')
  let end = bytes.length
  if (flagBits & CHECKSUM_PRESENT) {
    end -= 4
    if (end < HEADER_BYTES + 4 || crc32c(bytes.subarray(0, end)) !== bytes.readUInt32LE(end))
      throw malformed('wrong checksum')
  }
  let body: Buffer | undefined
  const sequences: Sequence[] = []
  for (let at = HEADER_BYTES + 4; at < end; ) {
    const kind = bytes[at++]
    const size = readSize(bytes, at, end)
    if (kind === 0) {
      if (body) throw malformed('two bodies')
      body = bytes.subarray(at, at + size)
    } else if (kind === 1) {
      sequences.push(readSequence(bytes.subarray(at + 4, at + size)))
    } else {
      throw malformed('unknown section kind')
    }
    at += size
  }
  if (!body) throw malformed('no body')
  return { flagBits, body, sequences }
}

/** Builds the reply to a command, OP_REPLY for an OP_QUERY. `requestID` is the id of the reply. */
export function writeReply(to: Pick<Command, 'opCode' | 'requestID'>, document: Document, requestID: number): Buffer {
  if (to.opCode === OP_MSG) return writeMessage(document, requestID, to.requestID)
  const fields = Buffer.alloc(20)
  fields.writeInt32LE(8, 0) // AwaitCapable, as every server since 1.6 sets it
  fields.writeInt32LE(1, 16)
  return writeFrame(OP_REPLY, requestID, to.requestID, [fields, serialize(document)])
}

/** Builds an OP_MSG with a body section only. */
export function writeMessage(document: Document, requestID: number, responseTo = 0, flagBits = 0): Buffer {
  const body = serialize(document)
  const bytes = Buffer.allocUnsafe(BODY_OFFSET + body.length)
  writeHeader(bytes, OP_MSG, requestID, responseTo)
  bytes.writeUInt32LE(flagBits, HEADER_BYTES)
  bytes[BODY_OFFSET - 1] = 0
  bytes.set(body, BODY_OFFSET)
  return bytes
}

function readQuery({ requestID, bytes }: Frame): Command {
  const nul = bytes.indexOf(0, HEADER_BYTES + 4)
  if (nul < 0 || nul + 9 > bytes.length) throw malformed('no namespace')
  const namespace = bytes.toString('utf8', HEADER_BYTES + 4, nul)
  if (!namespace.endsWith('.$cmd')) throw new Fault('frame/opcode', undefined, { why: 'OP_QUERY on a collection' })
  const at = nul + 9
  const sent = bytes.subarray(at, at + readSize(bytes, at, bytes.length))
  const outer = new Elements(sent)
  const first = commandName(outer)
  const wrapped = first === '$query' || first === 'query' ? outer.getDocument(first) : undefined
  const elements = wrapped ? new Elements(wrapped) : outer
  return {
    requestID,
    opCode: OP_QUERY,
    flagBits: 0,
    name: commandName(elements),
    db: namespace.slice(0, -'.$cmd'.length),
    elements,
    bytes: wrapped ?? sent,
  }
}

function readSequence(bytes: Buffer): Sequence {
  const nul = bytes.indexOf(0)
  if (nul < 0) throw malformed('a document sequence without an identifier')
  const documents: Buffer[] = []
  for (let at = nul + 1; at < bytes.length; ) {
    const size = readSize(bytes, at, bytes.length)
    documents.push(bytes.subarray(at, at + size))
    at += size
  }
  return { identifier: bytes.toString('utf8', 0, nul), documents }
}

/** The size of the document or sequence at `at`, which must end at or before `end`. */
function readSize(bytes: Buffer, at: number, end: number): number {
  if (at + 5 > end) throw malformed('a truncated section')
  const size = bytes.readInt32LE(at)
  if (size < 5 || at + size > end) throw malformed('a section exceeds its frame')
  return size
}

/** The command name is the first key of the document. */
function commandName(elements: Elements): string {
  for (const name of elements.names()) return name
  throw malformed('an empty command')
}

function malformed(why: string): Fault {
  return new Fault('message/malformed', undefined, { why })
}
