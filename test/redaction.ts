import t from 'tap'
import { describePath, describeText } from '../src/redaction.js'

t.test('numbers and durations are repeated, other texts are described', async t => {
  for (const text of ['0', '-1', '65536', '0.5', '90m', '500ms']) t.equal(describeText(text), `"${text}"`)
  for (const text of ['hunter2', '1e3', '90%', '5 seconds', '0x10', '7hunter2', '1'.repeat(16), '12345678s\n']) {
    t.equal(describeText(text), `a text of ${text.length} characters`)
  }
  t.equal(describeText(''), 'an empty text')
  t.equal(describeText('x'), 'a text of 1 character')
  t.equal(describeText('🔑🔑'), 'a text of 2 characters', 'not of four halves')
})

t.test('absolute paths without a colon, an @ or a blank are repeated, other paths are described', async t => {
  for (const path of ['/', '/run/secrets/alice', '/etc/mongo-iam-proxy/tls.crt']) t.equal(describePath(path), path)
  for (const path of [
    'hunter2',
    './hunter2',
    '/run/a:hunter2',
    '/a@hunter2',
    '/a hunter2',
    '/a\u0085hunter2',
    '/a\n',
  ]) {
    t.equal(describePath(path), `a path of ${path.length} characters (not shown)`)
  }
})
