/** What drivers do beside logging in: watching, compressing, declaring an API, losing a connection, leaving. */
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { type Driver, requireClients } from '../support/clients.js'
import { startTestProxy } from '../support/testProxy.js'

const drivers: readonly Driver[] = ['mongodb7', 'mongodb6']

await requireClients(...drivers)

for (const driver of drivers) {
  t.test(`${driver} watches the proxy without ever logging in for it`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), { heartbeatFrequencyMS: 500, maxPoolSize: 1 })
    const awaited: boolean[] = []
    const lost: string[] = []
    client.on('serverHeartbeatFailed', ({ failure }) => lost.push(failure.message))
    client.on('connectionPoolCleared', () => lost.push('the pool'))
    const watched = new Promise<void>(resolve => {
      client.on('serverHeartbeatSucceeded', event => {
        awaited.push(event.awaited)
        if (awaited.length === 6) resolve()
      })
    })
    await client.connect()
    const before = proxy.mongo.acceptedCount()
    const asked = proxy.sts.calls().GetCallerIdentity
    await watched
    t.ok(awaited.filter(one => one).length >= 3, 'most of them wait for news')
    t.same(lost, [], 'none of them fails, which would cost every login of the pool')
    t.equal(proxy.mongo.acceptedCount(), before, 'they cost no connection upstream')
    t.equal(proxy.sts.calls().GetCallerIdentity, asked, 'and no call to STS')
    await client.close()
    const closed = await proxy.closedLines(1)
    t.equal(closed.filter(({ fault }) => fault !== undefined).length, 0, 'nothing is wrong with how it leaves')
  })

  t.test(`${driver} asks for compression, gets none, and works`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), { compressors: ['zlib', 'snappy'] })
    const numbers = client.db('app').collection<{ n: number }>('numbers')
    await numbers.insertMany(Array.from({ length: 1_000 }, (_, n) => ({ n })))
    t.equal((await numbers.find().toArray()).length, 1_000)
  })

  t.test(`${driver} declares an API version, and strictly`, async t => {
    const proxy = await startTestProxy(t)
    const serverApi = { version: '1', strict: true, deprecationErrors: true } as const
    const client = await proxy.client(driver, proxy.keyOf('alice'), { serverApi })
    const numbers = client.db('app').collection<{ n: number }>('numbers')
    await numbers.insertMany([{ n: 1 }, { n: 2 }, { n: 3 }])
    t.equal((await numbers.find({}, { batchSize: 2 }).toArray()).length, 3)
  })

  t.test(`${driver} comes back by itself when the upstream drops every connection`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'))
    const numbers = client.db('app').collection<{ n: number }>('numbers')
    await numbers.insertOne({ n: 1 })
    proxy.links.mongo.resetConnections()
    t.match(await numbers.findOne(), { n: 1 })
    proxy.links.mongo.resetConnections()
    t.match(await numbers.findOne(), { n: 1 }, 'as often as it happens')
  })

  t.test(`${driver} shows itself to the upstream, and the proxy beside it`, async t => {
    const proxy = await startTestProxy(t)
    const client = await proxy.client(driver, proxy.keyOf('alice'), { appName: 'orders' })
    await client.db('app').command({ ping: 1 })
    const metadata = proxy.mongo.connections().map(session => session.metadata)
    const ours = metadata.filter(one => one?.application?.name === 'orders')
    t.equal(ours.length, 1)
    t.match(ours[0], { driver: { name: /nodejs/ }, platform: /mongo-iam-proxy/ })
  })

  t.test(`${driver} closes a cursor and a session in the middle`, async t => {
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
    while (proxy.mongo.counted('endSessions') === 0) await turn() // driver 7 waits for no answer to its last word
    t.pass('the upstream is told about the session')
  })

  t.test(`${driver} that wants a load balancer or a replica set is told by its own checks`, async t => {
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
