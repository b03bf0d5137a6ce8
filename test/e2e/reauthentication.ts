/** Logins that are older than `maxAge` of their rule allows, and what the application of a real driver notices. */
import t, { type Test } from 'tap'
import { type Driver, requireClients } from '../support/clients.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { ACCOUNT, startTestProxy } from '../support/testProxy.js'

const drivers: Driver[] = ['mongodb7', 'mongodb6']
await requireClients(...drivers)

/** More than the time that a test takes by the clock of the proxy. */
const MAX_AGE_MS = 60_000
const maxAge = `${MAX_AGE_MS}ms`

/** A principal with a `maxAge`, and its client with one connection. `connections` counts how many it created. */
async function startClient(t: Test, driver: Driver, settings: Record<string, string> = {}) {
  const proxy = await startTestProxy(t, { settings })
  const carol = proxy.iam.createUser({ account: ACCOUNT, name: 'carol' })
  proxy.reload({ users: [{ arn: carol.arn, user: 'alice', passwordEnv: 'ALICE', maxAge }] })
  const client = await proxy.client(driver, proxy.iam.createAccessKey(carol), { maxPoolSize: 1 })
  const connections = { created: 0 }
  client.on('connectionCreated', () => connections.created++)
  return { ...proxy, client, connections, logins: () => proxy.sts.calls().GetCallerIdentity ?? 0 }
}

for (const driver of drivers) {
  t.test(`${driver} reauthenticates on the same connection while a cursor is open`, async t => {
    const { client, connections, logins, clock } = await startClient(t, driver)
    const many = client.db('app').collection<{ _id: number }>('many')
    const ids = Array.from({ length: 300 }, (_, _id) => ({ _id }))
    await many.insertMany(ids)
    t.equal(logins(), 1)
    const found: number[] = []
    for await (const { _id } of many.find({}, { batchSize: 100 })) {
      found.push(_id)
      if (_id === 50 || _id === 150) clock.advance(MAX_AGE_MS)
    }
    t.same(
      found,
      ids.map(({ _id }) => _id),
    )
    t.equal(logins(), 3)
    t.equal(connections.created, 1, 'one connection did it all')
  })

  t.test(`${driver} reauthenticates after a transaction, never inside it`, async t => {
    const proxy = await startReplicaSetProxy(t, {}, { maxAge })
    const client = await proxy.client(driver, { maxPoolSize: 1 })
    const logins = () => proxy.sts.calls().GetCallerIdentity
    const writes = client.db('app').collection<{ _id: number }>('writes')
    await writes.insertOne({ _id: 0 })
    t.equal(logins(), 1)
    const session = client.startSession()
    session.startTransaction()
    await writes.insertOne({ _id: 1 }, { session })
    proxy.clock.advance(MAX_AGE_MS)
    await writes.insertOne({ _id: 2 }, { session })
    await session.commitTransaction()
    await session.endSession()
    t.equal(logins(), 1)
    t.equal(await writes.countDocuments(), 3)
    t.equal(logins(), 2)
  })
}

t.test('with listen.reauthenticate=close the connection is closed between operations', async t => {
  const settings = { 'listen.reauthenticate': 'close' }
  const { client, connections, logins, closedLines, clock } = await startClient(t, 'mongodb7', settings)
  await client.db('app').command({ ping: 1 })
  clock.advance(MAX_AGE_MS)
  t.match(await closedLines(1, ({ fault }) => fault === 'login/expired'), [{ why: /its maximum age is reached/ }])
  t.equal(await client.db('app').collection('c').countDocuments(), 0)
  t.equal(logins(), 2)
  t.equal(connections.created, 2)
})
