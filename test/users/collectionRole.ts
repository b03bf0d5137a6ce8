import t from 'tap'
import { creating, grantedAs, isCut, isOurs, prefixOf } from '../../src/users/collectionRole.js'

const cut = { role: 'readWrite', db: 'app', collection: 'orders/2026.q1' }

t.test('a role for one collection is granted under a name that says who made it', async t => {
  t.same(grantedAs('default', cut), { role: 'mongo-iam-proxy/default/readWrite/orders/2026.q1', db: 'app' })
  t.same(grantedAs('default', { role: 'read', db: 'app' }), { role: 'read', db: 'app' })
  t.ok(isCut(cut))
  t.notOk(isCut({ role: 'read', db: 'app' }))
})

t.test('it reads or writes that collection and nothing else', async t => {
  const { privileges, roles, createRole } = creating('default', cut)
  t.same(roles, [])
  t.ok(createRole.startsWith(prefixOf('default')))
  t.match(privileges, [{ resource: { db: 'app', collection: 'orders/2026.q1' } }])
  t.ok(privileges[0].actions.includes('insert'))
  t.notOk(creating('default', { ...cut, role: 'read' }).privileges[0].actions.includes('insert'))
})

t.test('what has such a name and other rights is not ours', async t => {
  const { createRole: role, privileges, roles } = creating('default', cut)
  const stored = { role, db: 'app', privileges, roles }
  t.ok(isOurs('default', stored))
  const [privilege] = privileges
  const ordered = { ...privilege, actions: [...privilege.actions].reverse() }
  t.ok(isOurs('default', { ...stored, privileges: [ordered] }), 'servers sort actions')
  const rows: [string, object][] = [
    ['another database', { db: 'other' }],
    ['another action', { privileges: [{ ...privilege, actions: [...privilege.actions, 'dropDatabase'] }] }],
    ['one action less', { privileges: [{ ...privilege, actions: privilege.actions.slice(1) }] }],
    ['another resource', { privileges: [{ ...privilege, resource: { db: 'app', collection: '' } }] }],
    ['a second privilege', { privileges: [privilege, privilege] }],
    ['none', { privileges: [] }],
    ['a role in it', { roles: [{ role: 'dbOwner', db: 'app' }] }],
    ['no roles', { roles: undefined }],
    ['another name', { role: 'orders' }],
    ['a role that cannot be cut', { role: `${prefixOf('default')}dbOwner/orders` }],
    ['no collection', { role: `${prefixOf('default')}read/` }],
  ]
  for (const [what, changes] of rows) t.notOk(isOurs('default', { ...stored, ...changes }), what)
  t.notOk(isOurs('other', stored), 'another fleet')
})
