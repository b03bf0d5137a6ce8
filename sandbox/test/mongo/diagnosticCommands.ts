import type { Document } from 'bson'
import t from 'tap'
import { errorCodeOf, startMongo } from '../../../test/support/mongo.js'

t.test('LDAP authorization is reported as by each edition', async t => {
  const { client, server } = await startMongo(t)
  const admin = client.db('admin')
  const report = async () => ({
    template: (await admin.command({ getCmdLineOpts: 1 })).parsed.security.ldap?.authz?.queryTemplate,
    parameter: (await admin.command({ getParameter: '*' })).ldapAuthzQueryTemplate,
    modules: (await admin.command({ buildInfo: 1 })).modules,
    psmdbVersion: (await admin.command({ buildInfo: 1 })).psmdbVersion,
  })
  const off = { template: undefined, parameter: undefined, modules: [], psmdbVersion: undefined }
  t.same(await report(), off)
  server.setLdapAuthorization(true)
  t.match(await report(), { ...off, template: /USER/, modules: ['enterprise'] })
  server.setLdapAuthorization('percona')
  t.match(await report(), { ...off, parameter: /USER/, psmdbVersion: /^\d/ })
  server.setLdapAuthorization('off')
  t.same(await report(), off)
})

t.test('LDAP authorization can be on from the start', async t => {
  const { client } = await startMongo(t, { ldapAuthorization: true })
  const { parsed } = await client.db('admin').command({ getCmdLineOpts: 1 })
  t.ok(parsed.security.ldap.servers)
})

t.test('unknown parameters are ignored, and an error if no other is requested', async t => {
  const { client } = await startMongo(t)
  const admin = client.db('admin')
  const { authenticationMechanisms } = await admin.command({
    getParameter: 1,
    authenticationMechanisms: 1,
    ldapServers: 1,
  })
  t.same(authenticationMechanisms, ['SCRAM-SHA-1', 'SCRAM-SHA-256'])
  t.equal(await errorCodeOf(admin.command({ getParameter: 1, ldapServers: 1 })), 72)
  t.equal(await errorCodeOf(admin.command({ setParameter: 1, logLevel: 5 })), 20)
})

t.test('the commands that tools run at startup are answered', async t => {
  const { client } = await startMongo(t)
  const admin = client.db('admin')
  t.match(await admin.command({ getLog: 'startupWarnings' }), { log: [], totalLinesWritten: 0 })
  t.match(await admin.command({ getLog: '*' }), { names: ['global', 'startupWarnings'] })
  t.match(await admin.command({ hostInfo: 1 }), { system: { cpuAddrSize: 64 } })
  t.match(await admin.command({ serverStatus: 1 }), { process: 'mongod', connections: { current: Number } })
  t.match(await admin.command({ currentOp: 1 }), { inprog: [{ op: 'command' }] })
  t.match(await admin.aggregate([{ $currentOp: {} }]).toArray(), [{ type: 'op' }])
  t.match(await admin.command({ getFreeMonitoringStatus: 1 }), { state: 'disabled' })
  t.equal(await errorCodeOf(admin.command({ replSetGetStatus: 1 })), 76)
  t.equal(await errorCodeOf(admin.command({ atlasVersion: 1 })), 59)
  t.ok('find' in (await admin.command({ listCommands: 1 })).commands)
})

t.test('explain reports the plan, and requires the privileges of the command', async t => {
  const { client, as, server } = await startMongo(t)
  const c = client.db('app').collection<Document>('c')
  await c.insertMany([{ a: 1 }, { a: 2 }])
  t.match(await c.find({ a: 1 }).explain('executionStats'), {
    queryPlanner: { namespace: 'app.c', winningPlan: { stage: 'COLLSCAN' } },
    executionStats: { nReturned: 1, totalDocsExamined: 2 },
  })
  t.match(await c.find({ _id: 1 as never }).explain(), { queryPlanner: { winningPlan: { stage: 'IDHACK' } } })
  t.match(await c.aggregate([{ $match: { a: 1 } }]).explain('queryPlanner'), { queryPlanner: {} })
  server.createUser({ user: 'u', password: 'pw', roles: [] })
  t.equal(await errorCodeOf((await as('u', 'pw')).db('app').collection('c').find().explain()), 13)
})

t.test('a standalone accepts sessions and rejects transactions', async t => {
  const { client, server } = await startMongo(t)
  const session = client.startSession()
  await client.db('app').collection('c').insertOne({ a: 1 }, { session })
  await session.endSession()
  const write = { insert: 'c', documents: [{}], txnNumber: 1 }
  t.equal(await errorCodeOf(client.db('app').command(write)), 20)
  await client.close()
  t.ok(server.counted('endSessions') <= 1)
})

t.test('users see their own operations, and with a privilege those of others', async t => {
  const { as, client, server } = await startMongo(t)
  server.createUser({ user: 'u', password: 'pw', roles: [] })
  const admin = (await as('u', 'pw')).db('admin')
  const own = await admin.aggregate([{ $currentOp: { idleConnections: true } }]).toArray()
  t.ok(own.length > 0 && own.every(one => one.effectiveUsers[0].user === 'u'))
  t.equal(await errorCodeOf(admin.aggregate([{ $currentOp: { allUsers: true } }]).toArray()), 13)
  const all = { $currentOp: { allUsers: true, idleConnections: true } }
  t.ok((await client.db('admin').aggregate([all]).toArray()).length > own.length)
})

t.test('commands for administrators run on the database admin alone', async t => {
  const { client } = await startMongo(t)
  for (const name of ['getCmdLineOpts', 'getParameter', 'getLog', 'listDatabases', 'currentOp', 'replSetGetStatus']) {
    await t.rejects(client.db('app').command({ [name]: '*' }), {
      code: 13,
      codeName: 'Unauthorized',
      message: `${name} may only be run against the admin database.`,
    })
  }
})

t.test('authSchemaVersion is the one of MongoDB 3.0 and later', async t => {
  const { client } = await startMongo(t)
  t.match(await client.db('admin').command({ getParameter: 1, authSchemaVersion: 1 }), { authSchemaVersion: 5 })
})

t.test('there is no search, and the code says so', async t => {
  const { client, as, server } = await startMongo(t)
  const c = client.db('app').collection('c')
  for (const stage of [{ $listSearchIndexes: {} }, { $search: {} }, { $vectorSearch: {} }]) {
    await t.rejects(c.aggregate([stage]).toArray(), { code: 31082, codeName: 'SearchNotEnabled' })
  }
  await t.rejects(c.listSearchIndexes().toArray(), { code: 31082 })
  await t.rejects(c.createSearchIndex({ definition: {} }), { code: 31082 })
  server.createUser({ user: 'reader', password: 'pw', roles: [{ role: 'read', db: 'app' }] })
  const reader = (await as('reader', 'pw')).db('app').collection('c')
  t.equal(await errorCodeOf(reader.listSearchIndexes().toArray()), 13, 'read does not list search indexes here')
})

t.test('clusterMonitor reads config and local, and statistics everywhere', async t => {
  const { client, as, server } = await startMongo(t)
  await client.db('app').collection('c').insertOne({})
  server.createUser({ user: 'monitor', password: 'pw', roles: ['clusterMonitor'] })
  const monitor = await as('monitor', 'pw')
  for (const db of ['config', 'local']) {
    t.equal(await errorCodeOf(monitor.db(db).collection('c').findOne()), undefined, db)
    t.equal(await errorCodeOf(monitor.db(db).command({ dbStats: 1 })), undefined, db)
    t.equal(await errorCodeOf(monitor.db(db).collection('c').insertOne({})), 13, db)
  }
  t.equal(await errorCodeOf(monitor.db('local').collection('system.replset').findOne()), undefined)
  t.equal(await errorCodeOf(monitor.db('app').collection('system.profile').findOne()), undefined)
  t.equal(await errorCodeOf(monitor.db('app').collection('c').findOne()), 13)
  t.equal(await errorCodeOf(monitor.db('admin').command({ listDatabases: 1 })), undefined)
})
