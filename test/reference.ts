import { readFileSync } from 'node:fs'
import t from 'tap'
import { renderMetricsTable } from '../src/admin/metrics.js'
import { settingsTable } from '../src/config/table.js'
import { renderFaultsTable } from '../src/errors.js'
import { formatCreateRoleScript } from '../src/provisioning/privileges.js'

const root = new URL('..', import.meta.url)

for (const [page, name, table] of [
  ['reference/settings.md', 'settings', settingsTable()],
  ['reference/faults.md', 'faults', renderFaultsTable()],
  ['reference/metrics.md', 'metrics', renderMetricsTable()],
  ['provisioning.md', 'privileges', `\`\`\`js\n${formatCreateRoleScript()}\`\`\`\n`],
] as const) {
  t.test(`docs/${page} has the ${name} of the program (npm run docs writes them)`, async t => {
    const text = readFileSync(new URL(`docs/${page}`, root), 'utf8')
    t.equal(text.split(`<!-- ${name} -->\n`)[1]?.split(`<!-- /${name} -->`)[0], table)
  })
}
