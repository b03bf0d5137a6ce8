/**
 * Asks each question of this folder and prints the answers: `npm run bench`.
 *
 *     --quick            less than half a minute, for CI
 *     --json             one line of JSON instead of Markdown
 *     --only NAME        relay, logins, storm or memory; more than once if wanted
 *     --beside CLI.JS    measures another build of the proxy as well, in the same rounds
 *     --profile DIR      CPU profiles of the proxies
 */
import { parseArgs } from 'node:util'
import { logins } from './logins.js'
import { memory } from './memory.js'
import { type Options, relay } from './relay.js'
import { storm } from './bursts.js'
import { markdown, type Table } from './table.js'

const questions: Record<string, (options: Options) => Promise<Table>> = { relay, logins, storm, memory }

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: Object.keys(questions) },
    beside: { type: 'string' },
    profile: { type: 'string' },
  },
})

// An exit ends what was started; a signal alone would not.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

const tables: Table[] = []
for (const [name, ask] of Object.entries(questions)) {
  if (!values.only.includes(name)) continue
  const table = await ask(values)
  tables.push(table)
  if (!values.json) process.stdout.write(`${markdown(table)}\n`)
}
if (values.json) process.stdout.write(`${JSON.stringify(tables)}\n`)
process.exit(0)
