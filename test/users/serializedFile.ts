import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openOwnFile } from '../../src/users/serializedFile.js'
import { faultOf } from '../support/faults.js'
import { createTempFolder } from '../support/program.js'

const inFolder = (t: Test) => {
  const folder = createTempFolder(t)
  return { folder, path: join(folder, 'pins.json'), open: () => openOwnFile(join(folder, 'pins.json'), 'pins.file') }
}

t.test('a link in the place of the temporary file is not followed', async t => {
  const { folder, path, open } = inFolder(t)
  const victim = join(folder, 'victim')
  writeFileSync(victim, 'of somebody else', { mode: 0o644 })
  symlinkSync(victim, `${path}.new`)
  await open().write('ours')
  t.equal(readFileSync(victim, 'utf8'), 'of somebody else')
  t.equal(readFileSync(path, 'utf8'), 'ours')
  t.equal(lstatSync(path).isFile(), true)
})

t.test('the file belongs to the user of the proxy alone, whatever lay there before', async t => {
  const { folder, path, open } = inFolder(t)
  writeFileSync(path, 'old', { mode: 0o666 })
  writeFileSync(`${path}.new`, 'prepared', { mode: 0o666 })
  await open().write('ours')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(readFileSync(`${path}.new`, 'utf8'), 'prepared', 'a file of somebody else stays')
  t.same(readdirSync(folder).sort(), ['pins.json', 'pins.json.new'])
})

t.test('a link in the place of the file is replaced, and its target stays', async t => {
  const { folder, path, open } = inFolder(t)
  const victim = join(folder, 'victim')
  writeFileSync(victim, 'of somebody else')
  symlinkSync(victim, path)
  await open().write('ours')
  t.equal(readFileSync(victim, 'utf8'), 'of somebody else')
  t.equal(lstatSync(path).isFile(), true)
  t.equal(readFileSync(path, 'utf8'), 'ours')
})

t.test('a write that fails leaves no temporary file', async t => {
  const { folder, path, open } = inFolder(t)
  const file = openOwnFile(path, 'pins.file')
  mkdirSync(join(path, 'occupied'), { recursive: true })
  await t.rejects(file.write('ours'), { code: /EISDIR|ENOTEMPTY|EEXIST/ })
  t.same(readdirSync(folder), ['pins.json'])
  t.equal(faultOf(open)?.kind, 'config/invalid')
})

t.test('each write uses a name that cannot be guessed', async t => {
  const { path, open } = inFolder(t)
  const names = new Set<string>()
  const file = openOwnFile(path, 'pins.file', size => {
    const bytes = Buffer.alloc(size, names.size)
    names.add(`${path}.${bytes.toString('hex')}.new`)
    return bytes
  })
  await file.write('one')
  const [first = '', ...rest] = names
  t.same(rest, [])
  t.ok(first.length >= path.length + '.new'.length + 32)
  symlinkSync('/nowhere', `${path}.${'01'.repeat(16)}.new`)
  await t.rejects(file.write('two'), { code: 'EEXIST' }, 'a name that exists is not used')
  t.equal(readFileSync(path, 'utf8'), 'one')
  t.ok(lstatSync(`${path}.${'01'.repeat(16)}.new`).isSymbolicLink(), 'and is not removed')
  await open().write('three')
  t.equal(readFileSync(path, 'utf8'), 'three')
})
