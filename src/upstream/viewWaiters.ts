/** The clients that wait for a change: each awaitable hello of a client is held until there is a view that is new to it. */
import type { After } from '../clock.js'
import { isNewTopologyVersion, readTopologyVersion, type TopologyVersion } from './topologyVersion.js'
import type { TopologyView } from './topologyView.js'

export type WaitOptions = {
  /** The longest wait, in milliseconds. */
  ms: number
  /** Gives the view to answer with when the time is over. */
  onTimeout: () => Promise<TopologyView>
  signal: AbortSignal
}

type Waiter = { offer(view: TopologyView): void; reject(reason: unknown): void }

export class ViewWaiters {
  readonly #after: After
  readonly #waiters = new Set<Waiter>()

  constructor(after: After) {
    this.#after = after
  }

  /** Resolves with the first offered view that is new to a client that knows `known`. Rejects with the signal's reason. */
  wait(known: TopologyVersion, { ms, onTimeout, signal }: WaitOptions): Promise<TopologyView> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        cancelTimeout()
        signal.removeEventListener('abort', onAbort)
        this.#waiters.delete(waiter)
        act()
      }
      const waiter: Waiter = {
        offer: view => {
          if (isNewTopologyVersion(readTopologyVersion(view.hello), known)) settle(() => resolve(view))
        },
        reject: reason => settle(() => reject(reason)),
      }
      const onAbort = () => waiter.reject(signal.reason)
      const cancelTimeout = this.#after(ms, () => {
        onTimeout().then(view => settle(() => resolve(view)), waiter.reject)
      })
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiters.add(waiter)
      if (signal.aborted) onAbort()
    })
  }

  offer(view: TopologyView): void {
    for (const waiter of [...this.#waiters]) waiter.offer(view)
  }

  rejectAll(reason: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(reason)
  }
}
