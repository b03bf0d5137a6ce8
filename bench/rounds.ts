/** Figures: what a series of rounds gave, and how variants that took turns compare. */

/** The median, with the least and the most. */
export type Figure = { median: number; least: number; most: number }

/** A variant in one round: how often it was done, how long that took, and the CPU time of whoever is between. */
export type Round = { count: number; ms: number; cpuMS: number }

export function figure(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const at = (index: number): number => sorted[index] ?? Number.NaN
  return { median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2, least: at(0), most: at(sorted.length - 1) }
}

/** What one comparison may take, so that all of them together stay below three minutes. */
const BUDGET_MS = 8_000

/** Times a second. */
export const rate = ({ count, ms }: Round): number => (count / ms) * 1000
/** CPU milliseconds for one. */
export const cost = ({ count, cpuMS }: Round): number => cpuMS / count

/** One by the other, round by round: whatever else the machine did meanwhile, it did to both. */
export function ratio(ours: readonly Round[], theirs: readonly Round[], of: (round: Round) => number): Figure {
  return figure(ours.map((round, index) => of(round) / of(theirs[index] as Round)))
}

/**
 * Lets the variants take turns: A B C A B C …, after a turn each that does not count. The order turns around every other
 * time, so that none always comes after the same one. On a machine that is slow today there are fewer rounds: none
 * begins when `budgetMS` are over.
 */
export async function inTurns<Name extends string>(
  rounds: number,
  variants: Record<Name, () => Promise<Round>>,
  budgetMS = BUDGET_MS,
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
