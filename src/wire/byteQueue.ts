/**
 * A queue of the bytes of a stream that wait to be read.
 *
 * Each chunk costs about 100 bytes of overhead, and the client decides how many chunks arrive. Small chunks are therefore
 * copied into 4 KiB blocks, so that the queue needs little more memory than its length.
 */

const NO_CHUNKS: Buffer[] = []
const EMPTY = Buffer.alloc(0)
/** The length of a block. Shorter chunks are copied into blocks. */
const BLOCK_BYTES = 4 * 1024

export class ByteQueue {
  #chunks: Buffer[] = NO_CHUNKS
  #free: Buffer = EMPTY // the unused part of the block that the last chunk is in
  length = 0

  push(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.length += bytes.length
    // The first chunk is not copied: usually it is the only one.
    if (this.#chunks.length === 0) this.#chunks = [bytes]
    else if (bytes.length >= BLOCK_BYTES) this.#append(bytes, EMPTY)
    else this.#copy(bytes)
  }

  /** The first chunk, joined with the following ones if it is shorter than `size`. The queue must have `size` bytes. */
  peek(size: number): Buffer {
    const [first] = this.#chunks
    if (first && first.length >= size) return first
    this.#free = EMPTY
    const joined = Buffer.concat(this.#chunks)
    this.#chunks = [joined]
    return joined
  }

  /** Removes and returns the first `length` bytes. */
  read(length: number): Buffer {
    if (length === 0) return EMPTY
    const first = this.peek(length)
    const rest = first.subarray(length)
    this.length -= length
    if (rest.length > 0) this.#chunks[0] = rest
    else this.#chunks.shift()
    if (this.#chunks.length === 0) {
      this.#chunks = NO_CHUNKS
      this.#free = EMPTY
    }
    return first.subarray(0, length)
  }

  #copy(bytes: Buffer): void {
    if (bytes.length > this.#free.length) {
      const block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      bytes.copy(block)
      return void this.#append(block.subarray(0, bytes.length), block.subarray(bytes.length))
    }
    bytes.copy(this.#free)
    const last = this.#chunks.at(-1) as Buffer
    this.#chunks[this.#chunks.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length)
    this.#free = this.#free.subarray(bytes.length)
  }

  #append(chunk: Buffer, free: Buffer): void {
    this.#chunks.push(chunk)
    this.#free = free
  }
}
