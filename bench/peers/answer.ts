/** Answers the calls that a process of bench/peers gets over IPC. */
import { READY } from '../peer.js'

type Call = { id: number; method: string; params: never }
type Methods = Record<string, (params: never) => unknown>

/** Reports that the peer is ready, with its info, and answers calls from now on. */
export function answerCalls(info: object, methods: Methods = {}): void {
  process.on('message', async ({ id, method, params }: Call) => {
    const run = methods[method]
    if (!run) return // report.ts answers `usage`
    try {
      process.send?.({ id, value: await run(params) })
    } catch (thrown) {
      process.send?.({ id, error: (thrown as Error)?.stack ?? String(thrown) })
    }
  })
  process.send?.({ id: READY, value: info })
}
