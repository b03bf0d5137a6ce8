/** The reference pages and the runbook are generated from the tables of the program, and are complete. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { type FaultDefinition, faults } from '../src/errors.js'
import { type LogEventDefinition, logEvents } from '../src/logEvents.js'
import { eventFields, faultFields } from '../src/logFields.js'
import { findUndocumented } from './support/logLines.js'

const root = new URL('..', import.meta.url)
const src = new URL('src/', root)
/** All code but the tables of the log. */
const code = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.ts') && !/^log(Fields|Events)\.ts$/.test(file))
  .map(file => readFileSync(new URL(file, src), 'utf8'))
  .join('\n')
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')

t.test('the generated parts of the documentation are up to date (npm run docs writes them)', async t => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/documentation.mjs', '--check'], {
    cwd: root,
    encoding: 'utf8',
    env: {},
  })
  t.equal(stderr, '')
  t.equal(stdout, '', 'no page is out of date')
  t.equal(status, 0)
})

t.test('every event has a recorded line with documented fields, and a section with that line', async t => {
  const lines = read('test/vectors/log-lines.jsonl')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)
  for (const line of lines) t.same(findUndocumented(line), [], JSON.stringify(line))
  t.same(new Set(lines.map(({ event }) => event)), new Set(Object.keys(logEvents)))
  const page = read('docs/reference/log.md')
  for (const event of Object.keys(logEvents)) t.match(page, `## ${event}\n`)
})

t.test('undocumented events, levels, faults and fields are found', async t => {
  t.same(findUndocumented({ event: 'nonsense', level: 'info' }), ['event nonsense'])
  t.same(findUndocumented({ event: 'ready', level: 'warn', time: '', nonsense: 1, why: '' }), [
    'ready: field nonsense',
    'ready: field why',
    'ready: level warn',
  ])
  t.same(findUndocumented({ event: 'connection closed', level: 'warn', fault: 'none' }), [
    'connection closed: fault none',
  ])
})

t.test('every field has one sentence and is in use', async t => {
  const used = new Set<string>(Object.values<LogEventDefinition>(logEvents).flatMap(({ fields }) => fields))
  for (const [field, text] of Object.entries({ ...faultFields, ...eventFields })) t.match(text, /^[A-Z`].+\.$/, field)
  t.same(
    Object.keys(eventFields).filter(field => !used.has(field)),
    [],
  )
  t.same(
    Object.keys(faultFields).filter(field => !new RegExp(`\\b${field}\\b`).test(code)),
    [],
  )
})

t.test('every event is logged somewhere', async t => {
  for (const event of Object.keys(logEvents)) t.ok(code.includes(`'${event}'`), event)
})

t.test('every event has a summary, and its fields are listed once', async t => {
  for (const [event, { summary, fields }] of Object.entries<LogEventDefinition>(logEvents)) {
    t.match(summary, /^[A-Z].+\.$/, event)
    t.equal(new Set(fields).size, fields.length, event)
  }
})

t.test('the runbook has each code that a client can receive among its symptoms', async t => {
  const symptoms = read('docs/errors.md').split('## Symptoms\n')[1]?.split('\n## ')[0] ?? ''
  const numbers = [...symptoms.matchAll(/(\d+)(?: to (\d+))?/g)].map(([, first, last = first]) =>
    [first, last].map(Number),
  )
  for (const { reply } of Object.values<FaultDefinition>(faults)) {
    if (!reply) continue
    const isListed = numbers.some(([first = 0, last = 0]) => reply.code >= first && reply.code <= last)
    t.ok(isListed, `${reply.code} ${reply.codeName}`)
  }
})
