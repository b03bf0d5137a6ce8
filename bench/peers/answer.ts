/** What a process of bench/peers does when the one who started it asks. */

import { READY } from '../peer.js'

type Asked = { id: number; what: string; facts: never }
type Doing = Record<string, (facts: never) => unknown>

/** Tells the facts, then answers what is asked over IPC. */
export function answers(facts: object, doing: Doing = {}): void {
  process.on('message', async ({ id, what, facts }: Asked) => {
    const run = doing[what]
    if (!run) return // usage is told by report.ts
    try {
      process.send?.({ id, value: await run(facts) })
    } catch (thrown) {
      process.send?.({ id, error: (thrown as Error)?.stack ?? String(thrown) })
    }
  })
  process.send?.({ id: READY, value: facts })
}
