/** Open cursors: the rest of a result, and its owner. Any connection of the same user can continue a cursor. */
import { CommandError } from './commandError.js'
import type { Entry } from './store.js'

/** A snapshot of a result. `render` encodes an entry when it is sent. */
export type CursorSource = {
  entries: readonly (Entry | Uint8Array)[]
  render?: ((entry: Entry) => Uint8Array) | undefined
}

export type Cursor = CursorSource & {
  id: bigint
  ns: string
  owner: string
  at: number
  batchSize: number | undefined
  used: number
}

/** The size limit of a batch. A single larger document is a batch of its own. */
const BATCH_BYTES = 16 * 1024 * 1024 - 16 * 1024
/** Idle cursors are dropped after ten minutes. */
const IDLE_MS = 10 * 60_000

export class Cursors {
  readonly open = new Map<bigint, Cursor>()
  readonly #random: (size: number) => Buffer
  readonly #now: () => number

  constructor(random: (size: number) => Buffer, now: () => number) {
    this.#random = random
    this.#now = now
  }

  /** A new cursor, which is not registered yet. A batch size of 0 applies to the first batch only. */
  begin(result: CursorSource, ns: string, owner: string, batchSize?: number): Cursor {
    const { entries, render } = result
    return { entries, render, id: 0n, ns, owner, at: 0, batchSize: batchSize || undefined, used: 0 }
  }

  /** The next documents, at most `size`. The cursor is registered until it is exhausted. */
  next(cursor: Cursor, size = cursor.batchSize ?? Number.POSITIVE_INFINITY, keep = true): Uint8Array[] {
    const batch: Uint8Array[] = []
    let bytes = 0
    while (batch.length < size && cursor.at < cursor.entries.length) {
      const entry = cursor.entries[cursor.at] as Entry | Uint8Array
      const document = entry instanceof Uint8Array ? entry : cursor.render ? cursor.render(entry) : entry.bytes
      if (bytes > 0 && bytes + document.length > BATCH_BYTES) break
      bytes += document.length
      batch.push(document)
      cursor.at++
    }
    if (cursor.at >= cursor.entries.length || !keep) {
      this.open.delete(cursor.id)
      cursor.id = 0n
    } else {
      this.#keep(cursor)
    }
    return batch
  }

  /** Throws CursorNotFound, and Unauthorized for the cursor of another user. */
  find(id: bigint, owner: string): Cursor {
    const cursor = this.open.get(id)
    if (!cursor) throw new CommandError('CursorNotFound', `cursor id ${id} not found`)
    if (cursor.owner !== owner) {
      throw new CommandError('Unauthorized', `cursor id ${id} was not created by the authenticated user`)
    }
    return cursor
  }

  #keep(cursor: Cursor): void {
    cursor.used = this.#now()
    if (cursor.id !== 0n) return
    for (const [id, { used }] of this.open) if (cursor.used - used > IDLE_MS) this.open.delete(id)
    do {
      cursor.id = this.#random(8).readBigInt64LE() & 0x7fff_ffff_ffff_ffffn
    } while (cursor.id === 0n || this.open.has(cursor.id))
    this.open.set(cursor.id, cursor)
  }
}
