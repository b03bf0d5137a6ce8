import { randomBytes } from 'node:crypto'
import { type Document, Int32, Long } from 'bson'
import t, { type Test } from 'tap'
import { connectRaw, errorCodeOf, root, startMongo } from '../../../test/support/mongo.js'
import { logInWithScram } from '../../../test/support/scram.js'
import { waitUntil } from '../../../test/support/waitUntil.js'
import { startReplicaSet } from '../../src/mongo/replicaSet.js'

const FIND = { failCommands: ['find'], errorCode: 2 }

/** Starts a server with a fail point that `set` configures. Drivers do not retry, so that each command counts once. */
async function startWithFailPoint(t: Test) {
  const { client, as, server } = await startMongo(t, {}, { retryReads: false, retryWrites: false, appName: 'orders' })
  const set = (mode: unknown, data: Document = FIND) =>
    client.db('admin').command({ configureFailPoint: 'failCommand', mode, ...(mode !== 'off' && { data }) })
  const app = client.db('app')
  const find = () => errorCodeOf(app.command({ find: 'c' }))
  return { client, as, server, set, app, find }
}

t.test('a command fails with the code until the fail point is off', async t => {
  const { set, app, find } = await startWithFailPoint(t)
  t.match(await set('alwaysOn'), { count: 0, ok: 1 })
  await t.rejects(app.command({ find: 'c' }), {
    code: 2,
    codeName: 'BadValue',
    message: "Failing command via 'failCommand' failpoint",
  })
  t.equal(await find(), 2)
  t.equal(await errorCodeOf(app.command({ count: 'c' })), undefined, 'another command')
  t.match(await set('off'), { count: 2 }, 'the number of failed commands')
  t.equal(await find(), undefined)
})

t.test('times and skip count only commands that match', async t => {
  const { set, app, find } = await startWithFailPoint(t)
  const failures = async (mode: object, count: number) => {
    await set(mode)
    await app.command({ ping: 1 })
    const found = []
    for (let n = 0; n < count; n++) found.push((await find()) !== undefined)
    return found
  }
  t.same(await failures({ times: 2 }, 4), [true, true, false, false])
  t.same(await failures({ times: new Int32(1) }, 2), [true, false])
  t.same(await failures({ times: Long.fromNumber(0) }, 1), [false])
  t.same(await failures({ skip: 2 }, 4), [false, false, true, true])
})

t.test('the fail point applies to the applications with its name', async t => {
  const { set, find, as } = await startWithFailPoint(t)
  await set('alwaysOn', { ...FIND, appName: 'orders' })
  t.equal(await find(), 2)
  const other = await as(root.name, root.password, 'admin', { appName: 'reports', retryReads: false })
  t.equal(await errorCodeOf(other.db('app').command({ find: 'c' })), undefined)
})

t.test('the fail point applies to the hello that brings the name of the application', async t => {
  const { set, server } = await startWithFailPoint(t)
  await set('alwaysOn', { failCommands: ['hello'], errorCode: 2, appName: 'reports' })
  const hello = async (name: string) => {
    const client = { application: { name }, driver: { name: 'd', version: '1' }, os: { type: 'Linux' } }
    return (await connectRaw(t, server.port)).ask({ hello: 1, client, $db: 'admin' })
  }
  t.match(await hello('reports'), { ok: 0, code: 2 })
  t.match(await hello('orders'), { ok: 1 })
})

t.test('a closed connection gets no reply, and the write is not applied', async t => {
  const { set, app } = await startWithFailPoint(t)
  await set({ times: 1 }, { failCommands: ['insert'], closeConnection: true, errorCode: 2 })
  await t.rejects(app.collection<Document>('c').insertOne({}), { name: /MongoNetworkError/ })
  t.equal(await app.collection('c').countDocuments(), 0)
})

t.test('a blocked command runs after the delay', async t => {
  const { set, app, server } = await startWithFailPoint(t)
  const data = { failCommands: ['insert'], blockConnection: true, blockTimeMS: 5 }
  await set({ times: 1 }, data)
  await app.collection<Document>('c').insertOne({})
  t.equal(server.counted('insert'), 1)
  await set({ times: 1 }, { ...data, errorCode: 2 })
  t.equal(await errorCodeOf(app.collection<Document>('c').insertOne({})), 2, 'the error comes after the delay')
  t.equal(server.counted('insert'), 1)
})

t.test('a blocked command blocks its connection only, until the client leaves', async t => {
  const { set, app, server } = await startWithFailPoint(t)
  await set('alwaysOn', { failCommands: ['buildInfo'], blockConnection: true, blockTimeMS: 3_600_000 })
  const raw = await connectRaw(t, server.port)
  t.match(await raw.ask({ ping: 1, $db: 'admin' }), { ok: 1 })
  let answered = false
  raw.socket.once('data', () => {
    answered = true
  })
  raw.send({ buildInfo: 1, $db: 'admin' })
  raw.send({ ping: 1, $db: 'admin' })
  await waitUntil(async () => (await set('off')).count === 1)
  t.match(await app.command({ ping: 1 }), { ok: 1 })
  t.notOk(answered)
  const open = server.connections().length
  raw.socket.destroy()
  await waitUntil(() => server.connections().length < open)
})

t.test('a write concern error leaves the write applied', async t => {
  const { set, app } = await startWithFailPoint(t)
  const writeConcernError = { code: 91, errmsg: 'shutting down', errInfo: { x: 1 } }
  await set({ times: 1 }, { failCommands: ['insert'], writeConcernError, errorLabels: ['RetryableWriteError'] })
  const reply = await app.command({ insert: 'c', documents: [{ _id: 1 }] }).catch(error => error.errorResponse ?? error)
  t.match(reply, { writeConcernError, errorLabels: ['RetryableWriteError'] })
  t.equal(await app.collection('c').countDocuments(), 1)
})

t.test('the labels of the fail point are sent, even without a replica set', async t => {
  const { set, app } = await startWithFailPoint(t)
  await set({ times: 1 }, { failCommands: ['find'], errorCode: 462, errorLabels: ['SystemOverloadedError'] })
  await t.rejects(app.command({ find: 'c' }), {
    code: 462,
    codeName: 'Location462',
    errorLabels: ['SystemOverloadedError'],
  })
})

t.test('a replica set adds the labels of mongod, unless the fail point has its own', async t => {
  const set = await startReplicaSet({ now: Date.now, random: randomBytes, root, members: 1 })
  t.teardown(() => set.close())
  const [member] = set.members()
  const raw = await connectRaw(t, member?.port ?? 0)
  await logInWithScram(raw.ask, root.name, root.password)
  const id = { id: (await raw.ask({ startSession: 1, $db: 'admin' })).id.id }
  const labels = async (errorCode: number, own?: string[]) => {
    const data = { failCommands: ['insert'], errorCode, ...(own && { errorLabels: own }) }
    await raw.ask({ configureFailPoint: 'failCommand', mode: { times: 1 }, data, $db: 'admin' })
    const insert = { insert: 'c', documents: [{}], lsid: id, txnNumber: Long.ONE, $db: 'app' }
    const { code, errorLabels, topologyVersion } = await raw.ask(insert)
    t.same([code, topologyVersion], [errorCode, undefined], 'no topology version, which drivers would take as known')
    return errorLabels
  }
  for (const code of [6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436])
    t.same(await labels(code), ['RetryableWriteError'], String(code))
  t.equal(await labels(2), undefined)
  t.same(await labels(91, []), [], 'no label')
  t.same(await labels(2, ['Other']), ['Other'])
})

t.test('what a fail point cannot do is an error, and changes nothing', async t => {
  const { set, find, client, app, as, server } = await startWithFailPoint(t)
  await set('alwaysOn')
  const errors: [mode: unknown, data: Document, code: number][] = [
    ['on', FIND, 2],
    [undefined, FIND, 2],
    [{ times: -1 }, FIND, 2],
    [{ times: 'x' }, FIND, 2],
    [{ times: 1, skip: 1 }, FIND, 2],
    [{ activationProbability: 0.5 }, FIND, 2],
    ['alwaysOn', {}, 2],
    ['alwaysOn', { ...FIND, namespace: 'app.c' }, 2],
    ['alwaysOn', { ...FIND, blockConnection: true }, 2],
    ['alwaysOn', { failCommands: 'find' }, 14],
    ['alwaysOn', { failCommands: [1] }, 14],
    ['alwaysOn', { ...FIND, errorCode: 'x' }, 14],
    ['alwaysOn', { ...FIND, appName: 1 }, 14],
    ['alwaysOn', { ...FIND, errorLabels: 'x' }, 14],
    ['alwaysOn', { ...FIND, writeConcernError: [] }, 14],
    ['alwaysOn', { ...FIND, closeConnection: 1 }, 14],
    ['alwaysOn', { ...FIND, blockConnection: true, blockTimeMS: -1 }, 14],
  ]
  for (const [mode, data, code] of errors)
    t.equal(await errorCodeOf(set(mode, data)), code, JSON.stringify([mode, data]))
  t.equal(await errorCodeOf(client.db('admin').command({ configureFailPoint: 'other', mode: 'off' })), 171)
  t.equal(await errorCodeOf(app.command({ configureFailPoint: 'failCommand', mode: 'off' })), 13, 'only on admin')
  t.equal(await find(), 2)
  await set('alwaysOn', { failCommands: ['configureFailPoint'], errorCode: 2 })
  t.match(await set('off'), { ok: 1 }, 'it can always be switched off')
  server.createUser({ user: 'reader', password: 'r', roles: [{ role: 'readWriteAnyDatabase', db: 'admin' }] })
  const reader = await as('reader', 'r')
  const off = { configureFailPoint: 'failCommand', mode: 'off' }
  t.equal(await errorCodeOf(reader.db('admin').command(off)), 13, 'the user needs a privilege')
})

t.test('tools see that test commands are enabled', async t => {
  const { client } = await startWithFailPoint(t)
  t.match(await client.db('admin').command({ getParameter: 1, enableTestCommands: 1 }), { enableTestCommands: true })
})
