/**
 * Bytes of a stream that wait to be taken, in the pieces in which they came.
 *
 * A piece costs some hundred bytes besides its own, and a stranger decides how many there are. So small ones are copied
 * together, and what waits takes little more room than it is long.
 */

const NONE: Buffer[] = []
const EMPTY = Buffer.alloc(0)
/** What is shorter is copied, into blocks of this length. */
const BLOCK = 4 * 1024

export class ByteQueue {
  #all: Buffer[] = NONE
  #room: Buffer = EMPTY // what is free of the block in which the last piece lies
  length = 0

  push(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.length += bytes.length
    // The first one stays as it is: most often it is all there is.
    if (this.#all.length === 0) this.#all = [bytes]
    else if (bytes.length >= BLOCK) this.#put(bytes, EMPTY)
    else this.#copy(bytes)
  }

  /** The first piece, made at least `size` bytes long; there have to be as many. */
  peek(size: number): Buffer {
    const [first] = this.#all
    if (first && first.length >= size) return first
    this.#room = EMPTY
    const all = Buffer.concat(this.#all)
    this.#all = [all]
    return all
  }

  /** The first `length` bytes, which wait no more. */
  read(length: number): Buffer {
    if (length === 0) return EMPTY
    const first = this.peek(length)
    const left = first.subarray(length)
    this.length -= length
    if (left.length > 0) this.#all[0] = left
    else this.#all.shift()
    if (this.#all.length === 0) {
      this.#all = NONE
      this.#room = EMPTY
    }
    return first.subarray(0, length)
  }

  #copy(bytes: Buffer): void {
    if (bytes.length > this.#room.length) {
      const block = Buffer.allocUnsafeSlow(BLOCK)
      bytes.copy(block)
      return void this.#put(block.subarray(0, bytes.length), block.subarray(bytes.length))
    }
    bytes.copy(this.#room)
    const last = this.#all.at(-1) as Buffer
    this.#all[this.#all.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length)
    this.#room = this.#room.subarray(bytes.length)
  }

  #put(piece: Buffer, room: Buffer): void {
    this.#all.push(piece)
    this.#room = room
  }
}
