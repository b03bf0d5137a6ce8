import { mkdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openAuditDestination } from '../../src/audit/destination.js'
import { faultOf } from '../support/faults.js'

const write = (destination: ReturnType<typeof openAuditDestination>, text: string) =>
  new Promise<void>((resolve, reject) =>
    destination.write(Buffer.from(text), error => (error ? reject(error) : resolve())),
  )

t.test('a file is created for its owner alone and appended to', async t => {
  const path = join(t.testdir(), 'audit.log')
  const destination = openAuditDestination(path)
  await write(destination, 'one\n')
  destination.close()
  const again = openAuditDestination(path)
  await write(again, 'two\n')
  again.close()
  t.equal(readFileSync(path, 'utf8'), 'one\ntwo\n')
  t.equal(statSync(path).mode & 0o777, 0o600)
})

t.test('a line that a killed process left incomplete is ended', async t => {
  const path = join(t.testdir({ 'audit.log': '{"half' }), 'audit.log')
  const destination = openAuditDestination(path)
  await write(destination, 'one\n')
  t.equal(readFileSync(path, 'utf8'), '{"half\none\n')
  destination.close()
})

t.test('after a rotation the new file is written', async t => {
  const path = join(t.testdir(), 'audit.log')
  const destination = openAuditDestination(path)
  await write(destination, 'one\n')
  renameSync(path, `${path}.1`)
  await write(destination, 'two\n')
  destination.reopen()
  await write(destination, 'three\n')
  t.equal(readFileSync(`${path}.1`, 'utf8'), 'one\ntwo\n')
  t.equal(readFileSync(path, 'utf8'), 'three\n')
  t.equal(destination.recover(), false, 'it is the same file')
  destination.close()
})

t.test('a path that cannot be opened is a problem of the configuration', async t => {
  const folder = t.testdir()
  mkdirSync(join(folder, 'folder'))
  for (const path of [join(folder, 'folder'), join(folder, 'missing', 'audit.log')]) {
    t.equal(faultOf(() => openAuditDestination(path))?.kind, 'config/invalid')
  }
})

t.test('a reopening that fails keeps the open file', async t => {
  const folder = t.testdir()
  const path = join(folder, 'audit.log')
  const destination = openAuditDestination(path)
  renameSync(path, `${path}.1`)
  mkdirSync(path)
  t.equal(faultOf(() => destination.reopen())?.kind, 'audit/unavailable')
  await write(destination, 'one\n')
  t.equal(readFileSync(`${path}.1`, 'utf8'), 'one\n')
  destination.close()
})
