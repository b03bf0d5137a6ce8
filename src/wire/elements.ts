/**
 * The elements of a document one by one: judged as a whole, and each made into a value only when it is asked for. A command
 * before login has three or four that count, and whatever else a stranger puts in is not worth a value.
 */
import { isUtf8 } from 'node:buffer'
import { Binary, Int32 } from 'bson'
import { type Element, readDocument, readElements } from './document.js'

const [STRING, DOCUMENT, BINARY, BOOLEAN, INT32] = [2, 3, 5, 8, 16]
/** A binary value of this subtype has its length twice. */
const OLD_BINARY = 2

export class Elements {
  readonly #bytes: Buffer
  readonly #elements: Map<string, Element>

  /** Throws `message/malformed`, as `readDocument` does. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.#elements = readElements(bytes)
  }

  /** In the order as sent; a JavaScript object would list a key like "0" first. */
  names(): Iterable<string> {
    return this.#elements.keys()
  }

  has(name: string): boolean {
    return this.#elements.has(name)
  }

  /** The value of an element, with its BSON type; undefined where there is none. Throws `message/malformed`. */
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
    // A document of this element alone: else each of them would have the whole read again.
    const [, nameOffset] = element
    const alone = Buffer.alloc(4 + (at + length - (nameOffset - 1)) + 1)
    alone.writeInt32LE(alone.length, 0)
    bytes.copy(alone, 4, nameOffset - 1, at + length)
    return readDocument(alone, { exact: true })[name]
  }

  /** The bytes of an element that is a document; undefined where it is none. */
  getDocument(name: string): Buffer | undefined {
    const element = this.#elements.get(name)
    if (element?.[0] !== DOCUMENT) return undefined
    const [, , , at, length] = element
    return this.#bytes.subarray(at, at + length)
  }
}
