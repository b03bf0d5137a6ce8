// Writes the generated parts of the documentation from the tables that the program reads: `npm run docs`.
// With --check it writes nothing, prints the pages that are out of date, and exits with 1.
//
// A page contains its generated parts between <!-- NAME --> and <!-- /NAME -->. docs/errors.md contains a table of faults
// for each <!-- faults: KIND KIND … -->, and every fault must be in one of them.
import { readFileSync, writeFileSync } from 'node:fs'
import { metrics } from '../dist/admin/metrics.js'
import { auditEvents, describeField, envelope } from '../dist/audit/events.js'
import { createAuditSchema } from '../dist/audit/schema.js'
import { createConfigSchema } from '../dist/config/schema.js'
import { settingsTable } from '../dist/config/table.js'
import { faults } from '../dist/errors.js'
import { createLog } from '../dist/log.js'
import { logEvents } from '../dist/logEvents.js'
import { eventFields, faultFields } from '../dist/logFields.js'
import { formatCreateRoleScript } from '../dist/provisioning/privileges.js'

const root = new URL('../', import.meta.url)

const code = text => `\`${text}\``
const table = (head, rows) => [head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |\n`).join('')

/** What a client receives: a reply, a closed connection, or nothing because the fault ends a program. */
function replyText({ reply, httpStatus, exit }) {
  if (reply) return `${reply.code} ${reply.codeName}`
  if (httpStatus !== undefined) return `HTTP ${httpStatus}`
  return exit === undefined ? 'connection closed' : `exit code ${exit}`
}

/** The message that a client receives, if it is always the same; otherwise the summary, which the message or the log has. */
function messageText({ reply, summary }) {
  const text = reply?.toText?.(summary, '…') ?? summary
  return text === '…' || text.includes(summary) ? summary : text
}

function faultsTable(kinds) {
  const rows = kinds.map(kind => {
    const fault = faults[kind]
    return [code(kind), replyText(fault), fault.level, messageText(fault), fault.remedy]
  })
  return table(['fault', 'client receives', 'level', 'message', 'what to do'], rows)
}

const MAX_LISTED_VALUES = 8

function labelsText(labels) {
  const texts = Object.entries(labels).map(([label, values]) => {
    if (values.length === 0) return code(label)
    if (values.length <= MAX_LISTED_VALUES) return `${code(label)}: ${values.join(', ')}`
    return `${code(label)}: ${values.includes('success') ? 'success, or ' : ''}a [fault](faults.md)`
  })
  return texts.join('; ')
}

/** The Prometheus types of our own kinds. */
const TYPES = { state: 'gauge', collected: 'gauge', info: 'gauge', collectedCounter: 'counter' }

function metricsTable() {
  const rows = Object.entries(metrics).map(([name, { kind, labels, help }]) => {
    const type = TYPES[kind] ?? kind
    return [code(`mongo_iam_proxy_${name}`), type, labelsText(labels), help]
  })
  return table(['metric', 'type', 'labels', 'meaning'], rows)
}

/** Recorded lines. */
const examples = readFileSync(new URL('test/vectors/log-lines.jsonl', root), 'utf8')
  .trim()
  .split('\n')
  .map(line => JSON.parse(line))

/** The recorded line as the log writes it today. */
function formatLine({ level, time, event, ...fields }) {
  let text = ''
  const write = line => {
    text += line
  }
  createLog('debug', { write })(level, event, fields)
  return text.trimEnd().replace(/"time":"[^"]*"/, `"time":"${time}"`)
}

const linesOf = event =>
  examples
    .filter(line => line.event === event)
    .map(formatLine)
    .join('\n')

const meaningOf = { ...faultFields, ...eventFields }
const fieldsTable = fields =>
  table(
    ['field', 'meaning'],
    fields.map(field => [code(field), meaningOf[field]]),
  )

function eventSections() {
  const sections = Object.entries(logEvents).map(([event, { levels, summary, fields, fault }]) => {
    const parts = [
      `## ${event}`,
      `${summary} ${levels.length === 1 ? 'Level' : 'Levels'}: ${levels.map(code).join(', ')}.`,
      `\`\`\`json\n${linesOf(event)}\n\`\`\``,
    ]
    if (fields.length > 0) parts.push(fieldsTable(fields).trimEnd())
    if (fault) parts.push('This line also has the [fields of its fault](#fields-of-faults).')
    return parts.join('\n\n')
  })
  return `${sections.join('\n\n')}\n`
}

function auditEnvelopeTable() {
  return table(
    ['field', 'meaning'],
    Object.entries(envelope).map(([name, schema]) => [code(name), schema.description]),
  )
}

function auditSections() {
  const sections = Object.entries(auditEvents).map(([type, { summary, required, optional, personalData }]) => {
    const row = isRequired => name => [code(name), isRequired ? 'always' : '', describeField(name)]
    const rows = [...required.map(row(true)), ...optional.map(row(false))]
    return [
      `## ${type}`,
      summary,
      `Personal data: ${personalData.length === 0 ? 'none' : personalData.map(code).join(', ')}.`,
      table(['field', 'present', 'meaning'], rows).trimEnd(),
    ].join('\n\n')
  })
  return `${sections.join('\n\n')}\n`
}

function fillFaultTables(text) {
  const seen = []
  const filled = text.replace(/(<!-- faults: ([^>]*) -->\n)[^]*?(<!-- \/faults -->)/g, (_, open, list, close) => {
    const kinds = list.trim().split(/\s+/)
    seen.push(...kinds)
    return `${open}${faultsTable(kinds)}${close}`
  })
  const missing = Object.keys(faults).filter(kind => !seen.includes(kind))
  if (missing.length > 0) throw new Error(`docs/errors.md lacks ${missing.join(', ')}`)
  return filled
}

const block = (name, content) => text =>
  text.replace(
    new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`),
    (_, open, close) => `${open}${content}${close}`,
  )

const pages = {
  'docs/reference/settings.md': [block('settings', settingsTable())],
  'docs/reference/faults.md': [block('faults', faultsTable(Object.keys(faults)))],
  'docs/reference/metrics.md': [block('metrics', metricsTable())],
  'docs/reference/log.md': [
    block('events', eventSections()),
    block('fault-fields', fieldsTable(Object.keys(faultFields))),
  ],
  'docs/reference/audit.md': [block('envelope', auditEnvelopeTable()), block('audit-events', auditSections())],
  'docs/reference/audit.schema.json': [() => `${JSON.stringify(createAuditSchema(), null, 2)}\n`],
  'docs/reference/config.schema.json': [() => `${JSON.stringify(createConfigSchema(), null, 2)}\n`],
  'docs/errors.md': [fillFaultTables],
  'docs/provisioning.md': [block('privileges', `\`\`\`js\n${formatCreateRoleScript()}\`\`\`\n`)],
}

const isCheck = process.argv.includes('--check')
for (const [path, steps] of Object.entries(pages)) {
  const file = new URL(path, root)
  const before = readFileSync(file, 'utf8')
  const after = steps.reduce((text, step) => step(text), before)
  if (after === before) continue
  console.log(path)
  if (isCheck) process.exitCode = 1
  else writeFileSync(file, after)
}
