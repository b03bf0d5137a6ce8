/** Loaded into each measured process: reports its usage on request, and ends it when the benchmark ends. */
import type { Usage } from '../peer.js'

type Call = { id: number; method: string; params: { garbage?: 'collect' } }

process.on('message', ({ id, method, params }: Call) => {
  if (method !== 'usage') return
  if (params.garbage) for (let i = 0; i < 3; i++) gc?.()
  const { user, system } = process.cpuUsage()
  const { rss, heapUsed } = process.memoryUsage()
  const value: Usage = { cpuMS: (user + system) / 1000, rss, heap: heapUsed }
  process.send?.({ id, value })
})
process.on('disconnect', () => process.exit())
