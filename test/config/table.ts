import t from 'tap'
import { allSettings } from '../../src/config/settings.js'
import { settingsTable, settingsText } from '../../src/config/table.js'

t.test('the Markdown table has one line per setting', async t => {
  const lines = settingsTable().split('\n')
  t.equal(lines.length, allSettings.length + 3)
  t.equal(lines[0], '| setting | flag | variable | default | what it does | reloaded |')
  t.ok(
    lines.includes(
      '| `login.queueTimeout` | `--login-queue-timeout` | `MONGO_IAM_PROXY_LOGIN_QUEUE_TIMEOUT` | `4s` | How long a login may wait for a call to STS before it is answered with code 262. | yes |',
    ),
  )
  t.match(lines.at(-2), /^\| `users` \| {2}\| {2}\| {2}\| /)
  for (const line of lines.slice(0, -1)) t.equal(line.split('|').length, 8, line)
})

t.test('the text for the terminal has two lines per setting', async t => {
  t.match(
    settingsText(),
    /^login\.queueTimeout {2,}How long a login may wait.*\[4s\]\n {2,}--login-queue-timeout {2}MONGO_IAM_PROXY_LOGIN_QUEUE_TIMEOUT$/m,
  )
  t.match(settingsText(), /^users .*\n *in the file only$/m)
})
