/** The name that somebody probably meant. */

/** The candidate that differs from `name` in at most two letters (case, `-` and `_` aside), or undefined. */
export function nearestName(name: string, candidates: readonly string[]): string | undefined {
  const [best] = candidates
    .map(candidate => ({ candidate, distance: distance(plain(name), plain(candidate)) }))
    .filter(({ candidate, distance }) => distance <= Math.min(2, plain(candidate).length - 2))
    .sort((a, b) => a.distance - b.distance)
  return best?.candidate
}

/** Appended to a message: the suggestion, or nothing. */
export function didYouMean(name: string, candidates: readonly string[]): string {
  const guess = nearestName(name, candidates)
  return guess === undefined ? '' : `; did you mean ${guess}?`
}

const plain = (name: string) => name.toLowerCase().replace(/[-_]/g, '')

/** Letters to insert, remove or replace; one row of the usual matrix is kept. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
