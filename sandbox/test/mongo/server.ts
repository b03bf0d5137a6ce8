import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Binary, BSONRegExp, Decimal128, type Document, Double, Int32, Long, ObjectId, Timestamp } from 'bson'
import t from 'tap'
import { errorCodeOf, startMongo } from '../../../test/support/mongo.js'

t.test('a real driver logs in, writes and reads', async t => {
  const { client, server } = await startMongo(t)
  const people = client.db('app').collection<Document>('people')
  t.match(await people.insertOne({ _id: 1 as never, name: 'Ada', age: 36 }), { insertedId: 1 })
  t.match(await people.insertMany([{ name: 'Bob', age: 41 }, { name: 'Cy' }]), { insertedCount: 2 })
  t.same(await people.findOne({ _id: 1 as never }), { _id: 1, name: 'Ada', age: 36 })
  t.same(await people.findOne({ name: 'Bob' }, { projection: { _id: 0, age: 1 } }), { age: 41 })
  t.equal(await people.countDocuments({ age: { $gt: 30 } }), 2)
  t.equal(await people.estimatedDocumentCount(), 3)
  t.match(await people.updateOne({ name: 'Cy' }, { $set: { age: 7 }, $push: { tags: 'x' } } as Document), {
    modifiedCount: 1,
  })
  t.match(await people.findOne({ age: 7 }), { name: 'Cy', tags: ['x'] })
  t.match(await people.deleteMany({ age: { $lt: 40 } }), { deletedCount: 2 })
  t.ok(server.acceptedCount() >= 2)
  t.match(server.connections()[0]?.metadata, { driver: { name: 'nodejs' } })
})

t.test('10,000 documents are returned in several batches', async t => {
  const { client, server } = await startMongo(t)
  const many = client.db('app').collection<Document>('many')
  await many.insertMany(Array.from({ length: 10_000 }, (_, n) => ({ n, text: 'x'.repeat(50) })))
  const found = await many.find({}, { batchSize: 1000 }).sort({ n: -1 }).toArray()
  t.equal(found.length, 10_000)
  t.equal(found[0]?.n, 9999)
  t.equal(server.counted('getMore'), 9, 'a size of the client')
  t.equal((await many.find().toArray()).length, 10_000)
  t.equal(server.counted('getMore'), 10, 'all that fits')
})

t.test('a document of 15 MiB is written and read', async t => {
  const { client } = await startMongo(t)
  const large = client.db('app').collection<Document>('large')
  const bytes = new Binary(randomBytes(15 * 1024 * 1024))
  await large.insertOne({ _id: 1 as never, bytes })
  await large.insertOne({ _id: 2 as never, bytes })
  const all = await large.find().toArray()
  t.ok(all.length === 2 && all.every(one => bytes.buffer.every((byte, at) => byte === one.bytes.buffer[at])))
})

t.test('BSON types are returned unchanged', async t => {
  const { client } = await startMongo(t)
  const types = client.db('app').collection<Document>('types', { promoteValues: false, promoteLongs: false })
  const document = {
    _id: new ObjectId(),
    int: new Int32(5),
    long: Long.fromNumber(5),
    huge: Long.fromString('9007199254740993'),
    double: new Double(5),
    decimal: Decimal128.fromString('5.00'),
    binary: new Binary(Buffer.from('abc'), 128),
    date: new Date(5),
    regex: new BSONRegExp('a.b', 'i'),
    timestamp: new Timestamp({ t: 5, i: 6 }),
    nothing: null,
    list: [new Int32(1), { long: Long.fromNumber(2) }],
  }
  await types.insertOne(document)
  const raw = { promoteValues: false, promoteLongs: false, bsonRegExp: true }
  t.same(await types.findOne({}, raw), document)
  await types.updateOne({}, { $inc: { long: 1, int: 1, huge: 1 }, $set: { 'list.0': new Double(2) } })
  const after = { ...document, long: Long.fromNumber(6), int: new Int32(6), huge: Long.fromString('9007199254740994') }
  t.same(await types.findOne({}, raw), { ...after, list: [new Double(2), { long: Long.fromNumber(2) }] })
})

t.test('a wrong password and an unknown user get the same error', async t => {
  const { as } = await startMongo(t)
  t.equal(await errorCodeOf(as('root', 'wrong')), 18)
  t.equal(await errorCodeOf(as('nobody', 'wrong')), 18)
})

t.test('a write with w: 0 is applied and not answered', async t => {
  const { client } = await startMongo(t)
  const quiet = client.db('app').collection<Document>('quiet', { writeConcern: { w: 0 } })
  t.match(await quiet.insertOne({ a: 1 }), { acknowledged: false })
  await quiet.insertOne({ a: 2 })
  const loud = client.db('app').collection('quiet')
  while ((await loud.countDocuments()) < 2);
  t.equal(await loud.countDocuments(), 2)
})

t.test('a duplicate key is reported, and later writes are skipped if ordered, else continue', async t => {
  const { client } = await startMongo(t)
  const c = client.db('app').collection<Document>('c')
  await c.insertOne({ _id: 2 as never })
  const three = [{ _id: 1 }, { _id: 2 }, { _id: 3 }] as never[]
  const refused = await c.insertMany(three).catch(thrown => thrown)
  t.match(refused, { code: 11000, result: { insertedCount: 1 } })
  t.match(refused.message, /E11000 duplicate key error collection: app.c index: _id_ dup key: \{ _id: 2 \}/)
  const rest = await c.insertMany([{ _id: 2 }, { _id: 4 }] as never[], { ordered: false }).catch(thrown => thrown)
  t.match(rest, { code: 11000, result: { insertedCount: 1 } })
  t.equal(await errorCodeOf(c.insertOne({ _id: Long.fromNumber(2) as never })), 11000, 'a long equals an int')
  t.equal(await errorCodeOf(c.insertOne({ _id: Decimal128.fromString('2.0') as never })), 11000, 'so does a decimal')
})

t.test('unique indexes are enforced through inserts, updates and removals', async t => {
  const { client } = await startMongo(t)
  const c = client.db('app').collection<Document>('c')
  t.equal(await c.createIndex({ a: 1, b: 1 }, { unique: true, sparse: true }), 'a_1_b_1')
  await c.insertMany([{ a: 1, b: 1 }, { a: 1, b: 2 }, { c: 1 }, { c: 2 }])
  t.equal(await errorCodeOf(c.insertOne({ a: 1, b: 2 })), 11000)
  t.equal(await errorCodeOf(c.updateOne({ b: 1 }, { $set: { b: 2 } })), 11000)
  t.equal(await c.countDocuments({ b: 1 }), 1, 'nothing has changed')
  await c.deleteOne({ b: 2 })
  t.match(await c.updateOne({ b: 1 }, { $set: { b: 2 } }), { modifiedCount: 1 })
  t.equal(await errorCodeOf(c.createIndex({ d: 1 }, { unique: true })), 11000, 'a missing field is null')
  t.same(
    (await c.indexes()).map(({ name }) => name),
    ['_id_', 'a_1_b_1'],
  )
})

t.test('upserts contain the equality fields of the filter', async t => {
  const { client } = await startMongo(t)
  const c = client.db('app').collection<Document>('c')
  const made = await c.updateOne(
    { _id: 7 as never, a: { $eq: 1 }, 'b.c': 2, d: { $gt: 5 } },
    { $set: { e: 3 }, $setOnInsert: { f: 4 } },
    { upsert: true },
  )
  t.match(made, { upsertedCount: 1, upsertedId: 7 })
  t.same(await c.findOne(), { _id: 7, a: 1, b: { c: 2 }, e: 3, f: 4 })
  await c.updateOne({ _id: 7 as never }, { $setOnInsert: { f: 9 }, $set: { e: 4 } }, { upsert: true })
  t.same(await c.findOne(), { _id: 7, a: 1, b: { c: 2 }, e: 4, f: 4 })
  await c.replaceOne({ a: 5 }, { z: 1 }, { upsert: true })
  t.match(await c.findOne({ z: 1 }), { z: 1, a: undefined })
  t.match(await c.findOneAndUpdate({ k: 1 }, { $inc: { n: 1 } }, { upsert: true, returnDocument: 'after' }), {
    k: 1,
    n: 1,
  })
  t.equal(await c.findOneAndUpdate({ k: 2 }, { $inc: { n: 1 } }), null)
  t.match(await c.findOneAndDelete({ k: 1 }), { k: 1, n: 1 })
  t.equal(await errorCodeOf(c.updateOne({ z: 1 }, { $set: { _id: 1 } })), 66, 'an _id cannot change')
})

t.test('a cursor can be used on any connection of its user, and by no other user', async t => {
  const { client, as, server } = await startMongo(t)
  server.createUser({ user: 'other', password: 'pw', roles: ['root'] })
  const c = client.db('app').collection<Document>('c')
  await c.insertMany(Array.from({ length: 10 }, (_, n) => ({ n })))
  const { cursor } = await client.db('app').command({ find: 'c', batchSize: 2 })
  const more = { getMore: Long.fromValue(cursor.id), collection: 'c', batchSize: 3 }
  const again = await as('root', 'a password, with = and , in it')
  t.equal((await again.db('app').command(more)).cursor.nextBatch.length, 3)
  const other = await as('other', 'pw')
  t.equal(await errorCodeOf(other.db('app').command(more)), 13)
  t.match(await other.db('app').command({ killCursors: 'c', cursors: [more.getMore] }), { cursorsKilled: [] })
  t.equal(await errorCodeOf(client.db('app').command({ ...more, collection: 'd' })), 13)
  await client.db('app').command({ killCursors: 'c', cursors: [more.getMore] })
  t.equal(await errorCodeOf(client.db('app').command(more)), 43)
})

t.test('TLS is supported', async t => {
  const pem = readFileSync(new URL('../../../test/support/tls/upstream.pem', import.meta.url))
  const { client } = await startMongo(
    t,
    { tls: { cert: pem, key: pem } },
    { tls: true, tlsAllowInvalidCertificates: true },
  )
  t.match(await client.db('app').command({ ping: 1 }), { ok: 1 })
})

t.test('fields of a wrong type are rejected, and the connection stays usable', async t => {
  const { client, server } = await startMongo(t, {}, { maxPoolSize: 1 })
  const app = client.db('app')
  await app.collection('c').insertOne({ a: 1 })
  const before = server.acceptedCount()
  const wrong: Document[] = [
    { find: 5 },
    { find: 'c', filter: { a: { $in: 5 } } },
    { find: 'c', limit: 'many' },
    { find: 'c', sort: { a: 'up' } },
    { insert: 'c', documents: [] },
    { update: 'c', updates: 5 },
    { aggregate: 'c', pipeline: 5, cursor: {} },
    { aggregate: 'c', pipeline: [{ $group: 5 }], cursor: {} },
    { getMore: 5, collection: 'c' },
    { killCursors: 'c', cursors: 5 },
    { createIndexes: 'c', indexes: [{}] },
    { find: 'c', collation: { locale: 'de' } },
  ]
  for (const command of wrong) {
    const code = await errorCodeOf(app.command(command))
    t.ok(code !== undefined && code !== 1, `${JSON.stringify(command)} gives ${code}`)
  }
  t.equal(await app.collection('c').countDocuments(), 1)
  t.equal(server.acceptedCount(), before)
})
