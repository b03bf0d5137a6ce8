/** How much memory does an idle connection hold? */
import type { LoginMethod } from './peers/generator.js'
import { summarize } from './rounds.js'
import type { Row, Table } from './table.js'
import { type BenchOptions, createTestbed } from './testbed.js'

const connections: [LoginMethod, string][] = [
  ['aws', 'session, logged in'],
  ['none', 'monitoring connection, between two hellos'],
]

export async function measureMemory({ quick, beside }: BenchOptions): Promise<Table> {
  const clients = quick ? 1_000 : 5_000
  const testbed = await createTestbed()
  const { generator } = testbed
  try {
    const rows: Row[] = []
    for (const [prefix, cli] of [['', undefined], ...(beside ? [['other build, ', beside] as const] : [])] as const) {
      const proxy = await testbed.startProxy({ beside: cli })
      const connection = { port: proxy.info.port }
      // What the program allocates once, and the growth of the heap under load, do not belong to a connection.
      await generator.call('open', { pool: 'warm-up', connection, login: 'aws', clients: 500 })
      await generator.call('close', { pool: 'warm-up' })
      for (const [login, name] of connections) {
        const before = await waitUntilStable(() => proxy.usage('collect'))
        await generator.call('open', { pool: login, connection, login, clients })
        const after = await waitUntilStable(() => proxy.usage('collect'))
        const kilobytes = (of: 'rss' | 'heap') => ({
          ...summarize([(after[of] - before[of]) / clients / 1024]),
          unit: ' KB',
        })
        rows.push({ name: `${prefix}${name}`, cells: [kilobytes('rss'), kilobytes('heap')] })
        await generator.call('close', { pool: login })
      }
      await proxy.stop()
    }
    return {
      title: 'Memory of an idle connection',
      sentence: `Memory of the proxy per connection, of ${clients}, after garbage collection. A session includes its upstream socket.`,
      columns: ['resident', 'heap'],
      rows,
    }
  } finally {
    await testbed.close()
  }
}

/** Closed handles are freed with a delay. Measures until two results in a row are about equal. */
async function waitUntilStable<T extends { heap: number }>(measure: () => Promise<T>): Promise<T> {
  let before = await measure()
  for (let i = 0; i < 20; i++) {
    await new Promise(resolve => setTimeout(resolve, 100))
    const now = await measure()
    if (Math.abs(now.heap - before.heap) < 20_000) return now
    before = now
  }
  return before
}
