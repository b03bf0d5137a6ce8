/**
 * The lines before one host, and which of them is next for one of its calls.
 *
 *     lines where a known one waits    ┐ of 16 calls 12
 *     lines where a plain one does     │              3     within a lane, lines take turns
 *     lines of suspects                ┘              1
 *
 * A line is an account, and strangers make up as many of those as they like: if all lines were alike, a thousand of
 * them would leave an honest account a thousandth of the calls.
 */
import type { AccountQueue } from './accountQueue.js'
import { type Priority, priorityOrder, type QueueEntry } from './fairQueue.js'

export type Lanes<W extends QueueEntry> = {
  readonly size: number
  of(bucket: string): AccountQueue<W> | undefined
  all(): AccountQueue<W>[]
  /** Who waits in this line has changed. One that was `served` goes behind the others. */
  settle(line: AccountQueue<W>, served?: boolean): void
  /** The lines in turn, each as often as it is funded; undefined once none is. */
  round(isFunded: (line: AccountQueue<W>) => boolean): () => AccountQueue<W> | undefined
}

export function lanes<W extends QueueEntry>(): Lanes<W> {
  const known = new Map<string, AccountQueue<W>>()
  const plain = new Map<string, AccountQueue<W>>()
  const suspect = new Map<string, AccountQueue<W>>()
  const lanes: Record<Priority, Map<string, AccountQueue<W>>> = { known, plain, suspect }
  const every = [known, plain, suspect]
  let turn = 0

  const begun = () => ({ known: known.values(), plain: plain.values(), suspect: suspect.values() })
  return {
    get size() {
      return known.size + plain.size + suspect.size
    },
    of: bucket => known.get(bucket) ?? plain.get(bucket) ?? suspect.get(bucket),
    all: () => every.flatMap(lane => [...lane.values()]),
    settle(line, served = false) {
      const { bucket, queue } = line
      const lane = queue.bestPriority && lanes[queue.bestPriority]
      for (const one of every) if (served || one !== lane) one.delete(bucket)
      lane?.set(bucket, line)
    },
    round(isFunded) {
      let lines = begun()
      let found = false
      const nextOf = (priority: Priority): AccountQueue<W> | undefined => {
        // One that is settled behind the others meanwhile is met again.
        for (let at = lines[priority].next(); !at.done; at = lines[priority].next()) {
          if (isFunded(at.value)) return at.value
        }
        return undefined
      }
      const next = (): AccountQueue<W> | undefined => {
        for (const priority of priorityOrder(turn)) {
          const line = nextOf(priority)
          if (!line) continue
          turn++
          found = true
          return line
        }
        if (!found) return undefined
        // One that was served may be in another lane now, of which the end was reached already.
        lines = begun()
        found = false
        return next()
      }
      return next
    },
  }
}
