/**
 * Serves the logins of contested credentials: clients of one address keep showing the same access key with wrong
 * signatures, and another client there may hold the right secret. The proxy cannot distinguish them before it calls STS.
 *
 *     login ─▶ at most 10 wait ──one every 100 ms, drawn at random──▶ permit of the scheduler ─▶ STS
 *                    └─▶ one more arrives: one of the eleven, drawn at random, is rejected at once
 *
 * If an attacker sends 200 logins per second, ten of them reach STS. Each login of the owner has the same chance, one in
 * twenty, so an owner that retries five times per second is admitted within about five seconds. A first-come queue would be
 * full of the attacker's logins. A longer queue would delay each attempt of the owner without better odds.
 */
import { Fault } from '../errors.js'
import type { ReleasePermit } from './scheduler.js'

export type ContestedLogins = {
  /**
   * Waits until the login is drawn and has acquired its permit, for at most `maxWaitMS` in all. `acquire` gets what is
   * left of it. Throws `login/signature-limit`, the reason of the signal, and what `acquire` throws.
   */
  acquire(
    credential: string,
    maxWaitMS: number,
    signal: AbortSignal,
    acquire: (maxWaitMS: number) => Promise<ReleasePermit>,
  ): Promise<ReleasePermit>
}

export type ContestedLoginsOptions = {
  /** 0 to 1, below 1. */
  random(): number
  /** Monotonic milliseconds. */
  now(): number
  /** Runs a callback later, unless the returned function is called first. */
  after(ms: number, run: () => void): () => void
  onRejected(fault: Fault): void
}

/**
 * Minimum interval between two calls for one credential, because AWS may charge the account of the key: ten per second,
 * with a margin for timers that fire early. Milliseconds.
 */
const INTERVAL_MS = 105
/** Maximum number of waiting logins per credential. */
const MAX_WAITING = 10
/** The pause that drivers are asked for. A client that retries often has better odds. Milliseconds. */
const BACKOFF_MS = 200

export function createContestedLogins(options: ContestedLoginsOptions): ContestedLogins {
  /** By credential. There is an entry for each credential with a waiting login or a call less than `INTERVAL_MS` ago. */
  const contests = new Map<string, Contest>()
  return {
    async acquire(credential, maxWaitMS, signal, acquire) {
      signal.throwIfAborted()
      const contest = contests.get(credential) ?? new Contest(options, () => contests.delete(credential))
      contests.set(credential, contest)
      const deadline = options.now() + maxWaitMS
      await contest.wait(maxWaitMS, signal)
      try {
        return await acquire(Math.max(0, deadline - options.now()))
      } finally {
        contest.finish()
      }
    },
  }
}

type Waiter = { draw(): void; reject(): void }

/** The waiting logins of one credential. */
class Contest {
  readonly #options: ContestedLoginsOptions
  readonly #onIdle: () => void
  readonly #waiters: Waiter[] = []
  /** A login was drawn that has no permit yet, or got one less than `INTERVAL_MS` ago. */
  #isBusy = false

  constructor(options: ContestedLoginsOptions, onIdle: () => void) {
    this.#options = options
    this.#onIdle = onIdle
  }

  /** Resolves when the login is drawn. Call `finish` then. */
  wait(maxWaitMS: number, signal: AbortSignal): Promise<void> {
    if (!this.#isBusy) {
      this.#isBusy = true
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        cancelTimeout()
        signal.removeEventListener('abort', onAbort)
        act()
      }
      const waiter: Waiter = {
        draw: () => settle(resolve),
        reject: () => settle(() => reject(this.#createFault())),
      }
      const onAbort = (): void => {
        this.#remove(waiter)
        settle(() => reject(signal.reason))
      }
      const cancelTimeout = this.#options.after(maxWaitMS, () => {
        this.#remove(waiter)
        waiter.reject()
      })
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiters.push(waiter)
      if (this.#waiters.length > MAX_WAITING) this.#removeAny()?.reject()
    })
  }

  /** The login that was drawn has its permit, or failed to get one. */
  finish(): void {
    this.#options.after(INTERVAL_MS, () => {
      const next = this.#removeAny()
      if (next) next.draw()
      else {
        this.#isBusy = false
        this.#onIdle()
      }
    })
  }

  #removeAny(): Waiter | undefined {
    const [waiter] = this.#waiters.splice(Math.floor(this.#options.random() * this.#waiters.length), 1)
    return waiter
  }

  #remove(waiter: Waiter): void {
    const index = this.#waiters.indexOf(waiter)
    if (index >= 0) this.#waiters.splice(index, 1)
  }

  #createFault(): Fault {
    const fault = new Fault('login/signature-limit', undefined, { backoffMS: BACKOFF_MS })
    this.#options.onRejected(fault)
    return fault
  }
}
