import t from 'tap'
import { allSettings } from '../../src/config/settings.js'
import { settingsTable, settingsText } from '../../src/config/table.js'

t.test('the Markdown table has one line per setting', async t => {
  const lines = settingsTable().split('\n')
  t.equal(lines.length, allSettings.length + 3)
  t.equal(lines[0], '| setting | flag | variable | default | what it does | reloaded |')
  t.ok(
    lines.includes(
      '| `login.timeout` | `--login-timeout` | `MONGO_IAM_PROXY_LOGIN_TIMEOUT` | `8s` | Maximum duration of a login, from the signed request to its answer. | yes |',
    ),
  )
  t.match(lines.at(-2), /^\| `users` \| {2}\| {2}\| {2}\| /)
  for (const line of lines.slice(0, -1)) t.equal(line.split('|').length, 8, line)
})

t.test('the text for the terminal has two lines per setting', async t => {
  t.match(
    settingsText(),
    /^login\.timeout {2,}Maximum duration of a login.*\[8s\]\n {2,}--login-timeout {2}MONGO_IAM_PROXY_LOGIN_TIMEOUT$/m,
  )
  t.match(settingsText(), /^users .*\n *in the file only$/m)
})
