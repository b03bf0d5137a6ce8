import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readFile, readText } from '../../src/config/reading.js'

t.test('the text of a file comes with whether every user may read it', async t => {
  const folder = t.testdir({ mine: 'für mich', everyones: 'x' })
  chmodSync(join(folder, 'mine'), 0o600)
  chmodSync(join(folder, 'everyones'), 0o644)
  t.same(readText(readFile, join(folder, 'mine')), { text: 'für mich', isWorldReadable: false })
  t.same(readText(readFile, join(folder, 'everyones')), { text: 'x', isWorldReadable: true })
})

t.test('a file that cannot be read gives the reason', async t => {
  const folder = t.testdir({ file: 'x' })
  t.same(readText(readFile, join(folder, 'none')), { why: 'there is no such file' })
  t.same(readText(readFile, folder), { why: 'it is a directory' })
  t.same(readText(readFile, join(folder, 'file', 'below')), { why: 'a part of its path is not a directory' })
})
