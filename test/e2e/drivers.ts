/** What applications do, with real drivers through the demo: as an IAM user, and as a role with a session token. */
import t from 'tap'
import type { Calls } from '../../sandbox/src/aws/sts.js'
import { type Driver, loadDriver, requireClients, runTask } from '../support/clients.js'
import { startDemo } from '../support/demo.js'

const drivers: readonly Driver[] = ['mongodb7', 'mongodb6']

await requireClients(...drivers)
const { uri, alice, orders, ready } = await startDemo(t)

for (const driver of drivers) {
  const many = `app.many-${driver}`

  t.test(`${driver} works as an IAM user that may write`, async t => {
    const steps = {
      status: { do: 'command', on: 'app', command: { connectionStatus: 1 } },
      insertMany: { do: 'insertMany', in: many, count: 10_000 },
      find: { do: 'find', in: many, batchSize: 1_000 },
      large: { do: 'large', in: `app.large-${driver}`, MiB: 15 },
      aggregate: {
        do: 'aggregate',
        in: many,
        pipeline: [{ $match: { n: { $lt: 100 } } }, { $group: { _id: null, sum: { $sum: '$n' } } }],
      },
      unacknowledged: { do: 'unacknowledged', in: `app.silent-${driver}`, count: 100 },
      bulk: {
        do: 'bulk',
        in: `app.bulk-${driver}`,
        operations: [
          { insertOne: { document: { _id: 1 } } },
          { updateOne: { filter: { _id: 1 }, update: { $set: { n: 1 } } } },
          { updateOne: { filter: { _id: 2 }, update: { $set: { n: 2 } }, upsert: true } },
          { deleteOne: { filter: { _id: 1 } } },
        ],
      },
      session: { do: 'session', in: `app.session-${driver}` },
      types: { do: 'types', in: `app.types-${driver}` },
      elsewhere: { do: 'insert', in: 'other.many', documents: [{ n: 1 }] },
      duplicate: { do: 'insert', in: `app.bulk-${driver}`, documents: [{ _id: 2 }] },
      hello: { do: 'command', on: 'admin', command: { hello: 1 } },
    }
    // One connection, so that the steps after the unacknowledged writes are executed after them.
    const task = { uri: uri(), options: { maxPoolSize: 1 }, steps: Object.values(steps) }
    const { steps: done, pool } = await runTask(t, driver, task, alice)
    const result = Object.fromEntries(Object.keys(steps).map((name, at) => [name, done[at]]))

    t.match(result.status?.value?.reply.authInfo, {
      authenticatedUsers: [{ user: 'alice', db: 'admin' }],
      authenticatedUserRoles: [{ role: 'readWrite', db: 'app' }],
    })
    t.match(result.insertMany, { value: { insertedCount: 10_000 } })
    t.match(result.find, { value: { count: 10_000, different: 10_000, commands: { find: 1, getMore: Number } } })
    t.ok((result.find?.value?.commands.getMore ?? 0) >= 9, 'in ten batches or more')
    t.match(result.large, { value: { length: 15 * 1024 * 1024, same: true } })
    t.match(result.aggregate, { value: { documents: [{ _id: null, sum: 4_950 }] } })
    t.match(result.unacknowledged, { value: { acknowledged: false, seen: 99 } })
    t.match(result.bulk, { value: { insertedCount: 1, modifiedCount: 1, deletedCount: 1, upsertedCount: 1 } })
    t.match(result.session, { value: { found: 1 } })
    t.ok(result.types?.value)
    t.equal(result.types?.value?.back, result.types?.value?.sent, 'types come back as they were sent')
    t.match(result.elsewhere, { error: { code: 13, codeName: 'Unauthorized' } })
    t.match(result.duplicate, { error: { code: 11000 } })
    t.match(result.hello, { value: { reply: { ok: 1, maxBsonObjectSize: 16_777_216 } } })
    t.same(pool, { connectionCreated: 1, connectionReady: 1, connectionClosed: 1, connectionPoolCleared: 0 })
  })

  t.test(`${driver} works as a role that reads, on twenty connections with a login each`, async t => {
    const before = await stsCalls()
    const steps = [
      { do: 'connect', connections: 20 },
      { do: 'command', on: 'app', command: { connectionStatus: 1 } },
      { do: 'find', in: many, batchSize: 3_000 },
      { do: 'insert', in: many, documents: [{ n: 1 }] },
      { do: 'aggregate', in: many, pipeline: [{ $count: 'n' }] },
      { do: 'parallel', in: many, count: 200 },
    ]
    const options = { maxPoolSize: 20, minPoolSize: 20, maxConnecting: 20 }
    const done = await runTask(t, driver, { uri: uri(), options, steps }, orders)
    const [connect, status, find, insert, after, parallel] = done.steps
    t.ok(connect?.value)
    t.match(status?.value?.reply.authInfo.authenticatedUsers, [{ user: 'orders-api', db: 'admin' }])
    t.match(find, { value: { count: 10_000, different: 10_000 } })
    t.match(insert, { error: { code: 13, codeName: 'Unauthorized', message: /not authorized on app/ } })
    t.match(after, { value: { documents: [{ n: 10_000 }] } }, 'nothing was written')
    t.match(parallel, { value: { answered: 200 } })
    t.match(done.pool, { connectionCreated: 20, connectionReady: 20, connectionPoolCleared: 0 })
    t.equal((await stsCalls()) - before, 20, 'one call to STS for each')
  })
}

t.test('driver 6 accepts credentials in the connection string, driver 7 rejects them', async t => {
  const login = `${encodeURIComponent(orders.accessKeyId)}:${encodeURIComponent(orders.secretAccessKey)}@`
  const inside = uri().replace('mongodb://', `mongodb://${login}`)
  const options = { authMechanismProperties: { AWS_SESSION_TOKEN: orders.sessionToken ?? '' } }
  const six = new (await loadDriver('mongodb6')).MongoClient(inside, options)
  t.teardown(() => six.close())
  const { authInfo } = await six.db('app').command({ connectionStatus: 1 })
  t.match(authInfo.authenticatedUsers, [{ user: 'orders-api' }])
  const { MongoClient } = await loadDriver('mongodb7')
  t.throws(() => new MongoClient(inside), { message: /MONGODB-AWS/ })
})

/** How many GetCallerIdentity calls the STS of the demo has received. */
async function stsCalls(): Promise<number> {
  const calls = (await (await fetch(`${ready.sts}/sandbox/calls`)).json()) as Calls
  return calls.GetCallerIdentity
}
