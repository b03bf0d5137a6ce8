/** What drivers do besides logging in: monitoring, compression, API versions, lost connections, closing. */
import t from 'tap'
import { type Driver, requireClients } from '../support/clients.js'
import { startTestProxy } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'

const drivers: readonly Driver[] = ['mongodb7', 'mongodb6']

await requireClients(...drivers)

for (const driver of drivers) {
  t.test(`${driver} monitors the proxy without a login`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), { heartbeatFrequencyMS: 500, maxPoolSize: 1 })
    const awaited: boolean[] = []
    const failures: string[] = []
    client.on('serverHeartbeatFailed', ({ failure }) => failures.push(failure.message))
    client.on('connectionPoolCleared', () => failures.push('the pool was cleared'))
    const sixHeartbeats = new Promise<void>(resolve => {
      client.on('serverHeartbeatSucceeded', event => {
        awaited.push(event.awaited)
        if (awaited.length === 6) resolve()
      })
    })
    await client.connect()
    const before = proxy.mongo.acceptedCount()
    const calls = proxy.sts.calls().GetCallerIdentity
    await sixHeartbeats
    t.ok(awaited.filter(one => one).length >= 3, 'most of them are awaitable hellos')
    t.same(failures, [], 'none fails, which would clear the pool')
    t.equal(proxy.mongo.acceptedCount(), before, 'they cost no connection upstream')
    t.equal(proxy.sts.calls().GetCallerIdentity, calls, 'and no call to STS')
    await client.close()
    const closed = await proxy.closedLines(1)
    t.equal(closed.filter(({ fault }) => fault !== undefined).length, 0, 'the driver closes without a fault')
  })

  t.test(`${driver} offers compression, gets none, and works`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), { compressors: ['zlib', 'snappy'] })
    const numbers = client.db('app').collection<{ n: number }>('numbers')
    await numbers.insertMany(Array.from({ length: 1_000 }, (_, n) => ({ n })))
    t.equal((await numbers.find().toArray()).length, 1_000)
  })

  t.test(`${driver} works with a strict API version`, async t => {
    const proxy = await startTestProxy(t)
    const serverApi = { version: '1', strict: true, deprecationErrors: true } as const
    const client = await proxy.client(driver, proxy.keyOf('alice'), { serverApi })
    const numbers = client.db('app').collection<{ n: number }>('numbers')
    await numbers.insertMany([{ n: 1 }, { n: 2 }, { n: 3 }])
    t.equal((await numbers.find({}, { batchSize: 2 }).toArray()).length, 3)
  })

  t.test(`${driver} reconnects when the upstream drops every connection`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'))
    const numbers = client.db('app').collection<{ n: number }>('numbers')
    await numbers.insertOne({ n: 1 })
    proxy.links.mongo.resetConnections()
    t.match(await numbers.findOne(), { n: 1 })
    proxy.links.mongo.resetConnections()
    t.match(await numbers.findOne(), { n: 1 }, 'every time')
  })

  t.test(`the upstream sees the client metadata of ${driver} and of the proxy`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), { appName: 'orders' })
    await client.db('app').command({ ping: 1 })
    const metadata = proxy.mongo.connections().map(session => session.metadata)
    const ours = metadata.filter(one => one?.application?.name === 'orders')
    t.equal(ours.length, 1)
    t.match(ours[0], { driver: { name: /nodejs/ }, platform: /mongo-iam-proxy/ })
  })

  t.test(`${driver} closes a cursor and a session early`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), { maxPoolSize: 1 })
    const numbers = client.db('app').collection<{ n: number }>('numbers')
    await numbers.insertMany(Array.from({ length: 1_000 }, (_, n) => ({ n })))
    for await (const { n } of numbers.find({}, { batchSize: 10 })) if (n === 25) break
    t.equal(proxy.mongo.counted('killCursors'), 1)
    const session = client.startSession()
    await numbers.findOne({}, { session })
    await session.endSession()
    await client.close()
    await waitUntil(() => proxy.mongo.counted('endSessions') > 0) // driver 7 does not wait for the reply
    t.pass('the upstream ended the session')
  })

  t.test(`${driver} refuses by itself to use the proxy as a load balancer or a replica set`, async t => {
    const proxy = await startTestProxy(t)
    const balanced = await proxy.client(driver, proxy.keyOf('alice'), {}, '&loadBalanced=true')
    await t.rejects(balanced.connect(), { message: /load balancing mode/ })
    const options = { replicaSet: 'rs0', serverSelectionTimeoutMS: 700 }
    const set = await proxy.client(driver, proxy.keyOf('alice'), options)
    await t.rejects(set.connect(), { name: 'MongoServerSelectionError' })
    const alone = await proxy.client(driver, proxy.keyOf('alice'), { directConnection: true })
    t.match(await alone.db('app').command({ ping: 1 }), { ok: 1 })
  })
}
