/**
 * Runs the benchmarks and prints one table per question: `npm run bench`.
 *
 *     --quick            less than half a minute, for CI
 *     --json             one line of JSON instead of Markdown
 *     --only NAME        relay, logins, bursts or memory; may be repeated
 *     --beside CLI.JS    also measures another build of the proxy, in the same rounds
 *     --profile DIR      writes CPU profiles of the proxies
 */
import { parseArgs } from 'node:util'
import { measureBursts } from './bursts.js'
import { measureLogins } from './logins.js'
import { measureMemory } from './memory.js'
import { measureRelay } from './relay.js'
import { renderMarkdown, type Table } from './table.js'
import type { BenchOptions } from './testbed.js'

const questions: Record<string, (options: BenchOptions) => Promise<Table>> = {
  relay: measureRelay,
  logins: measureLogins,
  bursts: measureBursts,
  memory: measureMemory,
}

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: Object.keys(questions) },
    beside: { type: 'string' },
    profile: { type: 'string' },
  },
})

// peer.ts ends the child processes on exit. A signal alone would not.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const tables: Table[] = []
for (const [name, measure] of Object.entries(questions)) {
  if (!values.only.includes(name)) continue
  const table = await measure(values)
  tables.push(table)
  if (!values.json) process.stdout.write(`${renderMarkdown(table)}\n`)
}
if (values.json) process.stdout.write(`${JSON.stringify(tables)}\n`)
process.exit(0)
