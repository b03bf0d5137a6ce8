/**
 * Runs steps with Mongoose for the tests. Each line of JSON on stdin is a step; each line on stdout is its result.
 * test/interop/README.md describes the steps. Credentials come from the environment.
 */
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import mongoose from 'mongoose'

const schema = new mongoose.Schema({ _id: mongoose.Mixed, n: Number, text: String, by: String }, { versionKey: false })
const counts = { ready: 0, getMores: 0 }
const options = { dbName: 'app', monitorCommands: true, autoIndex: false, autoCreate: false }
let connection
let uri

/** The model of a collection. Mongoose creates no indexes, so that a read-only user can use it. */
const modelOf = name => connection.models[name] ?? connection.model(name, schema, name)
const ping = () => connection.db.admin().command({ ping: 1 })

const steps = {
  async open(step) {
    uri = step.uri
    connection = mongoose.createConnection(uri, options)
    const client = connection.getClient()
    client.on('connectionReady', () => counts.ready++)
    client.on('commandStarted', ({ commandName }) => {
      if (commandName === 'getMore') counts.getMores++
    })
    connection.asPromise().catch(() => {}) // the first step reports the error
    return {}
  },

  async ping() {
    await connected()
    await ping()
    return {}
  },

  async status() {
    await connected()
    const { authInfo } = await connection.db.admin().command({ connectionStatus: 1 })
    return {
      users: authInfo.authenticatedUsers.map(({ user, db }) => ({ user, db })),
      roles: authInfo.authenticatedUserRoles.map(({ role, db }) => ({ role, db })),
    }
  },

  async crud(step) {
    await connected()
    const model = modelOf(step.in)
    await model.deleteMany({})
    const inserted = await model.insertMany([1, 2, 3].map(n => ({ _id: n, n })))
    const { modifiedCount } = await model.updateOne({ _id: 2 }, { n: 20 })
    const { upsertedCount } = await model.updateOne({ _id: 4 }, { n: 4 }, { upsert: true })
    const { deletedCount } = await model.deleteOne({ _id: 1 })
    const found = await model.find({ n: { $gte: 3 } }).sort({ n: 1 })
    return {
      inserted: inserted.length,
      modified: modifiedCount,
      upserted: upsertedCount,
      deleted: deletedCount,
      found: found.map(({ _id, n }) => [_id, n]),
      remaining: await model.countDocuments({}),
    }
  },

  async insert(step) {
    await connected()
    await modelOf(step.in).create({ _id: step.id ?? new mongoose.Types.ObjectId(), by: 'mongoose' })
    return {}
  },

  /** Inserts documents concurrently and returns the errors that the application sees. */
  async inserts({ in: name, ids }) {
    await connected()
    const insertOne = id =>
      modelOf(name)
        .create({ _id: id, by: 'mongoose' })
        .then(
          () => [],
          error => [{ id, ...describeError(error) }],
        )
    return { failed: (await Promise.all(ids.map(insertOne))).flat() }
  },

  /** Writes `count` documents and reads all of them in batches. */
  async cursor({ in: name, count, batchSize }) {
    await connected()
    const model = modelOf(name)
    await model.deleteMany({})
    await model.insertMany(Array.from({ length: count }, (_, n) => ({ _id: n, n, text: String(n).padStart(100, '0') })))
    counts.getMores = 0
    const found = []
    for await (const { n } of model.find({}).lean().cursor({ batchSize })) found.push(n)
    return { count: found.length, distinct: new Set(found).size, getMores: counts.getMores }
  },

  /** Waits until the pool has `count` connections, then runs as many workers with ten pings each. */
  async pool({ count }) {
    await connected()
    await ping()
    const deadline = performance.now() + 60_000
    while (counts.ready < count) {
      if (performance.now() > deadline) throw new Error(`only ${counts.ready} connections are ready`)
      await sleep(10)
    }
    let answered = 0
    const pingTenTimes = async () => {
      for (let n = 0; n < 10; n++) {
        await ping()
        answered++
      }
    }
    await Promise.all(Array.from({ length: count }, pingTenTimes))
    return { ready: counts.ready, answered }
  },
}

/** Mongoose does not retry a failed first connection, so open it again, as a restarted application would. */
const connected = () => connection.asPromise().catch(() => connection.openUri(uri, options))

/** An error as the application sees it. */
const describeError = ({ message, code, errorLabels }) => ({ message, code, labels: [...(errorLabels ?? [])] })

for await (const line of createInterface(process.stdin)) {
  const step = JSON.parse(line)
  const result = await steps[step.do](step).then(
    value => ({ value }),
    error => ({ error: describeError(error) }),
  )
  process.stdout.write(`${JSON.stringify(result)}\n`)
}
await connection?.close()
