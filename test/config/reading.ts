import { chmodSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readFile, readText } from '../../src/config/reading.js'

t.test('the text of a file comes with whether every user may read it, and when it was modified', async t => {
  const folder = t.testdir({ mine: 'für mich', everyones: 'x' })
  chmodSync(join(folder, 'mine'), 0o600)
  chmodSync(join(folder, 'everyones'), 0o644)
  const [mine, everyones] = [join(folder, 'mine'), join(folder, 'everyones')]
  const modified = new Date('2026-08-13T12:00:00Z')
  for (const path of [mine, everyones]) utimesSync(path, modified, modified)
  t.same(readText(readFile, mine), { text: 'für mich', isWorldReadable: false, modified })
  t.same(readText(readFile, everyones), { text: 'x', isWorldReadable: true, modified })
})

t.test('a file that cannot be read gives the reason', async t => {
  const folder = t.testdir({ file: 'x' })
  t.same(readText(readFile, join(folder, 'none')), { why: 'there is no such file' })
  t.same(readText(readFile, folder), { why: 'it is a directory' })
  t.same(readText(readFile, join(folder, 'file', 'below')), { why: 'a part of its path is not a directory' })
})
