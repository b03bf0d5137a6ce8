/** Waits for a full socket to drain, and reports a peer that stops reading. */
import type { Socket } from 'node:net'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'

/** A peer that takes no bytes for this long is dead. Milliseconds. */
const WRITE_TIMEOUT_MS = 60_000

const NONE: never[] = []

export class Backpressure {
  readonly #socket: Socket
  readonly #after: After
  readonly #onTimeout: (fault: Fault) => void
  #cancelTimeout: (() => void) | undefined
  #callbacks: (() => void)[] = NONE

  /** `socket` is plain or TLS. `onTimeout` gets a `connection/write-timeout` if the socket does not drain within 60 s. */
  constructor(socket: Socket, after: After, onTimeout: (fault: Fault) => void) {
    this.#socket = socket
    this.#after = after
    this.#onTimeout = onTimeout
  }

  /** Calls back once, when the socket has drained or closed. */
  onDrain(callback: () => void): void {
    if (this.#callbacks !== NONE) return void this.#callbacks.push(callback)
    this.#callbacks = [callback]
    this.#cancelTimeout = this.#after(WRITE_TIMEOUT_MS, () =>
      this.#onTimeout(new Fault('connection/write-timeout', undefined, { timeoutMS: WRITE_TIMEOUT_MS })),
    )
    const done = (): void => {
      this.#socket.off('drain', done).off('close', done)
      this.cancelTimeout()
      const callbacks = this.#callbacks
      this.#callbacks = NONE
      for (const call of callbacks) call()
    }
    this.#socket.on('drain', done).on('close', done)
  }

  /** Cancels the timeout. Pending callbacks still run. */
  cancelTimeout(): void {
    this.#cancelTimeout?.()
    this.#cancelTimeout = undefined
  }
}
