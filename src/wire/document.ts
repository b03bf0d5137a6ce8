/** Documents that we decide on: well-formed to the last byte, each key once (R3). */
import { BSON, type Document, deserialize } from 'bson'
import { Fault } from '../errors.js'

const EMBEDDED = new Set([3, 4])

/**
 * Reads a document. `exact: true` keeps the BSON type of each number (Int32, Double, Long) so that it can be written
 * again unchanged or its type be asked; otherwise numbers are numbers and binary values are `Binary`.
 * Throws `message/malformed`, also for a key that stands twice at any depth: the last one would win here and the first
 * one elsewhere.
 */
export function readDocument(bytes: Buffer, { exact = false } = {}): Document {
  try {
    refuseDuplicates(bytes, 0, 0)
    return deserialize(bytes, { promoteValues: !exact, promoteBuffers: false, promoteLongs: !exact })
  } catch (thrown) {
    if (thrown instanceof Fault) throw thrown
    throw new Fault('message/malformed', undefined, { why: 'not a BSON document' }, thrown)
  }
}

/** How deep a document may nest; the server's own limit is 200 with its parsers, and hello needs four. */
const DEPTH = 100

function refuseDuplicates(bytes: Uint8Array, start: number, depth: number): void {
  if (depth > DEPTH) throw new Fault('message/malformed', undefined, { why: 'nested too deep' })
  const seen = new Set<string>()
  for (const [type, nameOffset, nameLength, offset] of BSON.onDemand.parseToElements(bytes, start)) {
    const name = Buffer.from(bytes.buffer, bytes.byteOffset + nameOffset, nameLength).toString('latin1')
    if (seen.has(name)) throw new Fault('message/malformed', undefined, { why: 'a key stands twice' })
    seen.add(name)
    if (EMBEDDED.has(type)) refuseDuplicates(bytes, offset, depth + 1)
  }
}
