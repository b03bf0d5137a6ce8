/** Waiting for a condition that no event reports. */
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 10

/** Resolves once the condition holds. There is no deadline: the test's own timeout ends what never happens. */
export async function waitUntil(condition: () => unknown): Promise<void> {
  while (!(await condition())) await sleep(POLL_MS)
}
