/** Logins of an age that their rule does not allow any more: what the applications of real drivers notice of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Driver, installClient } from '../support/clients.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { ACCOUNT, startTestProxy, type TestProxy } from '../support/testProxy.js'

t.setTimeout(300_000) // the first time, a registry has its say
const drivers: Driver[] = ['mongodb7', 'mongodb6']
for (const driver of drivers) await installClient(driver)

const AGE_MS = 1_000

/** A principal whose logins have an age, and a client of its with one connection; `created` counts how many were made. */
async function home(t: Test, driver: Driver, settings: Record<string, string> = {}) {
  const built: TestProxy = await startTestProxy(t, { settings })
  const carol = built.iam.createUser({ account: ACCOUNT, name: 'carol' })
  built.reload({ users: [{ arn: carol.arn, user: 'alice', passwordEnv: 'ALICE', maxAge: '1s' }] })
  const client = await built.client(driver, built.iam.createAccessKey(carol), { maxPoolSize: 1 })
  const seen = { created: 0 }
  client.on('connectionCreated', () => seen.created++)
  return { ...built, client, seen, logins: () => built.sts.calls().GetCallerIdentity ?? 0 }
}

for (const driver of drivers) {
  t.test(
    `${driver} logs in again on the same connection with a cursor open, and its application knows nothing`,
    async t => {
      const { client, seen, logins } = await home(t, driver)
      const many = client.db('app').collection<{ _id: number }>('many')
      const ids = Array.from({ length: 300 }, (_, _id) => ({ _id }))
      await many.insertMany(ids)
      t.equal(logins(), 1)
      const found: number[] = []
      for await (const { _id } of many.find({}, { batchSize: 100 })) {
        found.push(_id)
        if (_id === 50 || _id === 150) await sleep(AGE_MS + 50)
      }
      t.same(
        found,
        ids.map(({ _id }) => _id),
      )
      t.equal(logins(), 3)
      t.equal(seen.created, 1, 'one connection did it all')
    },
  )

  t.test(`${driver} is never asked inside a transaction, but behind it`, async t => {
    const built = await startReplicaSetProxy(t, {}, { maxAge: '1s' })
    const client = await built.client(driver, { maxPoolSize: 1 })
    const logins = () => built.sts.calls().GetCallerIdentity
    const writes = client.db('app').collection<{ _id: number }>('writes')
    await writes.insertOne({ _id: 0 })
    t.equal(logins(), 1)
    const session = client.startSession()
    session.startTransaction()
    await writes.insertOne({ _id: 1 }, { session })
    await sleep(AGE_MS + 50)
    await writes.insertOne({ _id: 2 }, { session })
    await session.commitTransaction()
    await session.endSession()
    t.equal(logins(), 1)
    t.equal(await writes.countDocuments(), 3)
    t.equal(logins(), 2)
  })
}

t.test('where nobody is asked, the connection is closed between operations', async t => {
  const { client, seen, logins, closedLines } = await home(t, 'mongodb7', { 'listen.reauthenticate': 'close' })
  await client.db('app').command({ ping: 1 })
  t.match(await closedLines(1, ({ fault }) => fault === 'login/expired'), [{ why: /its maximum age is reached/ }])
  await sleep(100) // the driver sees it
  t.equal(await client.db('app').collection('c').countDocuments(), 0)
  t.equal(logins(), 2)
  t.equal(seen.created, 2)
})
