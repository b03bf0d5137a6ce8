/** What waits until a full socket has drained, and what happens to one that does not (R5). */
import type { Socket } from 'node:net'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'

/** A write that makes no progress for this long means a dead peer. Milliseconds. */
const STALLED = 60_000

const NONE: never[] = []

/** Of one socket, plain or TLS; where it does not drain in time, `giveUp` is called. */
export class Stall {
  readonly #socket: Socket
  readonly #after: After
  readonly #giveUp: (fault: Fault) => void
  #cancel: (() => void) | undefined
  #steps: (() => void)[] = NONE

  constructor(socket: Socket, after: After, giveUp: (fault: Fault) => void) {
    this.#socket = socket
    this.#after = after
    this.#giveUp = giveUp
  }

  /** Runs a step once it has drained, or closed. */
  drained(step: () => void): void {
    if (this.#steps !== NONE) return void this.#steps.push(step)
    this.#steps = [step]
    this.#cancel = this.#after(STALLED, () =>
      this.#giveUp(new Fault('connection/write-timeout', undefined, { ms: STALLED })),
    )
    const done = (): void => {
      this.#socket.off('drain', done).off('close', done)
      this.clear()
      const due = this.#steps
      this.#steps = NONE
      for (const next of due) next()
    }
    this.#socket.on('drain', done).on('close', done)
  }

  /** Waits no longer. */
  clear(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }
}
