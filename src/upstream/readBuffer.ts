/**
 * How the bytes of an upstream are read: into memory that is used again. Node's streams make 64 KiB for each read, and
 * to collect what large replies leave behind costs more than to pass them on.
 *
 *     read ─▶ held back? ─ no ─▶ taken ─▶ held now? ─ no ─▶ read into it again
 *               └ yes ─▶ a copy is taken     └ yes ─▶ lent, until nothing is held; meanwhile other memory is read into
 *
 * The memory is large while much is sure to come, else small, since idle connections keep theirs.
 */
import type { OnReadOpts } from 'node:net'

/** Whoever gets what is read. */
export type ChunkConsumer = {
  /** Takes what came. It is overwritten once nothing is held. */
  onChunk(bytes: Buffer): void
  /** Whether anything that was taken is still needed. */
  retainsChunks(): boolean
  /** Bytes that are sure to come. */
  expectedBytes(): number
}

/** Replies of one document fit, mostly. */
const SMALL = 4 * 1024
/** What a read takes at most, as node has it. */
const LARGE = 64 * 1024
/** So many of a size are kept for the next who has a use for them. */
const MOST = 16
const spare = new Map<number, Buffer[]>([
  [SMALL, []],
  [LARGE, []],
])

/** For one socket, made with its `onread`. What comes while there is no reader is lost, so let it be paused. */
export class ReadBuffer {
  #reader: ChunkConsumer | undefined
  #memory: Buffer | undefined
  #lent: Buffer | undefined

  readonly onread: OnReadOpts = {
    buffer: () => this.#next(),
    callback: length => {
      if (this.#reader) this.#give(this.#reader, (this.#memory as Buffer).subarray(0, length))
      return true
    },
  }

  /** From now on all of it goes to this one. */
  setConsumer(reader: ChunkConsumer): void {
    this.#reader = reader
  }

  #give(reader: ChunkConsumer, bytes: Buffer): void {
    if (reader.retainsChunks()) reader.onChunk(Buffer.from(bytes))
    else {
      if (this.#lent) giveBack(this.#lent)
      this.#lent = undefined
      reader.onChunk(bytes)
      if (reader.retainsChunks()) {
        this.#lent = this.#memory
        this.#memory = undefined
      }
    }
    // Who lies idle from now on would give nothing back, so what is large is left to the collector.
    if (this.#lent?.length === LARGE && reader.expectedBytes() === 0) this.#lent = undefined
  }

  #next(): Buffer {
    const size = this.#reader && this.#reader.expectedBytes() > SMALL ? LARGE : SMALL
    if (this.#memory?.length === size) return this.#memory
    if (this.#memory) giveBack(this.#memory)
    this.#memory = spare.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size)
    return this.#memory
  }
}

function giveBack(memory: Buffer): void {
  const there = spare.get(memory.length)
  if (there && there.length < MOST) there.push(memory)
}
