/** Rounds of measurements, and how variants that were measured in the same rounds compare. */

export type Figure = { median: number; least: number; most: number }

/** One variant in one round: the number of operations, their duration, and the CPU time of the measured process. */
export type Round = { count: number; ms: number; cpuMS: number }

/** Keeps all comparisons together below three minutes. */
const DEFAULT_BUDGET_MS = 8_000

/** Operations per second. */
export const rate = ({ count, ms }: Round): number => (count / ms) * 1000
/** CPU milliseconds per operation. */
export const cpuCost = ({ count, cpuMS }: Round): number => cpuMS / count

export function summarize(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const at = (index: number): number => sorted[index] ?? Number.NaN
  return { median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2, least: at(0), most: at(sorted.length - 1) }
}

/** The ratio of two variants, round by round: other load on the machine affects both. */
export function ratio(
  numerator: readonly Round[],
  denominator: readonly Round[],
  of: (round: Round) => number,
): Figure {
  return summarize(numerator.map((round, index) => of(round) / of(denominator[index] as Round)))
}

/**
 * Measures all variants in each round, after one round that does not count. The order alternates (A B C, C B A, …), so no
 * variant always follows the same one. On a slow machine there are fewer rounds: none starts after `budgetMS`.
 */
export async function runRounds<Name extends string>(
  rounds: number,
  variants: Record<Name, () => Promise<Round>>,
  budgetMS = DEFAULT_BUDGET_MS,
): Promise<Record<Name, Round[]>> {
  const names = Object.keys(variants) as Name[]
  const results = Object.fromEntries(names.map(name => [name, []])) as unknown as Record<Name, Round[]>
  for (const name of names) await variants[name]()
  const end = performance.now() + budgetMS
  for (let round = 0; round < rounds; round++) {
    if (round > 0 && performance.now() > end) break
    for (const name of round % 2 === 0 ? names : names.toReversed()) results[name].push(await variants[name]())
  }
  return results
}
