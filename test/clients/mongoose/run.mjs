/**
 * The real Mongoose, for the tests: a line of JSON on stdin asks for a step, a line on stdout answers it.
 * test/interop/README.md has the steps. Credentials come from the environment.
 */
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import mongoose from 'mongoose'

const schema = new mongoose.Schema({ _id: mongoose.Mixed, n: Number, text: String, by: String }, { versionKey: false })
const seen = { ready: 0, getMores: 0 }
const options = { dbName: 'app', monitorCommands: true, autoIndex: false, autoCreate: false }
let connection
let uri

/** The model of a collection; Mongoose leaves indexes alone, so that a reader can have one, too. */
const modelOf = name => connection.models[name] ?? connection.model(name, schema, name)
const ping = () => connection.db.admin().command({ ping: 1 })

const steps = {
  async open(asked) {
    uri = asked.uri
    connection = mongoose.createConnection(uri, options)
    const client = connection.getClient()
    client.on('connectionReady', () => seen.ready++)
    client.on('commandStarted', ({ commandName }) => {
      if (commandName === 'getMore') seen.getMores++
    })
    connection.asPromise().catch(() => {}) // told by the first step
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

  async crud(asked) {
    await connected()
    const model = modelOf(asked.in)
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
      left: await model.countDocuments({}),
    }
  },

  async insert(asked) {
    await connected()
    await modelOf(asked.in).create({ _id: asked.id ?? new mongoose.Types.ObjectId(), by: 'mongoose' })
    return {}
  },

  /** All at once; what failed of them, as the application sees it. */
  async inserts({ in: name, ids }) {
    await connected()
    const one = id =>
      modelOf(name)
        .create({ _id: id, by: 'mongoose' })
        .then(
          () => [],
          error => [{ id, ...shapeOf(error) }],
        )
    return { failed: (await Promise.all(ids.map(one))).flat() }
  },

  /** Writes so many documents and reads all of them in batches. */
  async cursor({ in: name, count, batchSize }) {
    await connected()
    const model = modelOf(name)
    await model.deleteMany({})
    await model.insertMany(Array.from({ length: count }, (_, n) => ({ _id: n, n, text: String(n).padStart(100, '0') })))
    seen.getMores = 0
    const all = []
    for await (const { n } of model.find({}).lean().cursor({ batchSize })) all.push(n)
    return { count: all.length, different: new Set(all).size, getMores: seen.getMores }
  },

  /** As many operations at once as the pool holds, ten rounds, once the pool is full. */
  async pool({ count }) {
    await connected()
    await ping()
    const deadline = performance.now() + 60_000
    while (seen.ready < count) {
      if (performance.now() > deadline) throw new Error(`only ${seen.ready} connections are ready`)
      await sleep(10)
    }
    let answered = 0
    const rounds = async () => {
      for (let n = 0; n < 10; n++) {
        await ping()
        answered++
      }
    }
    await Promise.all(Array.from({ length: count }, rounds))
    return { ready: seen.ready, answered }
  },
}

/** What failed at first is tried again, as an application that is started again would. */
const connected = () => connection.asPromise().catch(() => connection.openUri(uri, options))

/** What an application can see of an error. */
const shapeOf = ({ message, code, errorLabels }) => ({ message, code, labels: [...(errorLabels ?? [])] })

for await (const line of createInterface(process.stdin)) {
  const asked = JSON.parse(line)
  const answer = await steps[asked.do](asked).then(
    value => ({ value }),
    error => ({ error: shapeOf(error) }),
  )
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
await connection?.close()
