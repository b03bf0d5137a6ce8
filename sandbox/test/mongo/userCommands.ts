import type { Document } from 'bson'
import t from 'tap'
import { errorCodeOf, startMongo } from '../../../test/support/mongo.js'

const create = (fields: Document) => ({ createUser: 'v', pwd: 'x', roles: [], ...fields })
const restricted = (...authenticationRestrictions: unknown[]) => create({ authenticationRestrictions })

/** Codes: 2 BadValue, 14 TypeMismatch, 162 CollectionIsEmpty, 40414 missing field, 40415 unknown field. */
const malformed: [what: string, command: Document, code: number][] = [
  ['an unknown field', create({ password: 'x' }), 40415],
  ['no roles', { createUser: 'v', pwd: 'x' }, 40414],
  ['roles that are no list', create({ roles: 'read' }), 14],
  ['a role that is no name', create({ roles: [1] }), 2],
  ['a role without a database', create({ roles: [{ role: 'read' }] }), 40414],
  ['a role with an unknown field', create({ roles: [{ role: 'read', db: 'app', on: 1 }] }), 40415],
  ['a name that is no string', { createUser: 1, pwd: 'x', roles: [] }, 14],
  ['an empty name', { createUser: '', pwd: 'x', roles: [] }, 2],
  ['a password that is no string', create({ pwd: 1 }), 14],
  ['customData that is a string', create({ customData: 'x' }), 14],
  ['customData that is a list', create({ customData: [] }), 14],
  ['restrictions that are no list', create({ authenticationRestrictions: { clientSource: ['::1'] } }), 14],
  ['a restriction that is no document', restricted('127.0.0.1'), 14],
  ['an empty restriction', restricted({}), 162],
  ['a restriction with an unknown field', restricted({ clientSource: ['::1'], from: 1 }), 40415],
  ['a source that is no list', restricted({ clientSource: '127.0.0.1' }), 14],
  ['a source that is no string', restricted({ clientSource: [1] }), 14],
  ['a source that is no address', restricted({ clientSource: ['1.2.3.4.5'] }), 2],
  ['a network that is too narrow', restricted({ clientSource: ['10.0.0.0/33'] }), 2],
  ['a server address that is none', restricted({ serverAddress: ['localhost'] }), 2],
  ['an unknown mechanism', create({ mechanisms: ['PLAIN'] }), 2],
]

t.test('createUser and updateUser reject malformed input', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  for (const [what, command, code] of malformed) {
    t.equal(await errorCodeOf(app.command(command)), code, what)
  }
  t.same((await app.command({ usersInfo: 1 })).users, [], 'no user was created')

  await app.command(create({ createUser: 'u' }))
  for (const [what, { createUser: _, roles, ...fields }, code] of malformed.filter(
    ([, { createUser }]) => createUser === 'v',
  )) {
    if (roles === undefined) continue // updateUser has no required field
    const { pwd, ...changed } = { ...fields, ...(roles.length !== 0 && { roles }) } as Document
    const command = { updateUser: 'u', ...changed, ...((pwd !== 'x' || changed.mechanisms) && { pwd }) }
    t.equal(await errorCodeOf(app.command(command)), code, `${what}, in updateUser`)
  }
})

t.test('well-formed restrictions and options of every command are accepted', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  const restriction = { clientSource: ['10.0.0.0/8', '::1', '2001:db8::/32'], serverAddress: ['127.0.0.1'] }
  await app.command({ ...restricted(restriction), writeConcern: { w: 1 }, comment: 'x', maxTimeMS: 1000 })
  const { users } = await app.command({ usersInfo: 'v', showAuthenticationRestrictions: 1 })
  t.match(users, [{ authenticationRestrictions: [restriction] }])
})

t.test('the database local has no users and no roles', async t => {
  const { client } = await startMongo(t)
  const local = client.db('local')
  t.equal(await errorCodeOf(local.command(create({}))), 2)
  t.equal(await errorCodeOf(local.command({ createRole: 'r', privileges: [], roles: [] })), 2)
  t.equal(await errorCodeOf(client.db('$external').command({ createRole: 'r', privileges: [], roles: [] })), 2)
})

t.test('usersInfo shows privileges and restrictions of named users only', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  await app.command(create({}))
  for (const shown of [{ showPrivileges: true }, { showAuthenticationRestrictions: true }]) {
    t.equal(await errorCodeOf(app.command({ usersInfo: 1, ...shown })), 20)
    t.equal(await errorCodeOf(app.command({ usersInfo: { forAllDBs: true }, ...shown })), 20)
    t.equal(await errorCodeOf(app.command({ usersInfo: 'v', filter: {}, ...shown })), 20)
    t.equal((await app.command({ usersInfo: ['v'], ...shown })).users.length, 1)
  }
  t.equal(await errorCodeOf(app.command({ usersInfo: 1, showAll: true })), 40415)
  t.equal(await errorCodeOf(app.command({ usersInfo: 1, filter: 'v' })), 14)
})

t.test('the other commands about users reject malformed input', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  await app.command(create({}))
  for (const name of ['grantRolesToUser', 'revokeRolesFromUser']) {
    t.equal(await errorCodeOf(app.command({ [name]: 'v', roles: [] })), 2, name)
    t.equal(await errorCodeOf(app.command({ [name]: 'v' })), 40414, name)
    t.equal(await errorCodeOf(app.command({ [name]: 'v', roles: ['read'], role: 'read' })), 40415, name)
  }
  t.equal(await errorCodeOf(app.command({ dropUser: 'v', force: true })), 40415)
  t.equal(await errorCodeOf(app.command({ dropAllUsersFromDatabase: 1, force: true })), 40415)
})
