import { randomBytes } from 'node:crypto'
import { Binary, type Document, Long } from 'bson'
import { type ClientSession, MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { connectRaw, errorCodeOf, root } from '../../../test/support/mongo.js'
import { logInWithScram } from '../../../test/support/scram.js'
import { type ReplicaSetMember, startReplicaSet } from '../../src/mongo/replicaSet.js'

type Row = { _id: number; n?: number; u?: number }

/** Starts a set with a manual clock, a client, and a collection with two documents. */
async function startSetWithSession(t: Test) {
  let now = 1_000_000
  const set = await startReplicaSet({ now: () => now, random: randomBytes, root })
  t.teardown(() => set.close())
  const client = new MongoClient(set.uri())
  t.teardown(() => client.close())
  const c = client.db('app').collection<Row>('c')
  await c.insertMany([
    { _id: 1, n: 1 },
    { _id: 2, n: 1 },
  ])
  const session = client.startSession()
  t.teardown(() => session.endSession())
  return { set, client, c, session, later: (ms: number) => (now += ms) }
}

const labelsOf = async (run: Promise<unknown>): Promise<string[]> =>
  run.then(
    () => [],
    thrown => [...thrown.errorLabels],
  )

t.test('a transaction sees its own writes; other clients see them after the commit', async t => {
  const { client, c, session } = await startSetWithSession(t)
  session.startTransaction()
  await c.insertOne({ _id: 3 }, { session })
  await c.updateOne({ _id: 1 }, { $inc: { n: 1 } }, { session })
  await c.deleteOne({ _id: 2 }, { session })
  const fresh = client.db('app').collection<Row>('fresh')
  await fresh.insertOne({ _id: 1 }, { session })
  const changed = [{ _id: 1, n: 2 }, { _id: 3 }]
  t.same(await c.find({}, { session }).toArray(), changed)
  t.equal(await c.countDocuments({}, { session }), 2)
  t.same(await c.distinct('_id', {}, { session }), [1, 3])
  t.same(await c.find().toArray(), [
    { _id: 1, n: 1 },
    { _id: 2, n: 1 },
  ])
  t.equal(await fresh.findOne(), null)
  await session.commitTransaction()
  t.same(await c.find().toArray(), changed)
  t.match(await fresh.findOne(), { _id: 1 })
  await session.commitTransaction()
  t.match(await c.findOne({ _id: 1 }), { n: 2 }, 'a second commit changes nothing')
})

t.test('an aborted transaction has no effect', async t => {
  const { c, session } = await startSetWithSession(t)
  session.startTransaction()
  await c.updateMany({}, { $set: { n: 5 } }, { session })
  await c.findOneAndUpdate({ _id: 9 }, { $set: { n: 5 } }, { session, upsert: true })
  await session.abortTransaction()
  t.equal(await c.countDocuments({ n: 5 }), 0)
  session.startTransaction()
  await c.insertOne({ _id: 9 }, { session })
  await session.commitTransaction()
  t.equal(await c.countDocuments(), 3, 'the session goes on')
})

t.test('a document that another client changed is a conflict, at the write or at commit', async t => {
  const { client, c, session } = await startSetWithSession(t)
  session.startTransaction()
  await c.findOne({}, { session })
  await c.updateOne({ _id: 1 }, { $inc: { n: 1 } })
  const late = c.updateOne({ _id: 1 }, { $inc: { n: 1 } }, { session })
  t.same(await labelsOf(late), ['TransientTransactionError'])
  t.equal(await errorCodeOf(late), 112)
  await session.abortTransaction()

  session.startTransaction()
  await c.updateOne({ _id: 1 }, { $inc: { n: 10 } }, { session })
  await c.insertOne({ _id: 7 }, { session })
  const second = client.startSession()
  t.teardown(() => second.endSession())
  await second.withTransaction(() => c.updateOne({ _id: 1 }, { $inc: { n: 1 } }, { session: second }))
  const commit = session.commitTransaction()
  t.same(await labelsOf(commit), ['TransientTransactionError'])
  t.equal(await errorCodeOf(commit), 112)
  t.match(await c.find().toArray(), [{ n: 3 }, { n: 1 }], 'no part of it was applied')
})

t.test('a unique index applies across transactions', async t => {
  const { client, c, session } = await startSetWithSession(t)
  await client.db('app').collection('d').createIndex({ u: 1 }, { unique: true })
  const d = client.db('app').collection<Row>('d')
  await d.insertMany([
    { _id: 1, u: 1 },
    { _id: 2, u: 2 },
  ])
  session.startTransaction()
  await c.insertOne({ _id: 8 }, { session })
  await d.insertOne({ _id: 3, u: 3 }, { session })
  await d.insertOne({ _id: 4, u: 3 })
  t.equal(await errorCodeOf(session.commitTransaction()), 112)
  t.equal(await c.countDocuments({ _id: 8 }), 0, 'all or nothing, over collections')
  t.equal(await errorCodeOf(d.insertOne({ _id: 5, u: 3 })), 11000)

  session.startTransaction()
  await d.updateOne({ _id: 1 }, { $set: { u: 9 } }, { session })
  await d.updateOne({ _id: 2 }, { $set: { u: 1 } }, { session })
  await d.updateOne({ _id: 1 }, { $set: { u: 2 } }, { session })
  await session.commitTransaction()
  t.equal(await errorCodeOf(d.insertOne({ _id: 6, u: 1 })), 11000, 'values may change places')
  await d.deleteOne({ u: 2 })
  t.match(await d.insertOne({ _id: 6, u: 2 }), { insertedId: 6 })
})

t.test('an error aborts a transaction', async t => {
  const { client, c, session } = await startSetWithSession(t)
  const app = client.db('app')
  const wrong: [number, (session: ClientSession) => Promise<unknown>][] = [
    [11000, session => c.insertOne({ _id: 1 }, { session })],
    [263, session => app.command({ count: 'c' }, { session })],
    [263, session => app.createCollection('e', { session })],
    [263, session => client.db('admin').collection('c').insertOne({}, { session })],
    [2, session => c.find({ n: { $nonsense: 1 } } as Document, { session }).toArray()],
  ]
  for (const [code, run] of wrong) {
    session.startTransaction()
    await c.insertOne({ _id: 5 }, { session })
    t.equal(await errorCodeOf(run(session)), code)
    const next = c.findOne({}, { session })
    t.same(await labelsOf(next), ['TransientTransactionError'])
    t.equal(await errorCodeOf(next), 251)
    await session.abortTransaction()
  }
  t.equal(await c.countDocuments(), 2)
})

t.test('a step-down aborts transactions, and withTransaction retries them', async t => {
  const { set, c, session } = await startSetWithSession(t)
  const [, second, third] = set.members() as [ReplicaSetMember, ReplicaSetMember, ReplicaSetMember]
  let tries = 0
  await session.withTransaction(async () => {
    await c.updateOne({ _id: 1 }, { $inc: { n: 1 } }, { session })
    if (++tries === 1) set.elect(second)
    await c.updateOne({ _id: 2 }, { $inc: { n: 1 } }, { session })
    if (tries === 2) set.elect(third)
  })
  t.equal(tries, 3, 'at a statement, and at commit')
  t.match(await c.find().toArray(), [{ n: 2 }, { n: 2 }])
})

t.test('a commit that was not acknowledged is applied once', async t => {
  let majority: () => Promise<void> = async () => {}
  const set = await startReplicaSet({ now: Date.now, random: randomBytes, root, majority: () => majority() })
  t.teardown(() => set.close())
  const client = new MongoClient(set.uri())
  t.teardown(() => client.close())
  const c = client.db('app').collection<Row>('c')
  await c.insertOne({ _id: 1, n: 1 })
  const session = client.startSession()
  session.startTransaction()
  await c.updateOne({ _id: 1 }, { $inc: { n: 1 } }, { session })
  const applied = new Promise<void>(resolve => {
    majority = () => {
      resolve()
      return new Promise(() => {})
    }
  })
  const commit = session.commitTransaction()
  await applied
  majority = async () => {}
  set.elect(set.members()[1] as ReplicaSetMember)
  await commit
  await session.endSession()
  t.match(await c.findOne(), { n: 2 })
})

t.test('snapshot reads exist in transactions only', async t => {
  const { client, c } = await startSetWithSession(t)
  const session = client.startSession({ snapshot: true })
  t.equal(await errorCodeOf(c.findOne({}, { session })), 20)
  await session.endSession()
  const other = client.startSession()
  other.startTransaction({ readConcern: { level: 'snapshot' } })
  t.match(await c.findOne({}, { session: other }), { _id: 1 })
  await other.commitTransaction()
  await other.endSession()
})

t.test('a transaction expires after a minute', async t => {
  const { c, session, later } = await startSetWithSession(t)
  session.startTransaction()
  await c.insertOne({ _id: 3 }, { session })
  later(60_001)
  t.equal(await errorCodeOf(session.commitTransaction()), 251)
  t.equal(await c.countDocuments(), 2)
})

t.test('transaction numbers must increase', async t => {
  const { set } = await startSetWithSession(t)
  const { ask } = await connectRaw(t, set.members()[0]?.port as number)
  await logInWithScram(ask, root.name, root.password)
  const lsid = { id: new Binary(randomBytes(16), Binary.SUBTYPE_UUID) }
  const number = (value: number) => ({ lsid, txnNumber: Long.fromNumber(value), $db: 'app' })
  const insert = (_id: number) => ({ insert: 'c', documents: [{ _id }] })
  const code = async (command: Document) => (await ask(command)).code?.value
  const inside = { autocommit: false }
  const first = { ...inside, startTransaction: true }

  t.match(await ask({ ...insert(10), ...number(5) }), { n: { value: 1 }, retriedStmtIds: undefined })
  t.match(await ask({ ...insert(10), ...number(5) }), { n: { value: 1 }, retriedStmtIds: [{ value: 0 }] })
  t.equal(await code({ ...insert(11), ...number(4) }), 225, 'too old')
  t.equal(await code({ ...insert(11), ...number(5), ...first }), 50911, 'used')
  t.equal(await code({ ...insert(11), ...number(6), ...inside }), 251, 'not begun')
  t.equal(await code({ commitTransaction: 1, ...number(6), ...inside, $db: 'admin' }), 251)
  t.match(await ask({ ...insert(11), ...number(6), ...first }), { n: { value: 1 } })
  t.equal(await code({ ...insert(12), ...number(6) }), 251, 'a transaction is not a retryable write')
  t.match(await ask({ commitTransaction: 1, ...number(6), ...inside, $db: 'admin' }), { ok: { value: 1 } })
  t.equal(await code({ abortTransaction: 1, ...number(6), ...inside, $db: 'admin' }), 256, 'committed')
  t.equal(await code({ ...insert(12), ...number(6), ...inside }), 256)

  t.equal(await code({ find: 'c', ...number(7) }), 50768)
  t.equal(await code({ delete: 'c', deletes: [{ q: {}, limit: 0 }], ...number(7) }), 72)
  t.equal(await code({ update: 'c', updates: [{ q: {}, u: {}, multi: true }], ...number(7) }), 72)
  t.equal(await code({ ...insert(12), ...number(7), autocommit: true }), 72)
  t.equal(await code({ ...insert(12), autocommit: false, $db: 'app' }), 72)
  t.equal(await code({ ...insert(12), txnNumber: Long.ONE, $db: 'app' }), 72)
  t.equal(await code({ ...insert(12), ...number(7), txnNumber: 'x' }), 14)
  t.equal(await code({ ...insert(12), ...number(7), lsid: { id: 5 } }), 14)
  t.equal(await code({ endSessions: 5, $db: 'admin' }), 14)

  await ask({ endSessions: [lsid], $db: 'admin' })
  t.match(await ask({ ...insert(20), ...number(1) }), { n: { value: 1 } }, 'an ended session is dropped')
})

t.test('a failed statement runs again, a successful one does not', async t => {
  const { set } = await startSetWithSession(t)
  const { ask } = await connectRaw(t, set.members()[0]?.port as number)
  await logInWithScram(ask, root.name, root.password)
  const lsid = { id: new Binary(randomBytes(16), Binary.SUBTYPE_UUID) }
  const write = { lsid, txnNumber: Long.ONE, $db: 'app' }
  const insert = { insert: 'c', documents: [{ _id: 10 }, { _id: 1 }, { _id: 11 }], ...write }
  t.match(await ask(insert), { n: { value: 1 }, writeErrors: [{ index: { value: 1 }, code: { value: 11000 } }] })
  await ask({ delete: 'c', deletes: [{ q: { _id: 1 }, limit: 1 }], $db: 'app' })
  t.match(await ask(insert), { n: { value: 3 }, writeErrors: undefined, retriedStmtIds: [{ value: 0 }] })
  const modify = { findAndModify: 'c', query: { _id: 2 }, update: { $inc: { n: 1 } }, new: true }
  const second = { ...modify, ...write, txnNumber: Long.fromNumber(2) }
  t.match(await ask(second), { value: { n: { value: 2 } } })
  t.match(await ask(second), { value: { n: { value: 2 } }, retriedStmtId: { value: 0 } })
})
