/**
 * The logins that dial the primary, and those that wait for one.
 *
 *     login ──▶ is there a primary, and do fewer than 100 logins dial? ── yes ──▶ dials
 *                  │ no                                                            │ the primary steps down
 *                  ▼                                                               ▼
 *               waits; addresses are served round-robin ◀──────────────── waits for the next primary
 *
 * An election interrupts every session, so all clients log in again at once. The limit keeps the new primary from having
 * to answer thousands of logins at once. A wait ends with the signal of its login: at the deadline, or when the client
 * leaves.
 */
import { FairQueue, type QueueEntry } from '../budget/fairQueue.js'
import { toSubnet } from '../budget/subnet.js'
import { Fault } from '../errors.js'
import { rejectOnAbort } from './deadline.js'
import { type PrimaryTerm, runDuringTerm } from './primaryTerm.js'
import type { Target } from './target.js'
import type { Topology } from './topology.js'

export type DialQueueOptions = {
  topology: Pick<Topology, 'hasPrimary' | 'selectPrimary' | 'recheck'>
  /** Whether logins wait for a primary. A single server has no elections. */
  waits: boolean
  /** Monotonic milliseconds. */
  now(): number
}

/** Logins that dial at the same time. */
const MAX_DIALS = 100

type Waiter = QueueEntry & { start(): void; reject(reason: unknown): void }

export class DialQueue {
  readonly #options: DialQueueOptions
  readonly #waiting = new FairQueue<Waiter>()
  #dials = 0
  #drainReason: Fault | undefined
  /** Since when there has been no primary; undefined while there is one. */
  #lostAt: number | undefined

  constructor(options: DialQueueOptions) {
    this.#options = options
    this.#lostAt = options.now()
    this.update()
  }

  /** The number of logins that wait. */
  get length(): number {
    return this.#waiting.length
  }

  /** The number of logins that dial. */
  get dialing(): number {
    return this.#dials
  }

  /** Call this after a change of the topology. */
  update(): void {
    const { topology, now } = this.#options
    this.#lostAt = topology.hasPrimary() ? undefined : (this.#lostAt ?? now())
    this.#startNext()
    this.#rejectIfDraining()
  }

  /** `upstream/unreachable` if there has been no primary for at least `ms` milliseconds. */
  findFault(ms: number): Fault | undefined {
    const { waits, now } = this.#options
    const isMissing = waits && this.#lostAt !== undefined && now() - this.#lostAt >= ms
    return isMissing ? createNoPrimaryFault() : undefined
  }

  /** From now on no login waits for a primary. Rejects those that do with `upstream/unreachable`. */
  drain(): void {
    this.#drainReason = createNoPrimaryFault('and the proxy is shutting down')
    this.#rejectIfDraining()
  }

  #rejectIfDraining(): void {
    if (!this.#drainReason || this.#options.topology.hasPrimary()) return
    while (this.#waiting.length > 0) this.#waiting.dequeue()?.reject(this.#drainReason)
  }

  /** Resolves when there is a primary. Rejects with the signal's reason, and as `drain` says. */
  async waitForPrimary(address: string, signal: AbortSignal): Promise<void> {
    if (!this.#options.waits) return
    await this.#acquire(address, signal)
    this.#release()
  }

  /**
   * Dials the primary, and the next one if the term ends meanwhile. `dial` gets a signal that aborts with `signal`, and
   * with the term. `address`: that of the client.
   *
   * Rejects with what `dial` throws unless the primary was lost, with the signal's reason, and as `drain` says.
   */
  async run<T>(
    address: string,
    signal: AbortSignal,
    dial: (target: Target, signal: AbortSignal) => Promise<T>,
  ): Promise<{ dialed: T; term: PrimaryTerm }> {
    if (!this.#options.waits) return this.#dial(this.#options.topology.selectPrimary(), signal, dial)
    for (;;) {
      await this.#acquire(address, signal)
      let term: PrimaryTerm | undefined
      try {
        const primary = this.#options.topology.selectPrimary()
        term = primary.term
        return await this.#dial(primary, signal, dial)
      } catch (thrown) {
        if (signal.aborted || Fault.from(thrown).kind !== 'upstream/unreachable') throw thrown
        if (!(await this.#isLost(term, signal))) throw thrown
      } finally {
        this.#release()
      }
    }
  }

  async #dial<T>(
    { target, term }: ReturnType<Topology['selectPrimary']>,
    signal: AbortSignal,
    dial: (target: Target, signal: AbortSignal) => Promise<T>,
  ): Promise<{ dialed: T; term: PrimaryTerm }> {
    const dialed = await runDuringTerm(term, signal, duringTerm => dial(target, duringTerm))
    return { dialed, term }
  }

  /** Asks the members if need be: a primary that crashed refuses a dial before its monitor notices. */
  async #isLost(term: PrimaryTerm | undefined, signal: AbortSignal): Promise<boolean> {
    const { topology } = this.#options
    const isLost = () => term === undefined || term.endReason !== undefined || !topology.hasPrimary()
    if (isLost()) return true
    await rejectOnAbort(signal, topology.recheck(signal)).catch(() => signal.throwIfAborted())
    return isLost()
  }

  #acquire(address: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#waiting.length === 0 && this.#canStart()) {
      this.#dials++
      return Promise.resolve()
    }
    if (this.#drainReason && !this.#options.topology.hasPrimary()) return Promise.reject(this.#drainReason)
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.remove(waiter)
        waiter.reject(signal.reason)
      }
      const settle = (act: () => void) => {
        signal.removeEventListener('abort', onAbort)
        act()
      }
      const waiter: Waiter = {
        subnet: toSubnet(address),
        priority: 'normal',
        fingerprint: '',
        start: () => settle(resolve),
        reject: reason => settle(() => reject(reason)),
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.enqueue(waiter)
    })
  }

  #release(): void {
    this.#dials--
    this.#startNext()
  }

  #canStart(): boolean {
    return this.#dials < MAX_DIALS && this.#options.topology.hasPrimary()
  }

  #startNext(): void {
    while (this.#waiting.length > 0 && this.#canStart()) {
      this.#dials++
      this.#waiting.dequeue()?.start()
    }
  }
}

function createNoPrimaryFault(why = ''): Fault {
  return new Fault('upstream/unreachable', `there is no primary now${why && `, ${why}`}`)
}
