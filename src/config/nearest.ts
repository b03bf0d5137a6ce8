/** Suggests the name that was probably meant. */
import leven from 'leven'

const MAX_DISTANCE = 2

/** The candidate that differs from `name` in at most two letters (ignoring case, `-` and `_`), or undefined. */
export function nearestName(name: string, candidates: readonly string[]): string | undefined {
  const [nearest] = candidates
    .map(candidate => ({ candidate, distance: leven(normalized(name), normalized(candidate)) }))
    .filter(({ candidate, distance }) => distance <= Math.min(MAX_DISTANCE, normalized(candidate).length - 2))
    .sort((one, other) => one.distance - other.distance)
  return nearest?.candidate
}

/** The suggestion to append to a message; empty where there is none. */
export function didYouMean(name: string, candidates: readonly string[]): string {
  const suggestion = nearestName(name, candidates)
  return suggestion === undefined ? '' : `; did you mean ${suggestion}?`
}

const normalized = (name: string) => name.toLowerCase().replace(/[-_]/g, '')
