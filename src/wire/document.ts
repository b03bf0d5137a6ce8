/** Documents that we decide on: well-formed to the last byte, each key once (R3). */
import { BSON, type Document, deserialize } from 'bson'
import { Fault } from '../errors.js'

const [DOCUMENT, ARRAY] = [3, 4]
/** Its scope is a document as well, and nothing that we decide on has any. */
const CODE_WITH_SCOPE = 15
/** By these keys the library tells values of its own from documents: it throws, or asks them for methods. */
const isReserved = (name: string): boolean => name === '_bsontype' || name === '__isLong__'

/**
 * Reads a document. `exact: true` keeps the BSON type of each number (Int32, Double, Long) so that it can be written
 * again unchanged or its type be asked; otherwise numbers are numbers and binary values are `Binary`.
 * Throws `message/malformed`, also for a key that stands twice at any depth: the last one would win here and the first
 * one elsewhere; and for what the library could not write again.
 */
export function readDocument(bytes: Buffer, { exact = false } = {}): Document {
  try {
    judgeKeys(bytes, 0, 0)
    return deserialize(bytes, exact ? EXACT : PLAIN)
  } catch (thrown) {
    if (thrown instanceof Fault) throw thrown
    throw new Fault('message/malformed', undefined, { why: 'not a BSON document' }, thrown)
  }
}

/** A document within one that was read before, with its BSON types and its bytes; undefined where there is none. */
export function readEmbedded(within: Buffer, name: string): { document: Document; bytes: Buffer } | undefined {
  for (const [type, nameOffset, nameLength, offset, length] of BSON.onDemand.parseToElements(within, 0)) {
    if (type !== DOCUMENT || within.toString('latin1', nameOffset, nameOffset + nameLength) !== name) continue
    const bytes = within.subarray(offset, offset + length)
    return { bytes, document: deserialize(bytes, EXACT) }
  }
  return undefined
}

const EXACT = { promoteValues: false, promoteBuffers: false, promoteLongs: false }
const PLAIN = { promoteValues: true, promoteBuffers: false, promoteLongs: true }

/** How deep a document may nest; the server's own limit is 200 with its parsers, and hello needs four. */
const DEPTH = 100

function judgeKeys(bytes: Buffer, start: number, depth: number): void {
  if (depth > DEPTH) throw new Fault('message/malformed', undefined, { why: 'nested too deep' })
  const seen = new Set<string>()
  for (const [type, nameOffset, nameLength, offset] of BSON.onDemand.parseToElements(bytes, start)) {
    const name = bytes.toString('latin1', nameOffset, nameOffset + nameLength)
    if (seen.has(name)) throw new Fault('message/malformed', undefined, { why: 'a key stands twice' })
    if (isReserved(name)) throw new Fault('message/malformed', undefined, { why: `a key is called ${name}` })
    if (type === CODE_WITH_SCOPE) throw new Fault('message/malformed', undefined, { why: 'code with a scope' })
    seen.add(name)
    if (type === DOCUMENT || type === ARRAY) judgeKeys(bytes, offset, depth + 1)
  }
}
