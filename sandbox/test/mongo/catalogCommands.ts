import type { Document } from 'bson'
import t from 'tap'
import { errorCodeOf, startMongo } from '../../../test/support/mongo.js'

t.test('existing databases and collections are listed', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  await app.collection('a').insertOne({ text: 'x'.repeat(100) })
  await app.createCollection('b', { capped: true, size: 4096 })
  t.equal(await errorCodeOf(app.createCollection('b')), 48)
  t.same(
    (await app.listCollections({}, { nameOnly: true }).toArray()).map(({ name }) => name),
    ['a', 'b'],
  )
  t.match(await app.listCollections({ name: 'b' }).toArray(), [
    { name: 'b', type: 'collection', options: { capped: true }, info: { readOnly: false }, idIndex: { name: '_id_' } },
  ])
  const { databases, totalSize } = await client.db('admin').admin().listDatabases()
  t.match(databases, [
    { name: 'admin', empty: false },
    { name: 'app', empty: false },
  ])
  t.ok(Number(totalSize) > 100)
  t.equal(await app.collection('a').drop(), true)
  t.equal(await errorCodeOf(app.collection('nothing').drop()), undefined)
  t.equal(await app.dropDatabase(), true)
  t.equal((await client.db('admin').admin().listDatabases({ nameOnly: true })).databases.length, 1)
  t.equal(await errorCodeOf(client.db('admin').command({ dropDatabase: 1 })), 20)
})

t.test('indexes are created, listed and dropped', async t => {
  const { client } = await startMongo(t)
  const c = client.db('app').collection<Document>('c')
  t.equal(await errorCodeOf(c.indexes()), 26, 'no collection yet')
  await c.createIndex({ a: 1 }, { unique: true, partialFilterExpression: { b: { $exists: true } } })
  await c.createIndex({ text: 'text', at: -1 }, { expireAfterSeconds: 5 })
  t.match(await c.indexes(), [
    { v: 2, key: { _id: 1 }, name: '_id_' },
    { v: 2, key: { a: 1 }, name: 'a_1', unique: true, partialFilterExpression: { b: { $exists: true } } },
    { v: 2, name: 'text_text_at_-1', expireAfterSeconds: 5 },
  ])
  await c.insertMany([{ a: 1 }, { a: 1 }, { a: 1, b: 1 }])
  t.equal(await errorCodeOf(c.insertOne({ a: 1, b: 2 })), 11000)
  t.equal(await c.createIndex({ a: 1 }), 'a_1', 'it exists')
  t.equal(await errorCodeOf(c.createIndex({ a: 1 }, { name: 'other' })), 85)
  t.equal(await errorCodeOf(c.createIndex({ z: 1 }, { name: 'a_1' })), 86)
  await c.dropIndex('a_1')
  t.equal(await errorCodeOf(c.dropIndex('a_1')), 27)
  t.equal(await errorCodeOf(c.dropIndex('_id_')), 72)
  await c.dropIndexes()
  t.equal((await c.indexes()).length, 1)
})

t.test('a unique index on an array has one key per element', async t => {
  const { client } = await startMongo(t)
  const c = client.db('app').collection<Document>('c')
  await c.createIndex({ tags: 1 }, { unique: true })
  await c.insertOne({ tags: ['x', 'y'] })
  t.equal(await errorCodeOf(c.insertOne({ tags: ['z', 'y'] })), 11000)
  t.equal(await errorCodeOf(c.insertOne({ tags: ['z', 'z'] })), undefined, 'within one document nothing is a duplicate')
})

t.test('a renamed collection keeps its documents and indexes', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  await app.collection<Document>('a').insertOne({ _id: 1 as never, n: 1 })
  await app.collection('a').createIndex({ n: 1 }, { unique: true })
  await app.collection('b').insertOne({})
  t.equal(await errorCodeOf(app.collection('a').rename('b')), 48)
  const b = await app.collection<Document>('a').rename('b', { dropTarget: true })
  t.same(await b.find().toArray(), [{ _id: 1, n: 1 }])
  t.equal(await errorCodeOf(b.insertOne({ n: 1 })), 11000)
  t.equal(await errorCodeOf(app.collection('a').rename('c')), 26)
})

t.test('sizes are reported', async t => {
  const { client } = await startMongo(t)
  const app = client.db('app')
  await app.collection('c').insertMany([{ a: 1 }, { a: 2 }])
  t.match(await app.command({ collStats: 'c' }), { ns: 'app.c', count: 2, nindexes: 1, size: 2 * 29 })
  t.match(await app.stats(), { db: 'app', objects: 2, collections: 1 })
  t.match(await app.command({ validate: 'c' }), { valid: true, nrecords: 2 })
  t.match(
    await app
      .collection('c')
      .aggregate([{ $collStats: { storageStats: {}, count: {} } }])
      .toArray(),
    [{ ns: 'app.c', count: 2, storageStats: { count: 2 } }],
  )
})

t.test('names that MongoDB does not allow are rejected', async t => {
  const { client } = await startMongo(t)
  t.equal(await errorCodeOf(client.db('app').command({ insert: 'a$b', documents: [{}] })), 73)
  t.equal(await errorCodeOf(client.db('app').command({ insert: '', documents: [{}] })), 73)
  t.equal(await errorCodeOf(client.db('app').command({ create: 'view', viewOn: 'c', pipeline: [] })), 20)
})
