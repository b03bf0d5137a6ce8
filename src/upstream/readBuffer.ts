/**
 * The memory that an upstream socket is read into. It is used again for the next read: Node's streams allocate 64 KiB per
 * read, and collecting them costs more CPU than forwarding large replies.
 *
 *     read ─▶ are earlier chunks retained?
 *               ├ no ─▶ pass on the chunk ─▶ is it retained?
 *               │                              ├ no ─▶ read into the same buffer again
 *               │                              └ yes ─▶ read into another buffer until nothing is retained
 *               └ yes ─▶ pass on a copy, read into the same buffer again
 *
 * The buffer is large while many bytes are expected and small otherwise, because idle connections keep theirs.
 */
import type { OnReadOpts } from 'node:net'

/** Receives what the socket reads. */
export type ChunkConsumer = {
  /** The chunk is overwritten as soon as `retainsChunks` is false. */
  onChunk(chunk: Buffer): void
  /** True while any earlier chunk is still needed. */
  retainsChunks(): boolean
  /** The number of bytes that are certain to come. */
  expectedBytes(): number
}

/** Most replies of one document fit. */
const SMALL_BYTES = 4 * 1024
/** The most that Node reads at once. */
const LARGE_BYTES = 64 * 1024
/** Spare buffers of each size, shared by all sockets. */
const MAX_SPARE_BUFFERS = 16
const spareBuffers = new Map<number, Buffer[]>([
  [SMALL_BYTES, []],
  [LARGE_BYTES, []],
])

/** Belongs to one socket, which is created with `onread`. Pause the socket while there is no consumer: its bytes are lost. */
export class ReadBuffer {
  #consumer: ChunkConsumer | undefined
  #buffer: Buffer | undefined
  /** Not reused before the consumer retains nothing. */
  #retained: Buffer | undefined

  readonly onread: OnReadOpts = {
    buffer: () => this.#getBuffer(),
    callback: length => {
      if (this.#consumer) this.#deliver(this.#consumer, (this.#buffer as Buffer).subarray(0, length))
      return true
    },
  }

  /** Replaces the consumer. */
  setConsumer(consumer: ChunkConsumer): void {
    this.#consumer = consumer
  }

  #deliver(consumer: ChunkConsumer, chunk: Buffer): void {
    if (consumer.retainsChunks()) consumer.onChunk(Buffer.from(chunk))
    else {
      if (this.#retained) recycle(this.#retained)
      this.#retained = undefined
      consumer.onChunk(chunk)
      if (consumer.retainsChunks()) {
        this.#retained = this.#buffer
        this.#buffer = undefined
      }
    }
    // An idle connection would never return its large buffer, so leave that one to the garbage collector.
    if (this.#retained?.length === LARGE_BYTES && consumer.expectedBytes() === 0) this.#retained = undefined
  }

  #getBuffer(): Buffer {
    const size = this.#consumer && this.#consumer.expectedBytes() > SMALL_BYTES ? LARGE_BYTES : SMALL_BYTES
    if (this.#buffer?.length === size) return this.#buffer
    if (this.#buffer) recycle(this.#buffer)
    this.#buffer = spareBuffers.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size)
    return this.#buffer
  }
}

function recycle(buffer: Buffer): void {
  const spare = spareBuffers.get(buffer.length)
  if (spare && spare.length < MAX_SPARE_BUFFERS) spare.push(buffer)
}
