/** Lines about those who never logged in: so many a second of each kind, or whoever connects in a loop fills a disk. */
import type { FaultKind } from '../errors.js'

export type SparingParts = {
  /** Lines of a kind in a second. */
  most: number
  /** Told, once in a while, that lines of a kind are left out from now on. */
  enough(kind: FaultKind): void
  /** Monotonic milliseconds. */
  now(): number
}

/** How long nothing more is said of what is left out. Milliseconds. */
const QUIET_MS = 60_000

/** Says of each line whether it is one of the first ones. */
export function sparing({ most, enough, now }: SparingParts): (kind: FaultKind) => boolean {
  const kinds = new Map<FaultKind, { second: number; lines: number; said: number }>()
  return kind => {
    const moment = now()
    const second = Math.floor(moment / 1_000)
    const known = kinds.get(kind) ?? { second, lines: 0, said: Number.NEGATIVE_INFINITY }
    kinds.set(kind, known)
    if (known.second !== second) Object.assign(known, { second, lines: 0 })
    if (++known.lines <= most) return true
    if (moment - known.said >= QUIET_MS) {
      known.said = moment
      enough(kind)
    }
    return false
  }
}
