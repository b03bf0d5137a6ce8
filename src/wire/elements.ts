/**
 * A document that is validated as a whole and whose values are parsed on access. The proxy uses three or four fields of a
 * command before login, and does not spend CPU on other fields that an unauthenticated client may add.
 */
import { isUtf8 } from 'node:buffer'
import { Binary, Int32 } from 'bson'
import { type Element, readDocument, readElements } from './document.js'

/** BSON types, https://bsonspec.org/spec.html. */
const [STRING, DOCUMENT, BINARY, BOOLEAN, INT32] = [2, 3, 5, 8, 16]
/** Binary values of this subtype contain their length twice. */
const OLD_BINARY = 2

export class Elements {
  readonly #bytes: Buffer
  readonly #elements: Map<string, Element>

  /** Throws `message/malformed`, as `readDocument` does. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.#elements = readElements(bytes)
  }

  /** In the order of the document. A JavaScript object would list a key like "0" first. */
  names(): Iterable<string> {
    return this.#elements.keys()
  }

  has(name: string): boolean {
    return this.#elements.has(name)
  }

  /** The value of an element, with its BSON type; undefined if there is no such element. Throws `message/malformed`. */
  get(name: string): unknown {
    const element = this.#elements.get(name)
    if (!element) return undefined
    const [type, , , at, length] = element
    const bytes = this.#bytes
    if (type === STRING && bytes[at + length - 1] === 0) {
      const text = bytes.subarray(at + 4, at + length - 1)
      if (isUtf8(text)) return text.toString()
    }
    const subtype = bytes[at + 4] as number
    if (type === BINARY && subtype !== OLD_BINARY) return new Binary(bytes.subarray(at + 5, at + length), subtype)
    if (type === BOOLEAN) return bytes[at] === 1
    if (type === INT32) return new Int32(bytes.readInt32LE(at))
    // Parse a copy that has this element only: parsing the whole document once per element would be quadratic.
    const [, nameOffset] = element
    const single = Buffer.alloc(4 + (at + length - (nameOffset - 1)) + 1)
    single.writeInt32LE(single.length, 0)
    bytes.copy(single, 4, nameOffset - 1, at + length)
    return readDocument(single, { exact: true })[name]
  }

  /** The bytes of a document element; undefined if the element is missing or of another type. */
  getDocument(name: string): Buffer | undefined {
    const element = this.#elements.get(name)
    if (element?.[0] !== DOCUMENT) return undefined
    const [, , , at, length] = element
    return this.#bytes.subarray(at, at + length)
  }
}
