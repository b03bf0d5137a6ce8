import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readFile, readText } from '../../src/config/reading.js'

t.test('text of a file, and whether everybody may read it', async t => {
  const folder = t.testdir({ mine: 'für mich', everybodys: 'x' })
  chmodSync(join(folder, 'mine'), 0o600)
  chmodSync(join(folder, 'everybodys'), 0o644)
  t.same(readText(readFile, join(folder, 'mine')), { text: 'für mich', open: false })
  t.same(readText(readFile, join(folder, 'everybodys')), { text: 'x', open: true })
})

t.test('why there is none', async t => {
  const folder = t.testdir({ file: 'x' })
  t.same(readText(readFile, join(folder, 'none')), { why: 'there is no such file' })
  t.same(readText(readFile, folder), { why: 'it is a folder' })
  t.same(readText(readFile, join(folder, 'file', 'below')), { why: 'a part of its path is not a folder' })
})
