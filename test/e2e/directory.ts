/** Users that a DBA makes in `$external`, and what a real driver of such a principal sees of that. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { requireClients } from '../support/clients.js'
import { ACCOUNT, startTestProxy, type TestProxy, type TestProxyOptions } from '../support/testProxy.js'

await requireClients('mongodb7', 'mongodb6')

const SECRET = '/run/secrets/master'
const DIRECTORY: TestProxyOptions = {
  settings: { 'directory.enabled': 'true', 'directory.refresh': '500ms', 'provision.secretFile': SECRET },
  files: { [SECRET]: 'a master secret that is long enough for everybody\n' },
}
const malloryARN = `arn:aws:iam::${ACCOUNT}:user/mallory`

/** The DBA, who is root in the upstream and uses no proxy. */
async function dba(t: Test, proxy: TestProxy) {
  const client = new MongoClient(proxy.mongo.uri)
  t.teardown(() => client.close())
  return client.db('$external')
}

/** What a driver without retries gets: its value, or the code of its error, 0 for one of the network. */
async function outcome<T>(run: () => Promise<T>): Promise<T | number> {
  try {
    return await run()
  } catch (thrown) {
    const { code } = thrown as { code?: unknown }
    return typeof code === 'number' ? code : 0
  }
}

/** Tries until it is so; a refresh and whatever else this machine does meanwhile. */
async function until<T>(run: () => Promise<T>, so: (value: T) => boolean): Promise<T> {
  for (const end = Date.now() + 20_000; ; await sleep(50)) {
    const value = await run()
    if (so(value) || Date.now() > end) return value
  }
}

for (const driver of ['mongodb7', 'mongodb6'] as const) {
  t.test(
    `a user made in $external logs in at once, its rights follow, and it ends when dropped (${driver})`,
    async t => {
      const proxy = await startTestProxy(t, DIRECTORY)
      const admin = await dba(t, proxy)
      const options = { maxPoolSize: 1, retryReads: false, retryWrites: false }
      const early = await proxy.client(driver, proxy.keyOf('mallory'), options)
      t.equal(await outcome(() => early.db('app').command({ ping: 1 })), 18, 'nobody knows her yet')
      await admin.command({ createUser: malloryARN, roles: [{ role: 'read', db: 'app' }] })

      const client = await proxy.client(driver, proxy.keyOf('mallory'), options)
      const orders = client.db('app').collection('orders')
      t.same(await outcome(() => orders.find().toArray()), [], 'without waiting for the next reading')
      const who = await client.db('app').command({ connectionStatus: 1 })
      t.match(who.authInfo.authenticatedUsers, [{ user: malloryARN, db: 'mongo_iam_proxy' }])
      const write = () => outcome(async () => (await orders.insertOne({ n: 1 })).acknowledged)
      t.equal(await write(), 13, 'she reads and does not write')

      await admin.command({ grantRolesToUser: malloryARN, roles: [{ role: 'readWrite', db: 'app' }] })
      t.equal(await until(write, done => done === true), true, 'over the connection that she had')
      await admin.command({ revokeRolesFromUser: malloryARN, roles: [{ role: 'readWrite', db: 'app' }] })
      t.equal(await until(write, done => done === 13), 13)
      t.equal(proxy.log.filter(line => line.event === 'connection closed' && line.stage === 'authenticated').length, 0)

      await admin.command({ dropUser: malloryARN })
      const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'login/revoked')
      t.match(line, { arn: malloryARN, stage: 'authenticated' })
      t.equal(
        await until(
          () => outcome(() => client.db('app').command({ ping: 1 })),
          code => code === 18,
        ),
        18,
      )
      const kept = () => admin.client.db('mongo_iam_proxy').command({ usersInfo: 1 })
      t.same((await until(kept, ({ users }) => users.length === 0)).users, [], 'and her database user is gone')
    },
  )
}

t.test('every spelling of a role means it, and a role of the same name elsewhere is somebody else', async t => {
  for (const spelled of [
    `arn:aws:iam::${ACCOUNT}:role/service/inventory`,
    `arn:aws:iam::${ACCOUNT}:role/inventory`,
    `arn:aws:sts::${ACCOUNT}:assumed-role/inventory/*`,
  ]) {
    const proxy = await startTestProxy(t, DIRECTORY)
    const admin = await dba(t, proxy)
    await admin.command({ createUser: spelled, roles: [{ role: 'readWrite', db: 'app' }] })
    const ours = proxy.iam.createRole({ account: ACCOUNT, name: 'inventory' })
    const theirs = proxy.iam.createRole({ account: '999999999999', name: 'inventory' })
    const mine = await proxy.client('mongodb7', proxy.iam.assumeRole(ours, 'root'))
    t.match(await outcome(() => mine.db('app').collection('c').insertOne({})), { acknowledged: true }, spelled)
    const other = await proxy.client('mongodb7', proxy.iam.assumeRole(theirs, 'inventory'))
    t.equal(await outcome(() => other.db('app').command({ ping: 1 })), 18)
  }
})

t.test('a restriction of the source is judged by the address of the client', async t => {
  const proxy = await startTestProxy(t, DIRECTORY)
  const admin = await dba(t, proxy)
  const make = (clientSource: string[]) => ({ roles: [], authenticationRestrictions: [{ clientSource }] })
  await admin.command({ createUser: malloryARN, ...make(['10.0.0.0/8']) })
  const far = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  t.equal(await outcome(() => far.db('app').command({ ping: 1 })), 18)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'users/source-not-allowed')
  t.match(line, { allowed: ['10.0.0.0/8'] })
  await admin.command({ updateUser: malloryARN, ...make(['127.0.0.0/8', '::1']) })
  const near = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  t.match(
    await until(
      () => outcome(() => near.db('app').command({ ping: 1 })),
      value => typeof value === 'object',
    ),
    { ok: 1 },
  )
})

t.test(
  'a directory that cannot be read refuses those that it would decide about, for now, and nobody else',
  async t => {
    const proxy = await startTestProxy(t, DIRECTORY)
    const admin = await dba(t, proxy)
    await admin.command({ createUser: malloryARN, roles: [{ role: 'read', db: 'app' }] })
    const client = await proxy.client('mongodb7', proxy.keyOf('mallory'), { maxPoolSize: 1 })
    await client.db('app').command({ ping: 1 })
    await admin.client.db('admin').command({ updateUser: 'iam-proxy', roles: [] })
    const again = async () => {
      const next = await proxy.client('mongodb7', proxy.keyOf('mallory'), { retryReads: false, maxPoolSize: 1 })
      const code = await outcome(() => next.db('app').command({ ping: 1 }))
      await next.close()
      return code
    }
    t.equal(await until(again, code => code === 262), 262, 'it is nobody’s fault, so drivers come back')
    const alice = await proxy.client('mongodb7', proxy.keyOf('alice'))
    t.match(await alice.db('app').command({ ping: 1 }), { ok: 1 }, 'a rule needs no directory')
    t.match(await client.db('app').command({ ping: 1 }), { ok: 1 }, 'who is in stays in')
  },
)
