/**
 * A task for a driver, the same for each version: JSON on stdin, one line of JSON out.
 *
 *     { uri, options?, steps: [{ do: 'insertMany', in: 'app.many', count: 10000 }, …] }
 *     { steps: [{ value } or { error }, …], pool: { connectionCreated: 1, … } }
 *
 * Credentials come from the environment, as driver 7 demands. Values travel as extended JSON, those of the task with
 * their types.
 */
import { createHash, randomBytes } from 'node:crypto'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'

const MiB = 1024 * 1024
const poolEvents = ['connectionCreated', 'connectionReady', 'connectionClosed', 'connectionPoolCleared']

export async function run(mongodb) {
  const { EJSON } = mongodb.BSON
  const task = EJSON.parse(await text(process.stdin), { relaxed: false, promoteValues: false })
  const client = new mongodb.MongoClient(task.uri, { monitorCommands: true, ...plain(task.options) })
  const pool = Object.fromEntries(poolEvents.map(name => [name, 0]))
  for (const name of poolEvents) client.on(name, () => pool[name]++)
  const steps = []
  for (const step of task.steps) {
    const commands = {}
    const count = ({ commandName }) => {
      commands[commandName] = (commands[commandName] ?? 0) + 1
    }
    client.on('commandStarted', count)
    const began = performance.now()
    try {
      const value = await actions[step.do](client, step, mongodb)
      steps.push({ value: { ...value, commands } })
    } catch (error) {
      steps.push({ error: { ...shapeOf(error), ms: Math.round(performance.now() - began) } })
    } finally {
      client.off('commandStarted', count)
    }
  }
  await client.close()
  process.stdout.write(`${EJSON.stringify({ steps, pool })}\n`)
}

const plain = value => JSON.parse(JSON.stringify(value ?? {}))
const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')

/** What an application can see of an error. */
export function shapeOf({ name, message, code, codeName, errorLabels }) {
  return { name, message, code, codeName, labels: [...(errorLabels ?? [])] }
}

/** The collection that a step names as `database.collection`. */
function collectionOf(client, { in: namespace }, options) {
  const [database, ...rest] = namespace.split('.')
  return client.db(database).collection(rest.join('.'), options)
}

/** What can be asked for. Each returns an object. */
const actions = {
  /** Connects, and waits until the pool has so many connections. */
  connect: async (client, step) => {
    let ready = 0
    const filled = new Promise(resolve => {
      client.on('connectionReady', () => ++ready >= Number(step.connections ?? 1) && resolve())
    })
    await client.connect()
    await filled
    return {}
  },

  /** Until the session of a credential source has ended, as the driver's own clock sees it. */
  wait: async (_, { ms }) => {
    await sleep(Number(ms))
    return {}
  },

  /** Any command at all: `{ on: database, command }`. */
  command: async (client, { on, command }) => ({ reply: await client.db(on).command(command) }),

  insert: (client, step) => collectionOf(client, step).insertMany(step.documents),

  insertMany: async (client, step) => {
    const documents = Array.from({ length: Number(step.count) }, (_, n) => ({ n, text: 'x'.repeat(100) }))
    const { insertedCount } = await collectionOf(client, step).insertMany(documents)
    return { insertedCount }
  },

  /** Reads all of a collection in batches, each document exactly once. */
  find: async (client, step) => {
    const seen = new Set()
    let count = 0
    for await (const { n } of collectionOf(client, step).find({}, { batchSize: Number(step.batchSize) })) {
      seen.add(n)
      count++
    }
    return { count, different: seen.size }
  },

  aggregate: async (client, step) => ({
    documents: await collectionOf(client, step).aggregate(step.pipeline).toArray(),
  }),

  /** A document of `MiB` there and back. */
  large: async (client, step, { Binary }) => {
    const collection = collectionOf(client, step)
    const bytes = randomBytes(Number(step.MiB) * MiB)
    const { insertedId } = await collection.insertOne({ bytes: new Binary(bytes) })
    const back = await collection.findOne({ _id: insertedId })
    return { length: back.bytes.length(), same: sha256(back.bytes.buffer) === sha256(bytes) }
  },

  /** Writes that wait for no answer, and how many of them the next command on the same connection sees. */
  unacknowledged: async (client, step) => {
    const silent = collectionOf(client, step, { writeConcern: { w: 0 } })
    const answers = []
    for (let n = 0; n < Number(step.count); n++) answers.push((await silent.insertOne({ n })).acknowledged)
    await silent.updateMany({}, { $set: { seen: true } })
    await silent.deleteOne({ n: 0 })
    const seen = await collectionOf(client, step).countDocuments({ seen: true })
    return { acknowledged: answers.includes(true), seen }
  },

  bulk: async (client, step) => {
    const { insertedCount, modifiedCount, deletedCount, upsertedCount } = await collectionOf(client, step).bulkWrite(
      step.operations,
    )
    return { insertedCount, modifiedCount, deletedCount, upsertedCount }
  },

  /** Two operations in one explicit session. */
  session: (client, step) =>
    client.withSession(async session => {
      const collection = collectionOf(client, step)
      await collection.insertOne({ at: 1 }, { session })
      return { found: await collection.countDocuments({ at: 1 }, { session }) }
    }),

  /** A document of every type there and back, as it was. */
  types: async (client, step, { BSON, Binary, Decimal128, Double, Int32, Long, ObjectId, Timestamp }) => {
    const raw = { promoteValues: false, promoteLongs: false }
    const canonical = value => BSON.EJSON.stringify(value, { relaxed: false })
    const collection = collectionOf(client, step, raw)
    const document = {
      _id: new ObjectId(),
      int: new Int32(1),
      long: Long.fromNumber(1),
      huge: Long.fromString('9007199254740993'),
      double: new Double(1),
      decimal: Decimal128.fromString('1.00'),
      binary: new Binary(Buffer.from('abc'), 128),
      date: new Date(1),
      timestamp: new Timestamp({ t: 1, i: 2 }),
      nothing: null,
      nested: { list: [new Int32(1), Long.fromNumber(2)] },
    }
    await collection.insertOne(document)
    const back = await collection.findOne({ _id: document._id }, raw)
    return { sent: canonical(document), back: canonical(back) }
  },

  /** So many operations at once. */
  parallel: async (client, step) => {
    const collection = collectionOf(client, step)
    const all = await Promise.all(Array.from({ length: Number(step.count) }, () => collection.findOne()))
    return { answered: all.length }
  },
}
