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
  readElements(bytes)
  try {
    return deserialize(bytes, exact ? EXACT : PLAIN)
  } catch (thrown) {
    throw malformed('not a BSON document', thrown)
  }
}

/** Its type, where its name is and how long, where its value is and how long. */
export type Element = typeof BSON.onDemand.BSONElement

/** The elements of a document that is all of these bytes, by name. Throws `message/malformed` for what is said above. */
export function readElements(bytes: Buffer): Map<string, Element> {
  try {
    if (bytes.readInt32LE(0) !== bytes.length) throw malformed('bytes behind a document')
    return elementsAt(bytes, 0, 0, { left: MOST })
  } catch (thrown) {
    throw thrown instanceof Fault ? thrown : malformed('not a BSON document', thrown)
  }
}

const EXACT = { promoteValues: false, promoteBuffers: false, promoteLongs: false }
const PLAIN = { promoteValues: true, promoteBuffers: false, promoteLongs: true }

/** How deep a document may nest; the server's own limit is 200 with its parsers, and hello needs four. */
const DEPTH = 100
/** How many elements a document may have at all depths: each costs a hundred times its bytes. hello needs a hundred. */
const MOST = 2_000

function elementsAt(bytes: Buffer, start: number, depth: number, room: { left: number }): Map<string, Element> {
  if (depth > DEPTH) throw malformed('nested too deep')
  const elements = new Map<string, Element>()
  for (const element of BSON.onDemand.parseToElements(bytes, start)) {
    if (--room.left < 0) throw malformed('too many elements')
    const [type, nameOffset, nameLength, offset] = element
    const name = bytes.toString('latin1', nameOffset, nameOffset + nameLength)
    if (elements.has(name)) throw malformed('a key stands twice')
    if (isReserved(name)) throw malformed(`a key is called ${name}`)
    if (type === CODE_WITH_SCOPE) throw malformed('code with a scope')
    elements.set(name, element)
    if (type === DOCUMENT || type === ARRAY) elementsAt(bytes, offset, depth + 1, room)
  }
  return elements
}

function malformed(why: string, cause?: unknown): Fault {
  return new Fault('message/malformed', undefined, { why }, cause)
}
