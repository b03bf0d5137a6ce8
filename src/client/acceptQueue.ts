/**
 * Where connections wait that were accepted and are not served yet, and what those say that have not logged in.
 *
 *     knock ─▶ lobby ─▶ served, addresses in turn, as soon as nobody else knocks or some time has passed
 *
 * The loop accepts one connection a turn. Serving makes a turn long, so a crowd that is served as it comes keeps whoever
 * is behind it outside until all of it has had its say, whatever his address; outside, there are no turns to take.
 */

export type AcceptQueue = {
  /** Lets somebody of this address in, who is served later: `serve` is called once. */
  enqueue(address: string, serve: () => void): void
  /**
   * Somebody of this address, who was served, has said something: `serve` is called once, at once if nobody waits and few
   * have spoken in this turn of the loop.
   */
  schedule(address: string, serve: () => void): void
}

/** Nobody is served while others come in, but no longer than this. Milliseconds. */
const WAIT_MS = 20
/** So many are served in a turn of the loop, so that it stays short for those who knock meanwhile. */
const AT_ONCE = 8

/** `later` runs a step behind the next turn's accepting; `now`: monotonic milliseconds. */
export function createAcceptQueue({ defer, now }: { defer(run: () => void): void; now(): number }): AcceptQueue {
  const waiting = new Map<string, (() => void)[]>()
  let knocked = false
  let since: number | undefined // when waiting began; undefined while nobody does
  let heard = 0 // at once, in this turn of the loop
  const forget = (): void => {
    heard = 0
  }

  const next = (): (() => void) | undefined => {
    for (const [address, there] of waiting) {
      waiting.delete(address)
      const serve = there.shift()
      if (there.length > 0) waiting.set(address, there) // behind all others
      return serve
    }
    return undefined
  }
  const turn = (): void => {
    const more = knocked && since !== undefined && now() - since < WAIT_MS
    knocked = false
    if (!more) {
      for (let served = 0; served < AT_ONCE; served++) next()?.()
      since = waiting.size > 0 ? now() : undefined
    }
    if (since !== undefined) defer(turn)
  }

  const wait = (address: string, serve: () => void): void => {
    const there = waiting.get(address)
    if (there) there.push(serve)
    else waiting.set(address, [serve])
    if (since !== undefined) return
    since = now()
    defer(turn)
  }

  return {
    enqueue(address, serve) {
      wait(address, serve)
      knocked = true
    },
    schedule(address, serve) {
      if (since !== undefined || heard === AT_ONCE) return void wait(address, serve)
      if (heard++ === 0) defer(forget)
      serve()
    },
  }
}
