/**
 * How the bytes of an upstream are read: into memory that is used again. Node's streams make 64 KiB for each read, and
 * to collect what large replies leave behind costs more than to pass them on.
 *
 *     read ─▶ taken ─▶ still held? ── yes ─▶ other memory for the next read
 *                        └─ no ─▶ the same; a large one while much is sure to come, else a small one, since idle
 *                                 connections keep theirs
 */
import type { OnReadOpts } from 'node:net'

/** Whoever gets what is read. */
export type Reader = {
  /** Takes what came. It is overwritten by what comes next. */
  take(bytes: Buffer): void
  /** Whether what was taken last is still needed, and must not be overwritten. */
  holds(): boolean
  /** Bytes that are sure to come. */
  awaits(): number
}

/** Replies of one document fit, mostly. */
const SMALL = 4 * 1024
/** What a read takes at most, as node has it. */
const LARGE = 64 * 1024
/** Large ones that are kept for the next who has a use for it. */
const MOST = 16
const spare: Buffer[] = []

/** For one socket, made with its `onread`. What comes while there is no reader is lost, so let it be paused. */
export class Intake {
  #reader: Reader | undefined
  #memory: Buffer | undefined

  readonly onread: OnReadOpts = {
    buffer: () => this.#next(),
    callback: (length, bytes) => {
      this.#reader?.take(bytes.subarray(0, length) as Buffer)
      return true
    },
  }

  /** From now on all of it goes to this one. */
  to(reader: Reader): void {
    this.#reader = reader
  }

  #next(): Buffer {
    const size = this.#reader && this.#reader.awaits() > SMALL ? LARGE : SMALL
    const last = this.#memory
    if (last && !this.#reader?.holds()) {
      if (last.length === size) return last
      if (last.length === LARGE && spare.length < MOST) spare.push(last)
    }
    this.#memory = (size === LARGE ? spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(size)
    return this.#memory
  }
}
