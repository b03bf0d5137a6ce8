/** Lines about those who never logged in: so many a second of each kind, or whoever connects in a loop fills a disk. */
import type { FaultKind } from '../errors.js'

export type LogSamplerOptions = {
  /** Lines of a kind in a second. */
  maxPerSecond: number
  /** Told, once in a while, that lines of a kind are left out from now on. */
  onSuppressed(kind: FaultKind): void
  /** Monotonic milliseconds. */
  now(): number
}

/** How long nothing more is said of what is left out. Milliseconds. */
const QUIET_MS = 60_000

/** Says of each line whether it is one of the first ones. */
export function createLogSampler({ maxPerSecond, onSuppressed, now }: LogSamplerOptions): (kind: FaultKind) => boolean {
  const kinds = new Map<FaultKind, { second: number; lines: number; said: number }>()
  return kind => {
    const moment = now()
    const second = Math.floor(moment / 1_000)
    const known = kinds.get(kind) ?? { second, lines: 0, said: Number.NEGATIVE_INFINITY }
    kinds.set(kind, known)
    if (known.second !== second) Object.assign(known, { second, lines: 0 })
    if (++known.lines <= maxPerSecond) return true
    if (moment - known.said >= QUIET_MS) {
      known.said = moment
      onSuppressed(kind)
    }
    return false
  }
}
