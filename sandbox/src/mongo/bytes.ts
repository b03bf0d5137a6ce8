/**
 * Documents as bytes. The store keeps the bytes that were sent, and cursor replies are assembled without parsing them.
 *
 *     document   int32 size | element … | 00
 *     element    type | cstring name | value
 */
import { Binary, BSON, type Document, deserialize, type ObjectId } from 'bson'
import { toIndexKey } from './order.js'

const exact = { promoteValues: false, promoteLongs: false, promoteBuffers: false, bsonRegExp: true } as const

/** Parses a document. Numbers keep their BSON types. `raw`: fields whose documents stay bytes. */
export function readDocument(bytes: Uint8Array, raw?: Record<string, boolean>): Document {
  return raw ? deserialize(bytes, { ...exact, fieldsAsRaw: raw }) : deserialize(bytes, exact)
}

/** Moves `_id` to the front, and returns its index key. `fresh` creates a missing `_id`. */
export function withId(bytes: Buffer, fresh: () => ObjectId): { bytes: Buffer; key: string; id: () => unknown } {
  // Fast path: every driver sends an ObjectId as the first field.
  if (bytes.length > 22 && bytes.toString('latin1', 4, 9) === '\x07_id\0') {
    return { bytes: Buffer.from(bytes), key: `o${bytes.toString('hex', 9, 21)}`, id: () => readDocument(bytes)._id }
  }
  const elements = BSON.onDemand.parseToElements(bytes) as unknown as Iterable<
    [type: number, name: number, nameLength: number, value: number, length: number]
  >
  let before = 4
  for (const [, name, nameLength, value, length] of elements) {
    const end = value + length
    if (nameLength === 3 && bytes[name] === 0x5f && bytes[name + 1] === 0x69 && bytes[name + 2] === 0x64) {
      const ordered =
        before === 4
          ? Buffer.from(bytes)
          : Buffer.concat([
              bytes.subarray(0, 4),
              bytes.subarray(before, end),
              bytes.subarray(4, before),
              bytes.subarray(end),
            ])
      const { _id } = readDocument(ordered)
      return { bytes: ordered, key: toIndexKey(_id), id: () => _id }
    }
    before = end
  }
  const id = fresh()
  const longer = Buffer.allocUnsafe(bytes.length + 17)
  longer.writeInt32LE(longer.length, 0)
  longer.write('\x07_id\0', 4, 'latin1')
  longer.set(id.id, 9)
  longer.set(bytes.subarray(4), 21)
  return { bytes: longer, key: `o${id.toHexString()}`, id: () => id }
}

/** A UUID of version 4. */
export function createUuid(random: (size: number) => Buffer): Binary {
  const bytes = random(16)
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  return new Binary(bytes, Binary.SUBTYPE_UUID)
}

/** Encodes `{cursor: {firstBatch | nextBatch: […], id, ns}, ok: 1}` around encoded documents. */
export function encodeCursorReply(
  field: 'firstBatch' | 'nextBatch',
  documents: readonly Uint8Array[],
  id: bigint,
  ns: string,
): Buffer {
  let list = 5
  for (let at = 0; at < documents.length; at++) list += 2 + digits(at) + (documents[at] as Uint8Array).length
  const nsBytes = Buffer.byteLength(ns) + 1
  const cursor = 4 + 1 + field.length + 1 + list + 1 + 3 + 8 + 1 + 3 + 4 + nsBytes + 1
  const reply = Buffer.allocUnsafe(4 + 1 + 7 + cursor + 1 + 3 + 8 + 1)
  let at = reply.writeInt32LE(reply.length, 0)
  at += reply.write('\x03cursor\0', at, 'latin1')
  at = reply.writeInt32LE(cursor, at)
  at += reply.write(`\x04${field}\0`, at, 'latin1')
  at = reply.writeInt32LE(list, at)
  for (let index = 0; index < documents.length; index++) {
    const document = documents[index] as Uint8Array
    at += reply.write(`\x03${index}\0`, at, 'latin1')
    reply.set(document, at)
    at += document.length
  }
  reply[at++] = 0
  at += reply.write('\x12id\0', at, 'latin1')
  at = reply.writeBigInt64LE(id, at)
  at += reply.write('\x02ns\0', at, 'latin1')
  at = reply.writeInt32LE(nsBytes, at)
  at += reply.write(`${ns}\0`, at)
  reply[at++] = 0
  at += reply.write('\x01ok\0', at, 'latin1')
  at = reply.writeDoubleLE(1, at)
  reply[at] = 0
  return reply
}

function digits(number: number): number {
  let count = 1
  for (let rest = number; rest >= 10; rest = Math.trunc(rest / 10)) count++
  return count
}
