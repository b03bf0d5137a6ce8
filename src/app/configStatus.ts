/** Which configuration is in effect, and how the last reloads ended. */
import type { MetricsRecorder } from '../admin/metrics.js'

export type ConfigStatusReport = {
  /** SHA-256 of the configuration file. */
  hash: string
  /** When the configuration took effect: the last reload that was applied, or the start. Milliseconds since 1970. */
  appliedAt: number
  /** When the last reload was rejected; undefined if none was. */
  rejectedAt: number | undefined
  /** A changed configuration waits for a repair: the last reload was rejected. */
  isRejected: boolean
}

export class ConfigStatus {
  readonly #metrics: Pick<MetricsRecorder, 'count' | 'setInfo'>
  readonly #wallClock: () => number
  #hash: string
  #appliedAt: number
  #rejectedAt: number | undefined
  #isRejected = false

  /** The configuration of the start. */
  constructor(hash: string, metrics: Pick<MetricsRecorder, 'count' | 'setInfo'>, wallClock: () => number) {
    this.#metrics = metrics
    this.#wallClock = wallClock
    this.#hash = hash
    this.#appliedAt = wallClock()
    metrics.setInfo('config_hash', { hash })
  }

  /** SHA-256 of the configuration file in effect. */
  get hash(): string {
    return this.#hash
  }

  setHash(hash: string): void {
    this.#hash = hash
    this.#metrics.setInfo('config_hash', { hash })
  }

  recordReload(outcome: 'applied' | 'rejected'): void {
    this.#metrics.count('reloads_total', 1, { outcome })
    this.#isRejected = outcome === 'rejected'
    if (outcome === 'applied') this.#appliedAt = this.#wallClock()
    else this.#rejectedAt = this.#wallClock()
  }

  report(): ConfigStatusReport {
    return {
      hash: this.#hash,
      appliedAt: this.#appliedAt,
      rejectedAt: this.#rejectedAt,
      isRejected: this.#isRejected,
    }
  }

  /** Seconds since 1970 by outcome; 0 if no reload was rejected. */
  timestamps(): Record<'applied' | 'rejected', number> {
    return { applied: this.#appliedAt / 1_000, rejected: (this.#rejectedAt ?? 0) / 1_000 }
  }
}
