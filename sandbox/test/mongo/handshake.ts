import { calculateObjectSize, Long, serialize } from 'bson'
import { MongoClient } from 'mongodb'
import t from 'tap'
import { connectRaw, startMongo } from '../../../test/support/mongo.js'
import { logInWithScram } from '../../../test/support/scram.js'
import { encodeFrame, OP_QUERY } from '../../src/wire/frame.js'
import { EXHAUST_ALLOWED, MORE_TO_COME } from '../../src/wire/message.js'

/** An OP_QUERY of `db.$cmd`. */
function query(document: object, db = 'admin'): Buffer {
  const flags = Buffer.alloc(4)
  const numbers = Buffer.from([0, 0, 0, 0, 255, 255, 255, 255])
  return encodeFrame(OP_QUERY, 77, 0, [flags, Buffer.from(`${db}.$cmd\0`), numbers, serialize(document)])
}

t.test('hello has the fields of a standalone, under both names', async t => {
  const { server } = await startMongo(t)
  const { ask } = await connectRaw(t, server.port)
  const hello = await ask({ hello: 1, helloOk: true, $db: 'admin' })
  t.match(hello, {
    helloOk: true,
    isWritablePrimary: true,
    minWireVersion: { value: 0 },
    maxWireVersion: { value: 21 },
    maxBsonObjectSize: { value: 16777216 },
    maxMessageSizeBytes: { value: 48000000 },
    maxWriteBatchSize: { value: 100000 },
    logicalSessionTimeoutMinutes: { value: 30 },
    readOnly: false,
    ok: { value: 1 },
  })
  t.ok(Long.isLong(hello.topologyVersion.counter))
  t.notOk('compression' in hello || 'setName' in hello || 'ismaster' in hello)
  t.match(await ask({ isMaster: 1, $db: 'admin' }), {
    ismaster: true,
    isWritablePrimary: undefined,
    helloOk: undefined,
  })
})

t.test('OP_QUERY supports the handshake only', async t => {
  const { server } = await startMongo(t)
  const { socket, next } = await connectRaw(t, server.port)
  socket.write(
    query({ ismaster: 1, helloOk: true, client: { driver: { name: 'x', version: '1' }, os: { type: 'y' } } }),
  )
  t.match(await next(), { opCode: 1, responseTo: 77, document: { ismaster: true, helloOk: true } })
  socket.write(query({ $query: { isMaster: 1 }, $readPreference: { mode: 'primary' } }))
  t.match(await next(), { opCode: 1, document: { ismaster: true } })
  socket.write(query({ find: 'c' }, 'app'))
  t.match(await next(), { document: { code: { value: 352 } } })
  t.match(server.connections().at(-1)?.metadata, { driver: { name: 'x' } })
})

t.test('client metadata can be sent once', async t => {
  const { server } = await startMongo(t)
  const { ask } = await connectRaw(t, server.port)
  const client = { driver: { name: 'x', version: '1' }, os: { type: 'y' } }
  t.match(await ask({ hello: 1, client, $db: 'admin' }), { ok: { value: 1 } })
  t.match(await ask({ hello: 1, client, $db: 'admin' }), { code: { value: 186 } })
})

t.test('client metadata has at most 512 bytes', async t => {
  const { server } = await startMongo(t)
  const { ask } = await connectRaw(t, server.port)
  const sized = (version: string) => ({ driver: { name: 'x', version }, os: { type: 'y' } })
  const room = 512 - calculateObjectSize(sized(''))
  const hello = (length: number) => ask({ hello: 1, client: sized('7'.repeat(length)), $db: 'admin' })
  t.match(await hello(room + 1), { code: { value: 185 } })
  t.match(await hello(room), { ok: { value: 1 } })
})

t.test('an awaited hello waits for a change', async t => {
  const { server } = await startMongo(t)
  const { ask, send, next } = await connectRaw(t, server.port)
  const { topologyVersion } = await ask({ hello: 1, $db: 'admin' })
  const awaited = { hello: 1, topologyVersion, maxAwaitTimeMS: 60_000, $db: 'admin' }
  send(awaited)
  send({ ping: 1, $db: 'admin' })
  // The ping waits behind the hello, so the first reply is the one that the change has released.
  const other = await connectRaw(t, server.port)
  await other.ask({ ping: 1, $db: 'admin' })
  server.announceChange()
  t.equal((await next()).document.topologyVersion.counter.toNumber(), 1)
  t.match((await next()).document, { ok: { value: 1 }, topologyVersion: undefined })
  t.match(await ask(awaited), { ok: { value: 1 } }, 'an outdated version is answered at once')
  t.match(await ask({ ...awaited, maxAwaitTimeMS: 1 }), { ok: { value: 1 } })
  t.match(await ask({ hello: 1, topologyVersion, $db: 'admin' }), { code: { value: 51760 } })
  t.match(await ask({ hello: 1, maxAwaitTimeMS: 5, $db: 'admin' }), { code: { value: 51760 } })
})

t.test('each hello of a stream answers the previous one', async t => {
  const { server } = await startMongo(t)
  const { ask, send, next } = await connectRaw(t, server.port)
  const { topologyVersion } = await ask({ hello: 1, $db: 'admin' })
  server.announceChange()
  const sent = send({ hello: 1, topologyVersion, maxAwaitTimeMS: 60_000, $db: 'admin' }, EXHAUST_ALLOWED)
  const first = await next()
  t.match(first, { responseTo: sent, moreToCome: true })
  server.announceChange()
  const second = await next()
  t.match(second, { responseTo: first.requestID, moreToCome: true })
  t.equal(second.document.topologyVersion.counter.toNumber(), 2)
})

t.test('an exhaust cursor sends all batches after one request', async t => {
  const { client, server } = await startMongo(t)
  await client
    .db('app')
    .collection('c')
    .insertMany(Array.from({ length: 10 }, (_, n) => ({ n })))
  server.createUser({ user: 'u', password: 'pw', roles: ['root'] })
  const { send, next, ask } = await connectRaw(t, server.port)
  await logInWithScram(ask, 'u', 'pw')
  const sent = send({ find: 'c', batchSize: 4, $db: 'app' }, EXHAUST_ALLOWED)
  const replies = [await next(), await next(), await next()]
  t.same(
    replies.map(({ moreToCome }) => moreToCome),
    [true, true, false],
  )
  t.same(
    replies.map(({ document }) => (document.cursor.firstBatch ?? document.cursor.nextBatch).length),
    [4, 4, 2],
  )
  t.equal(replies[0]?.responseTo, sent)
  t.equal(replies[2]?.responseTo, replies[1]?.requestID)
  t.match(await ask({ ping: 1, $db: 'admin' }), { ok: { value: 1 } })
})

t.test('a request with moreToCome is not answered, even if it fails', async t => {
  const { server } = await startMongo(t)
  const { send, next } = await connectRaw(t, server.port)
  send({ insert: 'c', documents: [{}], $db: 'app' }, MORE_TO_COME)
  send({ hello: 1, topologyVersion: 5, $db: 'admin' }, MORE_TO_COME)
  const sent = send({ ping: 1, $db: 'admin' })
  t.match(await next(), { responseTo: sent })
})

t.test('a malformed message closes the connection', async t => {
  const { server } = await startMongo(t)
  for (const bytes of [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.alloc(16),
    encodeFrame(2013, 1, 0, [Buffer.alloc(4)]),
  ]) {
    const { socket } = await connectRaw(t, server.port)
    socket.on('error', () => {})
    const closed = new Promise(resolve => socket.once('close', resolve))
    socket.write(bytes)
    await closed
  }
  t.equal((await (await connectRaw(t, server.port)).ask({ ping: 1, $db: 'admin' })).ok.value, 1)
})

t.test('a malformed message behind a command that waits closes the connection, and not the server', async t => {
  const { server } = await startMongo(t)
  const { socket, ask } = await connectRaw(t, server.port)
  socket.on('error', () => {})
  const { topologyVersion } = await ask({ hello: 1, $db: 'admin' })
  const closed = new Promise(resolve => socket.once('close', resolve))
  const unknownType = Buffer.from(serialize({ a: 1 }))
  unknownType[4] = 0x64
  const malformed = encodeFrame(2013, 9, 0, [Buffer.alloc(5), unknownType])
  const waiting = serialize({ hello: 1, topologyVersion, maxAwaitTimeMS: new Long(60_000), $db: 'admin' })
  socket.write(Buffer.concat([encodeFrame(2013, 8, 0, [Buffer.alloc(5), waiting]), malformed]))
  // The answer to a ping of another connection shows that the server has read both.
  await (await connectRaw(t, server.port)).ask({ ping: 1, $db: 'admin' })
  server.announceChange()
  await closed
  t.equal((await (await connectRaw(t, server.port)).ask({ ping: 1, $db: 'admin' })).ok.value, 1)
})

t.test('close ends every connection and frees the port', async t => {
  const { server } = await startMongo(t)
  const client = new MongoClient(server.uri)
  await client.db('app').command({ ping: 1 })
  await client.close()
  await server.close()
  const again = await startMongo(t, { port: server.port })
  t.equal(again.server.port, server.port)
})

t.test('buildInfo says that it is a sandbox', async t => {
  const { client } = await startMongo(t)
  t.match(await client.db('admin').command({ buildInfo: 1 }), { gitVersion: /sandbox/, modules: [] })
})
