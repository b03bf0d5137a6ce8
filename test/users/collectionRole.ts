import t from 'tap'
import {
  buildCreateRole,
  getRolePrefix,
  isCollectionRole,
  isFleetRole,
  toRoleName,
} from '../../src/users/collectionRole.js'

const collectionRole = { role: 'readWrite', db: 'app', collection: 'orders/2026.q1' }

t.test('a role for one collection is granted under a name that tells its creator', async t => {
  t.same(toRoleName('default', collectionRole), { role: 'mongo-iam-proxy/default/readWrite/orders/2026.q1', db: 'app' })
  t.same(toRoleName('default', { role: 'read', db: 'app' }), { role: 'read', db: 'app' })
  t.ok(isCollectionRole(collectionRole))
  t.notOk(isCollectionRole({ role: 'read', db: 'app' }))
})

t.test('the created role allows actions on that collection only', async t => {
  const { privileges, roles, createRole } = buildCreateRole('default', collectionRole)
  t.same(roles, [])
  t.ok(createRole.startsWith(getRolePrefix('default')))
  t.match(privileges, [{ resource: { db: 'app', collection: 'orders/2026.q1' } }])
  t.ok(privileges[0].actions.includes('insert'))
  t.notOk(buildCreateRole('default', { ...collectionRole, role: 'read' }).privileges[0].actions.includes('insert'))
})

t.test('a role with such a name and other privileges does not belong to the fleet', async t => {
  const { createRole: name, privileges, roles } = buildCreateRole('default', collectionRole)
  const stored = { role: name, db: 'app', privileges, roles }
  t.ok(isFleetRole('default', stored))
  const [privilege] = privileges
  const ordered = { ...privilege, actions: [...privilege.actions].reverse() }
  t.ok(isFleetRole('default', { ...stored, privileges: [ordered] }), 'servers sort actions')
  const rows: [string, object][] = [
    ['another database', { db: 'other' }],
    ['another action', { privileges: [{ ...privilege, actions: [...privilege.actions, 'dropDatabase'] }] }],
    ['one action less', { privileges: [{ ...privilege, actions: privilege.actions.slice(1) }] }],
    ['another resource', { privileges: [{ ...privilege, resource: { db: 'app', collection: '' } }] }],
    ['a second privilege', { privileges: [privilege, privilege] }],
    ['none', { privileges: [] }],
    ['an inherited role', { roles: [{ role: 'dbOwner', db: 'app' }] }],
    ['no roles', { roles: undefined }],
    ['another name', { role: 'orders' }],
    ['a role that cannot be limited to a collection', { role: `${getRolePrefix('default')}dbOwner/orders` }],
    ['no collection', { role: `${getRolePrefix('default')}read/` }],
  ]
  for (const [what, changes] of rows) t.notOk(isFleetRole('default', { ...stored, ...changes }), what)
  t.notOk(isFleetRole('other', stored), 'another fleet')
})
