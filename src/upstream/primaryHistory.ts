/**
 * Which member has been the primary, and since when. It reports to the log, counts elections and keeps the last changes.
 *
 *     no primary ── at once ──▶ warn
 *            │
 *            └── for 5 s ─────▶ error
 *     primary is X ───────────▶ info, with the time without one
 *
 * A planned step-down takes less than two seconds and must not page anyone. Logins wait for a primary until `login.timeout`,
 * 8 s by default, so five seconds put the error into the log before the first login fails.
 */
import type { After } from '../clock.js'
import type { Log } from '../log.js'

/** What the topology says about the primary. `term` identifies its election. */
export type CurrentPrimary = { address: string; term: string }

/** Times are milliseconds since 1970. */
export type PrimaryChange = {
  at: number
  /** Undefined: there was no primary from then on. */
  primary: string | undefined
  /** How long there had been no primary before this one, in milliseconds. */
  withoutMS?: number
}

export type PrimaryStatus = {
  primary: string | undefined
  /** When this primary was found or the last one was lost. Milliseconds since 1970. */
  since: number
  elections: number
  /** The last changes, the newest first. */
  changes: readonly PrimaryChange[]
}

export type PrimaryHistoryOptions = {
  /** Identifies the upstream in the log. */
  upstream: string
  log: Log
  /** Called when a primary of another election replaces the last known one. */
  onElection(): void
  after: After
  /** Monotonic milliseconds. */
  now(): number
  /** Milliseconds since 1970. */
  wallClock(): number
}

const ERROR_DELAY_MS = 5_000
const MAX_CHANGES = 20

export class PrimaryHistory {
  readonly #options: PrimaryHistoryOptions
  readonly #changes: PrimaryChange[] = []
  #current: CurrentPrimary | undefined
  #lastTerm: string | undefined
  #elections = 0
  /** When the primary was found or lost, by both clocks. */
  #since: { monotonic: number; wallClock: number }
  #cancelError: () => void

  /** There is no primary yet. That alone is no loss, so it is logged only if it lasts. */
  constructor(options: PrimaryHistoryOptions) {
    this.#options = options
    this.#since = this.#readClocks()
    this.#cancelError = options.after(ERROR_DELAY_MS, () => this.#logLoss('error'))
  }

  /** Call this after every change of the topology. */
  update(next: CurrentPrimary | undefined): void {
    if (next?.term === this.#current?.term) return
    const before = this.#current
    this.#current = next
    if (next) this.#onFound(next, before)
    else this.#onLost()
  }

  status(): PrimaryStatus {
    return {
      primary: this.#current?.address,
      since: this.#since.wallClock,
      elections: this.#elections,
      changes: [...this.#changes],
    }
  }

  close(): void {
    this.#cancelError()
  }

  #onFound({ address, term }: CurrentPrimary, before: CurrentPrimary | undefined): void {
    this.#cancelError()
    const withoutMS = before ? 0 : this.#options.now() - this.#since.monotonic
    if (this.#lastTerm !== undefined && this.#lastTerm !== term) {
      this.#elections += 1
      this.#options.onElection()
    }
    this.#lastTerm = term
    this.#since = this.#readClocks()
    this.#record({ primary: address, withoutMS })
    this.#options.log('info', 'primary found', { upstream: address, seconds: toSeconds(withoutMS) })
  }

  #onLost(): void {
    this.#since = this.#readClocks()
    this.#record({ primary: undefined })
    this.#logLoss('warn')
    this.#cancelError = this.#options.after(ERROR_DELAY_MS, () => this.#logLoss('error'))
  }

  #logLoss(level: 'warn' | 'error'): void {
    const { log, upstream, now } = this.#options
    const { monotonic, wallClock } = this.#since
    log(level, 'no primary', {
      upstream,
      since: new Date(wallClock).toISOString(),
      seconds: toSeconds(now() - monotonic),
    })
  }

  #record(change: Omit<PrimaryChange, 'at'>): void {
    this.#changes.unshift({ at: this.#since.wallClock, ...change })
    this.#changes.length = Math.min(this.#changes.length, MAX_CHANGES)
  }

  #readClocks(): { monotonic: number; wallClock: number } {
    const { now, wallClock } = this.#options
    return { monotonic: now(), wallClock: wallClock() }
  }
}

const toSeconds = (ms: number): number => Math.round(ms / 100) / 10
