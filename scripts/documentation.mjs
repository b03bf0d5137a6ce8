// Writes the tables of README.md anew from the rows that the program itself reads. Run it after `npm run build`.
import { readFileSync, writeFileSync } from 'node:fs'
import { renderMetricsTable } from '../dist/admin/metrics.js'
import { settingsTable } from '../dist/config/table.js'
import { renderFaultsTable } from '../dist/errors.js'
import { formatCreateRoleScript } from '../dist/provisioning/privileges.js'

const tables = {
  settings: settingsTable(),
  faults: renderFaultsTable(),
  metrics: renderMetricsTable(),
  privileges: `\`\`\`js\n${formatCreateRoleScript()}\`\`\`\n`,
}
const path = new URL('../README.md', import.meta.url)
let text = readFileSync(path, 'utf8')
for (const [name, table] of Object.entries(tables)) {
  text = text.replace(new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`), (_, open, close) => open + table + close)
}
writeFileSync(path, text)
