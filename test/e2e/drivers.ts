/** Real drivers through the demo, as an IAM user and as a role with a session token: all that an application does. */
import t from 'tap'
import type { Calls } from '../../src/sandbox/aws/sts.js'
import { type Driver, drive } from '../support/clients.js'
import { demo } from '../support/demo.js'

for (const driver of ['mongodb7', 'mongodb6'] satisfies Driver[]) {
  t.test(`${driver}, as an IAM user that may write`, async t => {
    const { uri, alice, orders, stop } = await demo(t)
    const steps = {
      who: { do: 'command', on: 'app', command: { connectionStatus: 1 } },
      insertMany: { do: 'insertMany', in: 'app.many', count: 10_000 },
      find: { do: 'find', in: 'app.many', batchSize: 1_000 },
      large: { do: 'large', in: 'app.large', MiB: 15 },
      aggregate: {
        do: 'aggregate',
        in: 'app.many',
        pipeline: [{ $match: { n: { $lt: 100 } } }, { $group: { _id: null, sum: { $sum: '$n' } } }],
      },
      unacknowledged: { do: 'unacknowledged', in: 'app.silent', count: 100 },
      bulk: {
        do: 'bulk',
        in: 'app.bulk',
        operations: [
          { insertOne: { document: { _id: 1 } } },
          { updateOne: { filter: { _id: 1 }, update: { $set: { n: 1 } } } },
          { updateOne: { filter: { _id: 2 }, update: { $set: { n: 2 } }, upsert: true } },
          { deleteOne: { filter: { _id: 1 } } },
        ],
      },
      session: { do: 'session' },
      types: { do: 'types', in: 'app.types' },
      elsewhere: { do: 'insert', in: 'other.many', documents: [{ n: 1 }] },
      duplicate: { do: 'insert', in: 'app.bulk', documents: [{ _id: 2 }] },
      again: { do: 'command', on: 'admin', command: { hello: 1 } },
    }
    // One connection, so that what comes after the writes without an answer is served after them.
    const task = { uri: uri(), options: { maxPoolSize: 1 }, steps: Object.values(steps) }
    const { steps: done, pool } = await drive(t, driver, task, alice)
    const result = Object.fromEntries(Object.keys(steps).map((name, at) => [name, done[at]]))

    t.match(result.who, {
      value: {
        reply: {
          authInfo: {
            authenticatedUsers: [{ user: 'alice', db: 'admin' }],
            authenticatedUserRoles: [{ role: 'readWrite', db: 'app' }],
          },
        },
      },
    })
    t.match(result.insertMany, { value: { insertedCount: 10_000 } })
    t.match(result.find, { value: { count: 10_000, different: 10_000, commands: { find: 1 } } })
    t.ok((result.find?.value?.commands.getMore ?? 0) >= 9, 'in ten batches')
    t.match(result.large, { value: { length: 15 * 1024 * 1024, same: true } })
    t.match(result.aggregate, { value: { documents: [{ _id: null, sum: 4_950 }] } })
    t.match(result.unacknowledged, { value: { acknowledged: false, seen: 99 } })
    t.match(result.bulk, { value: { insertedCount: 1, modifiedCount: 1, deletedCount: 1, upsertedCount: 1 } })
    t.match(result.session, { value: { found: 1 } })
    t.ok(result.types?.value)
    t.equal(result.types?.value?.back, result.types?.value?.sent, 'types come back as they were sent')
    t.match(result.elsewhere, { error: { code: 13, codeName: 'Unauthorized' } })
    t.match(result.duplicate, { error: { code: 11000 } })
    t.match(result.again, { value: { reply: { ok: 1 } } })
    t.same(pool, { connectionCreated: 1, connectionReady: 1, connectionClosed: 1, connectionPoolCleared: 0 })

    const reading = {
      who: { do: 'command', on: 'app', command: { connectionStatus: 1 } },
      find: { do: 'find', in: 'app.many', batchSize: 3_000 },
      insert: { do: 'insert', in: 'app.many', documents: [{ n: 1 }] },
      after: { do: 'aggregate', in: 'app.many', pipeline: [{ $count: 'n' }] },
    }
    const asRole = await drive(t, driver, { uri: uri(), steps: Object.values(reading) }, orders)
    const [who, find, insert, after] = asRole.steps
    t.match(who?.value?.reply.authInfo.authenticatedUsers, [{ user: 'orders-api', db: 'admin' }])
    t.match(find, { value: { count: 10_000 } })
    t.match(insert, { error: { code: 13, codeName: 'Unauthorized', message: /not authorized on app/ } })
    t.match(after, { value: { documents: [{ n: 10_000 }] } }, 'nothing was written')
    t.equal(await stop(), 0)
  })

  t.test(`${driver}, twenty connections at once, each with a login of its own`, async t => {
    const { uri, orders, ready } = await demo(t)
    const asked = async () => {
      const calls = (await (await fetch(`${ready.sts}/sandbox/calls`)).json()) as Calls
      return calls.GetCallerIdentity
    }
    const before = await asked()
    const options = { maxPoolSize: 20, minPoolSize: 20, maxConnecting: 20 }
    const steps = [
      { do: 'connect', connections: 20 },
      { do: 'parallel', in: 'app.many', count: 200 },
    ]
    const { steps: done, pool } = await drive(t, driver, { uri: uri(), options, steps }, orders)
    t.match(done[1], { value: { answered: 200 } })
    t.match(pool, { connectionCreated: 20, connectionReady: 20, connectionPoolCleared: 0 })
    t.equal((await asked()) - before, 20)
  })
}

t.test('driver 6 takes credentials in the connection string, driver 7 says that it does not', async t => {
  const { uri, alice } = await demo(t)
  const login = `${encodeURIComponent(alice.accessKeyId)}:${encodeURIComponent(alice.secretAccessKey)}@`
  const inside = uri().replace('mongodb://', `mongodb://${login}`)
  const nobody = { accessKeyId: '', secretAccessKey: '' }
  const steps = [{ do: 'command', on: 'app', command: { ping: 1 } }]
  t.match((await drive(t, 'mongodb6', { uri: inside, steps }, nobody)).steps, [{ value: { reply: { ok: 1 } } }])
  await t.rejects(drive(t, 'mongodb7', { uri: inside, steps }, nobody), { message: /MONGODB-AWS/ })
})

t.test('a refused login, from the environment to the message', async t => {
  const { uri, alice, log } = await demo(t)
  const wrong = { ...alice, secretAccessKey: 'guessed' }
  const { steps } = await drive(t, 'mongodb7', { uri: uri(), steps: [{ do: 'connect' }] }, wrong)
  t.match(steps, [
    { error: { name: 'MongoServerError', code: 18, codeName: 'AuthenticationFailed', labels: ['HandshakeError'] } },
  ])
  const [, connection] = /SignatureDoesNotMatch.*\(connection (\d+)\)$/s.exec(steps[0]?.error?.message) ?? []
  t.match(
    log.find(({ event, id }) => event === 'closed' && id === Number(connection)),
    { fault: 'sts/refused' },
  )
})
