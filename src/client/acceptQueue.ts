/**
 * Queues accepted sockets, and requests of unauthenticated clients, by address.
 *
 *     accept ─▶ a queue per address ─▶ serve, round-robin over addresses, once no more sockets arrive
 *
 * Node accepts one socket per iteration of the event loop. Handling sockets inline makes the iteration long and delays
 * `accept()` for every other client, whatever its address. So accept first, then serve addresses round-robin.
 */

export type AcceptQueue = {
  /** Queues a new socket of this address. `serve` is called once, later. */
  enqueue(address: string, serve: () => void): void
  /**
   * Queues a request of a socket that was served before. `serve` is called once: at once if nothing is queued and few
   * requests have been served in this iteration of the event loop.
   */
  schedule(address: string, serve: () => void): void
}

/** While sockets keep arriving, the queue waits no longer than this. Milliseconds. */
const MAX_WAIT_MS = 20
/** Calls of `serve` per iteration of the event loop. Iterations must stay short for sockets that wait for `accept()`. */
const MAX_PER_ITERATION = 8

/** `defer` runs a step after the accept of the next iteration, as `setImmediate` does. `now`: monotonic milliseconds. */
export function createAcceptQueue({ defer, now }: { defer(run: () => void): void; now(): number }): AcceptQueue {
  const queues = new Map<string, (() => void)[]>()
  let hasArrivals = false // in this iteration
  let waitingSince: number | undefined // undefined while the queue is empty
  let servedInline = 0 // in this iteration
  const resetServedInline = (): void => {
    servedInline = 0
  }

  const dequeue = (): (() => void) | undefined => {
    for (const [address, queue] of queues) {
      queues.delete(address)
      const serve = queue.shift()
      if (queue.length > 0) queues.set(address, queue) // behind all other addresses
      return serve
    }
    return undefined
  }
  const runIteration = (): void => {
    const keepAccepting = hasArrivals && waitingSince !== undefined && now() - waitingSince < MAX_WAIT_MS
    hasArrivals = false
    if (!keepAccepting) {
      for (let served = 0; served < MAX_PER_ITERATION; served++) dequeue()?.()
      waitingSince = queues.size > 0 ? now() : undefined
    }
    if (waitingSince !== undefined) defer(runIteration)
  }

  const add = (address: string, serve: () => void): void => {
    const queue = queues.get(address)
    if (queue) queue.push(serve)
    else queues.set(address, [serve])
    if (waitingSince !== undefined) return
    waitingSince = now()
    defer(runIteration)
  }

  return {
    enqueue(address, serve) {
      add(address, serve)
      hasArrivals = true
    },
    schedule(address, serve) {
      if (waitingSince !== undefined || servedInline === MAX_PER_ITERATION) return void add(address, serve)
      if (servedInline++ === 0) defer(resetServedInline)
      serve()
    },
  }
}
