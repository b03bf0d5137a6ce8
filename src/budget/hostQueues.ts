/**
 * The account queues of one STS host, and which of them receives the next call to that host.
 *
 *     queues with a known login           ┐ of 16 calls 12
 *     queues with a normal login          │              3     round-robin within a priority
 *     queues with suspect logins alone    ┘              1
 *
 * Anyone can make up key ids of any number of accounts. Plain round-robin over all accounts would let a thousand made-up
 * accounts reduce a real account to a thousandth of the calls.
 */
import type { AccountQueue } from './accountQueue.js'
import { type Priority, priorityOrder, type QueueEntry } from './fairQueue.js'

type Queues<W extends QueueEntry> = Map<string, AccountQueue<W>>

export class HostQueues<W extends QueueEntry> {
  /** By bucket, in the order of service. A queue is in the map of its best waiter, and in none while it is empty. */
  readonly #byPriority: Readonly<Record<Priority, Queues<W>>> = {
    known: new Map(),
    normal: new Map(),
    suspect: new Map(),
  }
  readonly #maps = Object.values(this.#byPriority)
  #slot = 0

  /** The number of queues that have waiters. */
  get size(): number {
    const { known, normal, suspect } = this.#byPriority
    return known.size + normal.size + suspect.size
  }

  get(bucket: string): AccountQueue<W> | undefined {
    const { known, normal, suspect } = this.#byPriority
    return known.get(bucket) ?? normal.get(bucket) ?? suspect.get(bucket)
  }

  all(): AccountQueue<W>[] {
    return this.#maps.flatMap(queues => [...queues.values()])
  }

  /** Call this after the waiters of a queue have changed. */
  update(queue: AccountQueue<W>): void {
    const own = this.#mapFor(queue)
    for (const queues of this.#maps) if (queues !== own) queues.delete(queue.bucket)
    own?.set(queue.bucket, queue)
  }

  /** Call this after a queue was served: the other queues of its priority go first. */
  moveToEnd(queue: AccountQueue<W>): void {
    for (const queues of this.#maps) queues.delete(queue.bucket)
    this.#mapFor(queue)?.set(queue.bucket, queue)
  }

  /**
   * Returns a function that gives the next queue to serve, or undefined once no queue has a token. Call `moveToEnd` after
   * each queue that it gives.
   */
  startRound(hasToken: (queue: AccountQueue<W>) => boolean): () => AccountQueue<W> | undefined {
    let iterators = this.#iterators()
    let found = false
    const nextOf = (priority: Priority): AccountQueue<W> | undefined => {
      // A queue that was moved to the end of its map is met again.
      for (let step = iterators[priority].next(); !step.done; step = iterators[priority].next()) {
        if (hasToken(step.value)) return step.value
      }
      return undefined
    }
    const next = (): AccountQueue<W> | undefined => {
      for (const priority of priorityOrder(this.#slot)) {
        const queue = nextOf(priority)
        if (!queue) continue
        this.#slot++
        found = true
        return queue
      }
      if (!found) return undefined
      // A queue that was served may have moved to a map whose iterator is exhausted, so begin again.
      iterators = this.#iterators()
      found = false
      return next()
    }
    return next
  }

  #mapFor({ waiters }: AccountQueue<W>): Queues<W> | undefined {
    return waiters.bestPriority && this.#byPriority[waiters.bestPriority]
  }

  #iterators(): Record<Priority, MapIterator<AccountQueue<W>>> {
    const { known, normal, suspect } = this.#byPriority
    return { known: known.values(), normal: normal.values(), suspect: suspect.values() }
  }
}
