import t from 'tap'
import { hasSystemUsers, isFerretdb } from '../../src/upstream/edition.js'

t.test('every release of FerretDB is recognized by its buildInfo', async t => {
  t.ok(isFerretdb({ version: '7.0.42', ferretdbVersion: 'v1.24.2', ferretdbFeatures: {} }))
  t.ok(isFerretdb({ version: '7.0.77', ferretdb: { version: 'v2.5.0', package: 'docker' } }))
  t.ok(isFerretdb({ version: '7.0.77', ferretdb: {} }))
  t.notOk(isFerretdb({ version: '8.0.4', modules: [] }))
  t.notOk(isFerretdb({ version: '8.0.4', psmdbVersion: '8.0.4-1' }))
  t.notOk(isFerretdb({ ok: 0, code: 13 }))
})

t.test('FerretDB 2 has no users in admin.system.users', async t => {
  t.notOk(hasSystemUsers({ version: '7.0.77', ferretdb: { version: 'v2.5.0' } }))
  t.ok(hasSystemUsers({ version: '7.0.42', ferretdbVersion: 'v1.24.2', ferretdbFeatures: {} }))
  t.ok(hasSystemUsers({ version: '8.0.4', modules: [] }))
  t.ok(hasSystemUsers({ ok: 0, code: 13 }))
})
