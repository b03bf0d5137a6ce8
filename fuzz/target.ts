/** What a fuzz target consists of. */
import type { Environment } from './environment.js'
import { mutate, type Random } from './random.js'

export type Target = {
  /** Cases that run at the same time. */
  concurrency: number
  /** Starts to disturb a link. */
  disturb?(environment: Environment, random: Random): void
  /** Ends the disturbance. */
  restore?(environment: Environment): void
  runCase(environment: Environment, random: Random): Promise<unknown>
  /** Adds findings about the whole run. */
  verify?(environment: Environment): void
}

/** Mutates this share of the chunks that the server behind a link sends. */
export function mutateLink(name: keyof Environment['links'], share: number): Pick<Target, 'disturb' | 'restore'> {
  return {
    disturb({ links }, random) {
      links[name].transform = chunk => (random.chance(share) ? mutate(chunk, random) : chunk)
    },
    restore({ links }) {
      links[name].transform = undefined
      links[name].resetConnections()
    },
  }
}

const PROBE_EVERY_MS = 5_000
const MAX_FINDINGS = 20

/** Runs cases for `seconds`, with an honest login every five seconds. Returns the number of cases. */
export async function runTarget(
  target: Target,
  environment: Environment,
  random: Random,
  seconds: number,
): Promise<number> {
  const until = Date.now() + seconds * 1_000
  const { findings } = environment
  let cases = 0
  const runUntil = async (end: number) => {
    while (Date.now() < end && findings.length < MAX_FINDINGS) {
      await target.runCase(environment, random)
      cases++
    }
  }
  while (Date.now() < until && findings.length < MAX_FINDINGS) {
    target.disturb?.(environment, random)
    const end = Math.min(until, Date.now() + PROBE_EVERY_MS)
    await Promise.all(Array.from({ length: target.concurrency }, () => runUntil(end)))
    target.restore?.(environment)
    await environment.probe()
  }
  target.verify?.(environment)
  return cases
}
