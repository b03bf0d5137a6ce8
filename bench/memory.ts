/** What does a connection hold that does nothing? */
import { figure } from './rounds.js'
import type { Who } from './peers/generator.js'
import type { Options } from './relay.js'
import { scene } from './testbed.js'
import type { Table } from './table.js'

export async function memory({ quick, beside }: Options): Promise<Table> {
  const clients = quick ? 1_000 : 5_000
  const stage = await scene()
  const { generator } = stage
  try {
    const rows = []
    for (const [build, cli] of [['', undefined], ...(beside ? [['other build, ', beside] as const] : [])] as const) {
      const proxy = await stage.proxy({ beside: cli })
      const way = { port: proxy.facts.port }
      // What the program allocates once, and the heap's own growth under load, is not a session's.
      await generator.ask('open', { pool: 'warm', way, who: 'aws', clients: 500 })
      await generator.ask('close', { pool: 'warm' })
      for (const [who, name] of [
        ['aws', 'session, logged in'],
        ['nobody', 'monitor, between two hellos'],
      ] as [Who, string][]) {
        const before = await settled(() => proxy.usage('tidy'))
        await generator.ask('open', { pool: who, way, who, clients })
        const after = await settled(() => proxy.usage('tidy'))
        const kilobytes = (of: 'rss' | 'heap') => {
          const each = (after[of] - before[of]) / clients / 1024
          return { ...figure([each]), unit: ' KB' }
        }
        rows.push({ name: `${build}${name}`, cells: [kilobytes('rss'), kilobytes('heap')] })
        await generator.ask('close', { pool: who })
      }
      await proxy.stop()
    }
    return {
      title: 'Memory of an idle connection',
      sentence: `Of the proxy, for each of ${clients}, after garbage collection; a session includes its upstream socket.`,
      columns: ['resident', 'heap'],
      rows,
    }
  } finally {
    await stage.close()
  }
}

/** Closed handles are freed a little later: asks until two answers in a row are alike. */
async function settled<T extends { heap: number }>(ask: () => Promise<T>): Promise<T> {
  let before = await ask()
  for (let i = 0; i < 20; i++) {
    await new Promise(resolve => setTimeout(resolve, 100))
    const now = await ask()
    if (Math.abs(now.heap - before.heap) < 20_000) return now
    before = now
  }
  return before
}
