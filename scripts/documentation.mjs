// Writes the generated tables of the documentation from the rows that the program itself reads. Run it after `npm run build`.
import { readFileSync, writeFileSync } from 'node:fs'
import { renderMetricsTable } from '../dist/admin/metrics.js'
import { settingsTable } from '../dist/config/table.js'
import { renderFaultsTable } from '../dist/errors.js'
import { formatCreateRoleScript } from '../dist/provisioning/privileges.js'

const tables = {
  'docs/reference/settings.md': ['settings', settingsTable()],
  'docs/reference/faults.md': ['faults', renderFaultsTable()],
  'docs/reference/metrics.md': ['metrics', renderMetricsTable()],
  'docs/provisioning.md': ['privileges', `\`\`\`js\n${formatCreateRoleScript()}\`\`\`\n`],
}
for (const [page, [name, table]] of Object.entries(tables)) {
  const path = new URL(`../${page}`, import.meta.url)
  const text = readFileSync(path, 'utf8')
  const block = new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`)
  writeFileSync(path, text.replace(block, (_, open, close) => open + table + close))
}
