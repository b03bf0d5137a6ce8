import type { Document } from 'bson'
import t from 'tap'
import { errorCodeOf, startMongo } from '../../../test/support/mongo.js'

const privilege = { resource: { db: 'app', collection: 'c' }, actions: ['find'] }
const create = (fields: Document) => ({ createRole: 'r', privileges: [], roles: [], ...fields })

/** Codes: 2 BadValue, 14 TypeMismatch, 49 InvalidRoleModification, 40414 missing field, 40415 unknown field. */
const malformed: [what: string, command: Document, code: number][] = [
  ['an unknown field', create({ privilege }), 40415],
  ['no privileges', { createRole: 'r', roles: [] }, 40414],
  ['no roles', { createRole: 'r', privileges: [] }, 40414],
  ['privileges that are no list', create({ privileges: privilege }), 14],
  ['a privilege that is no document', create({ privileges: ['find'] }), 14],
  ['a privilege without a resource', create({ privileges: [{ actions: ['find'] }] }), 40414],
  ['a privilege without actions', create({ privileges: [{ resource: privilege.resource }] }), 40414],
  ['an empty list of actions', create({ privileges: [{ ...privilege, actions: [] }] }), 2],
  ['a malformed restriction', create({ authenticationRestrictions: [{}] }), 162],
  ['the name of a built-in role', create({ createRole: 'readWrite' }), 2],
  [
    'a privilege on another database',
    create({ privileges: [{ ...privilege, resource: { db: 'b', collection: '' } }] }),
    49,
  ],
  ['a privilege on the cluster', create({ privileges: [{ resource: { cluster: true }, actions: ['inprog'] }] }), 49],
  ['a role of another database', create({ roles: [{ role: 'read', db: 'other' }] }), 49],
]

t.test('createRole rejects malformed input', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  for (const [what, command, code] of malformed) t.equal(await errorCodeOf(app.command(command)), code, what)
  t.same((await app.command({ rolesInfo: 1 })).roles, [], 'no role was created')
  t.equal(await errorCodeOf(client.db('admin').command(create({ createRole: 'root' }))), 2)
  t.equal(await errorCodeOf(app.command(create({ createRole: 'root' }))), undefined, 'a built-in name of admin alone')
})

t.test('a role does not inherit itself, directly or through another one', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  await app.command(create({ createRole: 'a' }))
  await app.command(create({ createRole: 'b', roles: ['a'] }))
  t.equal(await errorCodeOf(app.command({ grantRolesToRole: 'a', roles: ['a'] })), 49)
  t.equal(await errorCodeOf(app.command({ grantRolesToRole: 'a', roles: ['b'] })), 49)
  t.equal(await errorCodeOf(app.command({ updateRole: 'a', roles: ['b'] })), 49)
})

t.test('built-in roles cannot be modified', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  for (const command of [
    { grantPrivilegesToRole: 'read', privileges: [privilege] },
    { grantRolesToRole: 'read', roles: ['readWrite'] },
    { revokeRolesFromRole: 'read', roles: ['readWrite'] },
    { dropRole: 'read' },
  ]) {
    t.equal(await errorCodeOf(app.command(command)), 2, JSON.stringify(command))
  }
})

t.test('the other commands about roles reject malformed input', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  await app.command(create({}))
  t.equal(await errorCodeOf(app.command({ updateRole: 'r' })), 2)
  t.equal(await errorCodeOf(app.command({ updateRole: 'r', privileges: 'find' })), 14)
  t.equal(await errorCodeOf(app.command({ updateRole: 'r', authenticationRestrictions: [{ clientSource: ['x'] }] })), 2)
  t.equal(await errorCodeOf(app.command({ grantPrivilegesToRole: 'r', privileges: [] })), 2)
  t.equal(await errorCodeOf(app.command({ grantPrivilegesToRole: 'r' })), 40414)
  t.equal(await errorCodeOf(app.command({ grantRolesToRole: 'r', roles: [] })), 2)
  t.equal(await errorCodeOf(app.command({ revokeRolesFromRole: 'r', role: 'read' })), 40415)
  t.equal(await errorCodeOf(app.command({ rolesInfo: 1, showAll: true })), 40415)
  t.equal(await errorCodeOf(app.command({ dropRole: 'r', force: true })), 40415)
})
