/**
 * Runs a task with any version of the Node.js driver: JSON on stdin, one line of JSON on stdout.
 *
 *     { uri, options?, steps: [{ do: 'insertMany', in: 'app.many', count: 10000 }, …] }
 *     { steps: [{ value } or { error }, …], pool: { connectionCreated: 1, … } }
 *
 * Credentials come from the environment, because driver 7 rejects them in the connection string. Both lines are extended
 * JSON. The BSON types of the task are preserved.
 */
import { createHash, randomBytes } from 'node:crypto'
import { text } from 'node:stream/consumers'

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
    const startedAt = performance.now()
    try {
      const value = await actions[step.do](client, step, mongodb)
      steps.push({ value: { ...value, commands } })
    } catch (error) {
      steps.push({ error: { ...describeError(error), ms: Math.round(performance.now() - startedAt) } })
    } finally {
      client.off('commandStarted', count)
    }
  }
  await client.close()
  process.stdout.write(`${EJSON.stringify({ steps, pool })}\n`)
}

const plain = value => JSON.parse(JSON.stringify(value ?? {}))
const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')

/** An error as the application sees it. */
export function describeError({ name, message, code, codeName, errorLabels }) {
  return { name, message, code, codeName, labels: [...(errorLabels ?? [])] }
}

/** The collection of a step, which names it as `database.collection`. */
function collectionOf(client, { in: namespace }, options) {
  const [database, ...rest] = namespace.split('.')
  return client.db(database).collection(rest.join('.'), options)
}

/** The steps by name. Each returns an object. */
const actions = {
  /** Connects, and waits until the pool has `connections` connections. */
  connect: async (client, step) => {
    let ready = 0
    const filled = new Promise(resolve => {
      client.on('connectionReady', () => ++ready >= Number(step.connections ?? 1) && resolve())
    })
    await client.connect()
    await filled
    return {}
  },

  /** Closes the connections. `connect` opens others, with a login each. */
  disconnect: async client => {
    await client.close()
    return {}
  },

  /** Waits until the test has answered a request to this URL. */
  waitForTest: async (_, { url }) => {
    await fetch(url)
    return {}
  },

  /** Runs any command: `{ on: database, command }`. */
  command: async (client, { on, command }) => ({ reply: await client.db(on).command(command) }),

  insert: (client, step) => collectionOf(client, step).insertMany(step.documents),

  insertMany: async (client, step) => {
    const documents = Array.from({ length: Number(step.count) }, (_, n) => ({ n, text: 'x'.repeat(100) }))
    const { insertedCount } = await collectionOf(client, step).insertMany(documents)
    return { insertedCount }
  },

  /** Reads a collection in batches; `different` equals `count` if each document arrived once. */
  find: async (client, step) => {
    const distinct = new Set()
    let count = 0
    for await (const { n } of collectionOf(client, step).find({}, { batchSize: Number(step.batchSize) })) {
      distinct.add(n)
      count++
    }
    return { count, different: distinct.size }
  },

  aggregate: async (client, step) => ({
    documents: await collectionOf(client, step).aggregate(step.pipeline).toArray(),
  }),

  /** Writes a document of `MiB` and reads it back. */
  large: async (client, step, { Binary }) => {
    const collection = collectionOf(client, step)
    const bytes = randomBytes(Number(step.MiB) * MiB)
    const { insertedId } = await collection.insertOne({ bytes: new Binary(bytes) })
    const back = await collection.findOne({ _id: insertedId })
    return { length: back.bytes.length(), same: sha256(back.bytes.buffer) === sha256(bytes) }
  },

  /** Sends unacknowledged writes, and counts how many of them the next command on the same connection sees. */
  unacknowledged: async (client, step) => {
    const unacknowledged = collectionOf(client, step, { writeConcern: { w: 0 } })
    const acknowledgements = []
    for (let n = 0; n < Number(step.count); n++)
      acknowledgements.push((await unacknowledged.insertOne({ n })).acknowledged)
    await unacknowledged.updateMany({}, { $set: { seen: true } })
    await unacknowledged.deleteOne({ n: 0 })
    const seen = await collectionOf(client, step).countDocuments({ seen: true })
    return { acknowledged: acknowledgements.includes(true), seen }
  },

  bulk: async (client, step) => {
    const { insertedCount, modifiedCount, deletedCount, upsertedCount } = await collectionOf(client, step).bulkWrite(
      step.operations,
    )
    return { insertedCount, modifiedCount, deletedCount, upsertedCount }
  },

  /** Runs two operations in one explicit session. */
  session: (client, step) =>
    client.withSession(async session => {
      const collection = collectionOf(client, step)
      await collection.insertOne({ at: 1 }, { session })
      return { found: await collection.countDocuments({ at: 1 }, { session }) }
    }),

  /** Writes a document with every BSON type and reads it back. */
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

  /** Runs `count` operations concurrently. */
  parallel: async (client, step) => {
    const collection = collectionOf(client, step)
    const all = await Promise.all(Array.from({ length: Number(step.count) }, () => collection.findOne()))
    return { answered: all.length }
  },
}
