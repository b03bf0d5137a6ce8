/** Limits log lines about unauthenticated clients per second and fault kind: one that connects in a loop must not fill a disk. */
import type { FaultKind } from '../errors.js'

export type LogSamplerOptions = {
  /** Lines per second and fault kind. */
  maxPerSecond: number
  /** Called when lines of this kind are suppressed, at most once a minute. */
  onSuppressed(kind: FaultKind): void
  /** Monotonic milliseconds. */
  now(): number
}

/** Minimum interval between two calls of `onSuppressed` for one kind. Milliseconds. */
const REPORT_INTERVAL_MS = 60_000

/** Returns a function that says whether to log another line of this kind. */
export function createLogSampler({ maxPerSecond, onSuppressed, now }: LogSamplerOptions): (kind: FaultKind) => boolean {
  const windows = new Map<FaultKind, { second: number; lines: number; reportedAt: number }>()
  return kind => {
    const moment = now()
    const second = Math.floor(moment / 1_000)
    const window = windows.get(kind) ?? { second, lines: 0, reportedAt: Number.NEGATIVE_INFINITY }
    windows.set(kind, window)
    if (window.second !== second) Object.assign(window, { second, lines: 0 })
    if (++window.lines <= maxPerSecond) return true
    if (moment - window.reportedAt >= REPORT_INTERVAL_MS) {
      window.reportedAt = moment
      onSuppressed(kind)
    }
    return false
  }
}
