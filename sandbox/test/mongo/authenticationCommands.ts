import { randomBytes } from 'node:crypto'
import { Binary, type Document } from 'bson'
import t, { type Test } from 'tap'
import { connectRaw, errorCodeOf, root, startMongo } from '../../../test/support/mongo.js'
import { logInWithScram, scramConversation } from '../../../test/support/scram.js'

const options = { skipEmptyExchange: true }

t.test('SCRAM-SHA-256 takes two steps if the empty exchange is skipped, else three', async t => {
  const { server } = await startMongo(t)
  for (const skip of [true, false]) {
    const { ask } = await connectRaw(t, server.port)
    const { start, proof } = scramConversation(root.name, root.password)
    const challenge = await ask(skip ? { ...start, options } : start)
    t.match(challenge, { done: false, ok: 1 })
    const { command, expected, iterations } = proof(challenge)
    t.equal(iterations, 15_000)
    const verdict = await ask(command)
    t.equal(verdict.payload.toString('utf8'), expected, 'the server proves that it knows the password')
    t.equal(verdict.done, skip)
    if (!skip) {
      t.match(await ask({ listDatabases: 1, $db: 'admin' }), { code: { value: 13 } }, 'not logged in yet')
      const empty = { saslContinue: 1, conversationId: 1, payload: new Binary(Buffer.alloc(0)), $db: 'admin' }
      t.match(await ask(empty), { done: true })
    }
    t.match(await ask({ listDatabases: 1, $db: 'admin' }), { ok: { value: 1 } })
  }
})

t.test('hello supports speculative authentication, and omits a failed one', async t => {
  const { server } = await startMongo(t)
  const { ask } = await connectRaw(t, server.port)
  const { start, proof } = scramConversation(root.name, root.password)
  const { $db: db, ...speculated } = { ...start, options }
  const hello = await ask({ hello: 1, speculativeAuthenticate: { ...speculated, db }, $db: 'admin' })
  t.match(hello.speculativeAuthenticate, { done: false })
  t.match(await ask(proof(hello.speculativeAuthenticate).command), { done: true })
  const unknown = scramConversation('nobody', 'x').start
  const refused = await ask({ hello: 1, speculativeAuthenticate: { ...unknown, db }, $db: 'admin' })
  t.match(refused, { ok: { value: 1 }, speculativeAuthenticate: undefined })
})

t.test('saslSupportedMechs lists the mechanisms of a user, and nothing for an unknown user', async t => {
  const { server } = await startMongo(t)
  server.createUser({ user: 'arn:x', db: '$external', roles: [] })
  const { ask } = await connectRaw(t, server.port)
  const supported = async (of: string) =>
    (await ask({ hello: 1, saslSupportedMechs: of, $db: 'admin' })).saslSupportedMechs
  t.same(await supported('admin.root'), ['SCRAM-SHA-1', 'SCRAM-SHA-256'])
  t.same(await supported('$external.arn:x'), [])
  t.equal(await supported('admin.nobody'), undefined)
})

t.test('SASL steps out of order are protocol errors', async t => {
  const { server } = await startMongo(t)
  const { ask } = await connectRaw(t, server.port)
  const { start, proof } = scramConversation(root.name, root.password)
  const next = { saslContinue: 1, conversationId: 1, payload: new Binary(Buffer.alloc(0)), $db: 'admin' }
  t.match(await ask(next), { code: { value: 17 }, errmsg: 'No SASL session state found' })
  const { command } = proof(await ask({ ...start, options }))
  t.match(await ask({ ...command, conversationId: 2 }), { code: { value: 17 } })
  t.match(await ask(command), { code: { value: 17 } }, 'a failed conversation is over')
  const wrong = scramConversation(root.name, 'wrong')
  t.match(await ask(wrong.proof(await ask(wrong.start)).command), {
    ok: { value: 0 },
    code: { value: 18 },
    codeName: 'AuthenticationFailed',
    errmsg: 'Authentication failed.',
  })
  t.match(await ask({ ...start, mechanism: 'MONGODB-AWS', $db: '$external' }), { code: { value: 334 } })
  t.match(await ask({ ...start, options: { skipEmptyExchange: 1 } }), { code: { value: 14 } })
})

t.test('a connection authenticates as one user only', async t => {
  const { server } = await startMongo(t)
  server.createUser({ user: 'other', password: 'pw', roles: [] })
  const { ask } = await connectRaw(t, server.port)
  t.match(await logInWithScram(ask, root.name, root.password), { done: true })
  t.match(await logInWithScram(ask, 'other', 'pw'), { code: { value: 5626701 } })
  t.match(await logInWithScram(ask, root.name, root.password), { done: true }, 'again as the same is fine')
})

t.test('only handshake commands are allowed before authentication', async t => {
  const { server } = await startMongo(t)
  const { ask } = await connectRaw(t, server.port)
  for (const name of [
    'hello',
    'isMaster',
    'ismaster',
    'ping',
    'buildInfo',
    'whatsmyuri',
    'connectionStatus',
    'logout',
  ]) {
    t.match(await ask({ [name]: 1, $db: 'admin' }), { ok: { value: 1 } }, name)
  }
  for (const name of ['find', 'insert', 'listDatabases', 'getParameter', 'serverStatus', 'endSessions', 'nonsense']) {
    const refused = await ask({ [name]: 'x', $db: 'app' })
    t.match(refused, { code: { value: 13 }, errmsg: `Command ${name} requires authentication` }, name)
  }
})

t.test('roles are enforced with the messages of mongod', async t => {
  const { client, as, server } = await startMongo(t)
  await client.db('app').collection<Document>('c').insertOne({ a: 1 })
  server.createUser({ user: 'reader', password: 'pw', roles: [{ role: 'read', db: 'app' }] })
  const reader = (await as('reader', 'pw')).db('app')
  t.equal((await reader.collection('c').find().toArray()).length, 1)
  const refused = await reader
    .collection('c')
    .insertOne({ a: 2 })
    .catch(thrown => thrown)
  t.match(refused, { code: 13, codeName: 'Unauthorized' })
  t.match(refused.message, /^not authorized on app to execute command \{ insert: "c", /)
  t.equal(await errorCodeOf(reader.collection('c').deleteMany({})), 13)
  t.equal(await errorCodeOf(reader.collection('c').updateOne({}, { $set: { a: 1 } })), 13)
  t.equal(await errorCodeOf(reader.collection('c').drop()), 13)
  t.equal(await errorCodeOf(reader.collection('c').createIndex({ a: 1 })), 13)
  t.equal(
    await errorCodeOf(
      reader
        .collection('c')
        .aggregate([{ $unionWith: 'c' }])
        .toArray(),
    ),
    undefined,
  )
  t.equal(await errorCodeOf(reader.admin().command({ getCmdLineOpts: 1 })), 13)
  t.equal(await errorCodeOf(reader.admin().command({ serverStatus: 1 })), 13)
  const elsewhere = (await as('reader', 'pw')).db('other')
  t.equal(await errorCodeOf(elsewhere.collection('c').findOne()), 13)
  t.equal(await errorCodeOf(elsewhere.listCollections().toArray()), 13)
  t.equal(
    await errorCodeOf(elsewhere.listCollections({}, { nameOnly: true, authorizedCollections: true }).toArray()),
    undefined,
  )
  t.same(
    (await reader.admin().listDatabases()).databases.map(({ name }) => name),
    ['app'],
  )
})

t.test('each built-in role can do what it is documented for', async t => {
  const { client, as, server } = await startMongo(t)
  await client.db('app').collection<Document>('c').insertOne({ a: 1 })
  const may = async (role: string, db: string, on: string, command: Document) => {
    const user = `${role}@${db}:${randomBytes(4).toString('hex')}`
    server.createUser({ user, password: 'pw', roles: [{ role, db }] })
    return errorCodeOf((await as(user, 'pw')).db(on).command(command))
  }
  const write = { insert: 'c', documents: [{}] }
  const newUser = { createUser: 'x', pwd: 'x', roles: [] }
  const rows: [role: string, db: string, on: string, command: Document, code: number | undefined][] = [
    ['readWrite', 'app', 'app', write, undefined],
    ['readWrite', 'app', 'other', write, 13],
    ['readWrite', 'app', 'app', newUser, 13],
    ['readWrite', 'app', 'app', { dropDatabase: 1 }, 13],
    ['dbAdmin', 'app', 'app', { find: 'c' }, 13],
    ['dbAdmin', 'app', 'app', { createIndexes: 'c', indexes: [{ key: { a: 1 }, name: 'a' }] }, undefined],
    ['userAdmin', 'app', 'app', { ...newUser, createUser: 'y' }, undefined],
    ['userAdmin', 'app', 'other', newUser, 13],
    ['dbOwner', 'app', 'app', { dropUser: 'y' }, undefined],
    ['dbOwner', 'app', 'app', write, undefined],
    ['clusterMonitor', 'admin', 'admin', { getCmdLineOpts: 1 }, undefined],
    ['clusterMonitor', 'admin', 'admin', { getParameter: '*' }, undefined],
    ['clusterMonitor', 'admin', 'app', { find: 'c' }, 13],
    ['readAnyDatabase', 'admin', 'app', { find: 'c' }, undefined],
    ['readAnyDatabase', 'admin', 'admin', { find: 'system.users' }, 13],
    ['readWriteAnyDatabase', 'admin', 'app', write, undefined],
    ['userAdminAnyDatabase', 'admin', '$external', { createUser: 'arn', roles: [] }, undefined],
    ['userAdminAnyDatabase', 'admin', 'admin', { find: 'system.users' }, undefined],
    ['userAdminAnyDatabase', 'admin', 'app', { find: 'c' }, 13],
    ['dbAdminAnyDatabase', 'admin', 'app', { collStats: 'c' }, undefined],
    ['clusterAdmin', 'admin', 'admin', { replSetGetStatus: 1 }, 76],
    ['backup', 'admin', 'admin', { find: 'system.users' }, undefined],
    ['restore', 'admin', 'app', write, undefined],
    ['root', 'admin', 'admin', { insert: 'system.users', documents: [{}] }, 13],
  ]
  for (const [role, db, on, command, code] of rows) {
    t.equal(await may(role, db, on, command), code, `${role}@${db}: ${Object.keys(command)[0]} on ${on}`)
  }
})

t.test('a change of roles takes effect on open connections, and a dropped user has no privileges', async t => {
  const { client, as, server } = await startMongo(t)
  server.createUser({ user: 'u', db: 'app', password: 'pw', roles: ['read'] })
  const c = (await as('u', 'pw', 'app')).db('app').collection<Document>('c')
  t.equal(await errorCodeOf(c.insertOne({})), 13)
  await client.db('app').command({ grantRolesToUser: 'u', roles: ['readWrite'] })
  t.equal(await errorCodeOf(c.insertOne({})), undefined)
  await client.db('app').command({ revokeRolesFromUser: 'u', roles: [{ role: 'readWrite', db: 'app' }] })
  t.equal(await errorCodeOf(c.insertOne({})), 13)
  t.equal(await errorCodeOf(c.findOne()), undefined)
  await client.db('app').command({ dropUser: 'u' })
  t.equal(await errorCodeOf(c.findOne()), 13)
  server.createUser({ user: 'u', db: 'app', password: 'pw', roles: ['read'] })
  t.equal(await errorCodeOf(c.findOne()), 13, 'a user of the same name is another one')
})

t.test('connectionStatus reports the authenticated user', async t => {
  const { as, server } = await startMongo(t)
  server.createUser({ user: 'u', password: 'pw', roles: [{ role: 'read', db: 'app' }] })
  const admin = (await as('u', 'pw')).db('admin')
  const { authInfo } = await admin.command({ connectionStatus: 1, showPrivileges: true })
  t.match(authInfo, {
    authenticatedUsers: [{ user: 'u', db: 'admin' }],
    authenticatedUserRoles: [{ role: 'read', db: 'app' }],
  })
  t.match(authInfo.authenticatedUserPrivileges[0], { resource: { db: 'app', collection: '' }, actions: /find/ })
})

t.test('a restricted user can log in from its addresses only', async t => {
  const { client, as } = await startMongo(t)
  const create = (user: string, clientSource: string[]) =>
    client.db('admin').command({
      createUser: user,
      pwd: 'pw',
      roles: [],
      authenticationRestrictions: [{ clientSource }],
    })
  await create('here', ['127.0.0.0/8', '::1'])
  await create('there', ['192.0.2.1'])
  t.equal(await errorCodeOf(as('here', 'pw')), undefined)
  t.equal(await errorCodeOf(as('there', 'pw')), 18)
})

async function failing(
  t: Test,
  command: Document,
  db: string,
  code: number,
  client: { db(name: string): { command(document: Document): Promise<unknown> } },
) {
  t.equal(await errorCodeOf(client.db(db).command(command)), code, JSON.stringify(command))
}

t.test('users are created, changed and listed by commands', async t => {
  const { client, as } = await startMongo(t)
  const app = client.db('app')
  await app.command({ createUser: 'u', pwd: 'one', roles: ['read'], customData: { team: 'x' } })
  const info = await app.command({ usersInfo: 'u', showPrivileges: true })
  t.match(info.users, [
    {
      _id: 'app.u',
      user: 'u',
      db: 'app',
      roles: [{ role: 'read', db: 'app' }],
      customData: { team: 'x' },
      mechanisms: ['SCRAM-SHA-1', 'SCRAM-SHA-256'],
      inheritedRoles: [{ role: 'read', db: 'app' }],
      credentials: undefined,
    },
  ])
  await app.command({ updateUser: 'u', pwd: 'two', customData: { team: 'y' } })
  t.equal(await errorCodeOf(as('u', 'one', 'app')), 18)
  t.equal(await errorCodeOf(as('u', 'two', 'app')), undefined)
  t.equal(await errorCodeOf(as('u', 'two', 'app', { authMechanism: 'SCRAM-SHA-1' })), undefined)
  t.match((await app.command({ usersInfo: { user: 'u', db: 'app' } })).users, [{ customData: { team: 'y' } }])
  t.equal((await client.db('admin').command({ usersInfo: { forAllDBs: true } })).users.length, 2)
  t.equal((await app.command({ usersInfo: 1, filter: { user: 'nobody' } })).users.length, 0)
  await failing(t, { createUser: 'u', pwd: 'x', roles: [] }, 'app', 51003, client)
  await failing(t, { createUser: 'v', roles: [] }, 'app', 2, client)
  await failing(t, { createUser: 'v', pwd: 'x', roles: ['nonsense'] }, 'app', 31, client)
  await failing(t, { dropUser: 'nobody' }, 'app', 11, client)
  await failing(t, { updateUser: 'nobody', pwd: 'x' }, 'app', 11, client)
  await failing(t, { updateUser: 'u' }, 'app', 2, client)
  t.match(await app.command({ dropAllUsersFromDatabase: 1 }), { n: 1 })
})

t.test('$external users have no password and are documents of admin.system.users', async t => {
  const { client } = await startMongo(t)
  const external = client.db('$external')
  const arn = 'arn:aws:iam::123456789012:user/alice'
  await external.command({ createUser: arn, roles: [{ role: 'read', db: 'app' }], customData: { by: 'hand' } })
  await failing(t, { createUser: 'x', pwd: 'y', roles: [] }, '$external', 2, client)
  const users = client.db('admin').collection<Document>('system.users')
  const found = await users.find({ db: '$external' }, { projection: { credentials: 0 } }).toArray()
  t.match(found, [
    { _id: `$external.${arn}`, user: arn, db: '$external', customData: { by: 'hand' }, credentials: undefined },
  ])
  t.match(await users.findOne({ user: arn }), { credentials: { external: true } })
  await external.command({ updateUser: arn, roles: [] })
  t.match(await users.findOne({ user: arn }), { roles: [] })
})

t.test('user-defined roles have privileges and inherit roles', async t => {
  const { client, as } = await startMongo(t)
  const app = client.db('app')
  const privileges = [{ resource: { db: 'app', collection: 'c' }, actions: ['find', 'insert'] }]
  await app.command({ createRole: 'some', privileges, roles: [] })
  await app.command({ createRole: 'more', privileges: [], roles: ['some'] })
  await app.command({ createUser: 'u', pwd: 'pw', roles: ['more'] })
  const own = (await as('u', 'pw', 'app')).db('app')
  t.equal(await errorCodeOf(own.collection('c').insertOne({})), undefined)
  t.equal(await errorCodeOf(own.collection('d').insertOne({})), 13)
  t.equal(await errorCodeOf(own.collection('c').deleteOne({})), 13)
  await app.command({ updateRole: 'some', privileges: [] })
  t.equal(await errorCodeOf(own.collection('c').insertOne({})), 13)
  const { roles } = await app.command({ rolesInfo: 'more', showPrivileges: true })
  t.match(roles, [{ role: 'more', db: 'app', inheritedRoles: [{ role: 'some' }], isBuiltin: false }])
  t.match((await app.command({ rolesInfo: 'read', showPrivileges: true })).roles, [{ isBuiltin: true }])
  t.equal(await errorCodeOf(app.command({ createRole: 'read', privileges: [], roles: [] })), 2)
  t.equal(await errorCodeOf(app.command({ createRole: 'some', privileges: [], roles: [] })), 51002)
  const beyond = [{ resource: { db: 'other', collection: '' }, actions: ['find'] }]
  t.equal(await errorCodeOf(app.command({ createRole: 'x', privileges: beyond, roles: [] })), 49)
  await app.command({ dropRole: 'more' })
  t.match((await app.command({ usersInfo: 'u' })).users, [{ roles: [] }])
})

t.test('passwords are prepared with SASLprep', async t => {
  const { as, server } = await startMongo(t)
  const roman = 'I\u00adX \u2168'
  server.createUser({ user: 'u, v=w', password: roman, roles: [] })
  t.equal(await errorCodeOf(as('u, v=w', roman)), undefined)
  t.equal(await errorCodeOf(as('u, v=w', 'IX IX', 'admin', { authMechanism: 'SCRAM-SHA-256' })), undefined)
  t.equal(await errorCodeOf(as('u, v=w', 'IX', 'admin', { authMechanism: 'SCRAM-SHA-256' })), 18)
})
