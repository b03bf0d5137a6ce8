/** Loaded before each process that is measured: tells its usage when asked, and ends with whoever started it. */
import type { Usage } from '../peer.js'

type Asked = { id: number; what: string; facts: { tidy?: string } }

process.on('message', ({ id, what, facts }: Asked) => {
  if (what !== 'usage') return
  if (facts.tidy) for (let i = 0; i < 3; i++) gc?.()
  const { user, system } = process.cpuUsage()
  const { rss, heapUsed } = process.memoryUsage()
  const value: Usage = { cpuMS: (user + system) / 1000, rss, heap: heapUsed }
  process.send?.({ id, value })
})
process.on('disconnect', () => process.exit())
