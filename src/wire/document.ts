/**
 * Parses the documents that the proxy bases decisions on. They must be well-formed to the last byte, without duplicate keys.
 */
import { BSON, type Document, deserialize } from 'bson'
import { Fault } from '../errors.js'

/** BSON types, https://bsonspec.org/spec.html. */
const [DOCUMENT, ARRAY] = [3, 4]
/** Its scope is another document. No document that the proxy bases decisions on contains one. */
const CODE_WITH_SCOPE = 15
/** With these keys the BSON library takes a document for a value of its own: it throws, or calls methods of the document. */
const isReserved = (name: string): boolean => name === '_bsontype' || name === '__isLong__'

/**
 * Parses a document. `exact: true` keeps the BSON type of numbers (Int32, Double, Long), so that they can be checked or
 * written unchanged; otherwise they become JavaScript numbers. Binary values are always `Binary`.
 * Throws `message/malformed`, also for duplicate keys at any depth (parsers differ in which one they use), and for values
 * that the BSON library cannot write again.
 */
export function readDocument(bytes: Buffer, { exact = false } = {}): Document {
  readElements(bytes)
  try {
    return deserialize(bytes, exact ? EXACT : PLAIN)
  } catch (thrown) {
    throw malformed('not a BSON document', thrown)
  }
}

/** BSON type, offset and length of the name, offset and length of the value. */
export type Element = typeof BSON.onDemand.BSONElement

/** The elements of a document that consists of exactly these bytes, by name. Throws as `readDocument` does. */
export function readElements(bytes: Buffer): Map<string, Element> {
  try {
    if (bytes.readInt32LE(0) !== bytes.length) throw malformed('bytes after a document')
    return elementsAt(bytes, 0, 0, { left: MAX_ELEMENTS })
  } catch (thrown) {
    throw thrown instanceof Fault ? thrown : malformed('not a BSON document', thrown)
  }
}

const EXACT = { promoteValues: false, promoteBuffers: false, promoteLongs: false }
const PLAIN = { promoteValues: true, promoteBuffers: false, promoteLongs: true }

/** The maximum nesting. The limit of the server is 200; hello has four levels. */
const MAX_DEPTH = 100
/** The maximum number of elements at all levels. Each costs a hundred times its bytes in memory. hello has a hundred. */
const MAX_ELEMENTS = 2_000

function elementsAt(bytes: Buffer, start: number, depth: number, budget: { left: number }): Map<string, Element> {
  if (depth > MAX_DEPTH) throw malformed('too deeply nested')
  const elements = new Map<string, Element>()
  for (const element of BSON.onDemand.parseToElements(bytes, start)) {
    if (--budget.left < 0) throw malformed('too many elements')
    const [type, nameOffset, nameLength, offset] = element
    const name = bytes.toString('latin1', nameOffset, nameOffset + nameLength)
    if (elements.has(name)) throw malformed('a duplicate key')
    if (isReserved(name)) throw malformed(`the reserved key ${name}`)
    if (type === CODE_WITH_SCOPE) throw malformed('code with scope')
    elements.set(name, element)
    if (type === DOCUMENT || type === ARRAY) elementsAt(bytes, offset, depth + 1, budget)
  }
  return elements
}

function malformed(why: string, cause?: unknown): Fault {
  return new Fault('message/malformed', undefined, { why }, cause)
}
