import { randomBytes } from 'node:crypto'
import { Binary, BSONRegExp, Decimal128, type Document, Double, Int32, Long, ObjectId, Timestamp } from 'bson'
import { MongoClient, type MongoClientOptions } from 'mongodb'
import t, { type Test } from 'tap'
import { type MongoOptions, mongoServer } from '../../../src/sandbox/mongo/server.js'

const root = { name: 'root', password: 'a password, with = and , in it' }

/** A server and a client of it, both gone after the test. */
async function served(t: Test, options: Partial<MongoOptions> = {}, client: MongoClientOptions = {}) {
  const server = await mongoServer({ now: Date.now, random: randomBytes, root, ...options })
  t.teardown(() => server.close())
  const as = async (user: string, password: string, authSource = 'admin', more: MongoClientOptions = {}) => {
    const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`
    const uri = `mongodb://${login}@127.0.0.1:${server.port}/?authSource=${authSource}`
    const client = await new MongoClient(uri, { serverSelectionTimeoutMS: 5000, ...more }).connect()
    t.teardown(() => client.close())
    return client
  }
  return { server, as, client: await as(root.name, root.password, 'admin', client) }
}

async function codeOf(run: Promise<unknown>): Promise<number | undefined> {
  return run.then(
    () => undefined,
    thrown => thrown.code,
  )
}

t.test('a real driver logs in, writes and reads', async t => {
  const { client, server } = await served(t)
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
  t.ok(server.dialled() >= 2)
  t.match(server.connections()[0]?.metadata, { driver: { name: 'nodejs' } })
})

t.test('10,000 documents come in several batches', async t => {
  const { client, server } = await served(t)
  const many = client.db('app').collection<Document>('many')
  await many.insertMany(Array.from({ length: 10_000 }, (_, n) => ({ n, text: 'x'.repeat(50) })))
  const found = await many.find({}, { batchSize: 1000 }).sort({ n: -1 }).toArray()
  t.equal(found.length, 10_000)
  t.equal(found[0]?.n, 9999)
  t.equal(server.counted('getMore'), 9, 'a size of the client')
  t.equal((await many.find().toArray()).length, 10_000)
  t.equal(server.counted('getMore'), 10, 'all that fits')
})

t.test('a document of 15 MiB goes both ways', async t => {
  const { client } = await served(t)
  const large = client.db('app').collection<Document>('large')
  const bytes = new Binary(randomBytes(15 * 1024 * 1024))
  await large.insertOne({ _id: 1 as never, bytes })
  await large.insertOne({ _id: 2 as never, bytes })
  const all = await large.find().toArray()
  t.ok(all.length === 2 && all.every(one => bytes.buffer.every((byte, at) => byte === one.bytes.buffer[at])))
})

t.test('types come back as they were sent', async t => {
  const { client } = await served(t)
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

t.test('a wrong password and an unknown user are refused alike', async t => {
  const { as } = await served(t)
  t.equal(await codeOf(as('root', 'wrong')), 18)
  t.equal(await codeOf(as('nobody', 'wrong')), 18)
})
