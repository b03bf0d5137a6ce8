/** Users that a DBA creates in `$external`, and what a real driver of such a principal notices. */
import { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { requireClients } from '../support/clients.js'
import { ACCOUNT, startTestProxy, type TestProxy, type TestProxyOptions } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7', 'mongodb6')

const SECRET = '/run/secrets/master'
const DIRECTORY: TestProxyOptions = {
  settings: { 'directory.enabled': 'true', 'directory.refresh': '500ms', 'provision.secretFile': SECRET },
  files: { [SECRET]: 'a master secret that is long enough for everybody\n' },
}
const malloryARN = `arn:aws:iam::${ACCOUNT}:user/mallory`

/** The DBA is root at the upstream and does not use the proxy. */
async function connectDba(t: Test, proxy: TestProxy) {
  const client = new MongoClient(proxy.mongo.uri)
  t.teardown(() => client.close())
  return client.db('$external')
}

/** The result of an operation without retries: its value, or the code of its error; 0 for a network error. */
async function outcome<T>(run: () => Promise<T>): Promise<T | number> {
  try {
    return await run()
  } catch (thrown) {
    const { code } = thrown as { code?: unknown }
    return typeof code === 'number' ? code : 0
  }
}

/** Repeats an operation until its result is the expected one. */
async function repeatUntil<T>(run: () => Promise<T>, expected: (value: T) => boolean): Promise<T> {
  let value = await run()
  await waitUntil(async () => {
    if (expected(value)) return true
    value = await run()
    return false
  })
  return value
}

for (const driver of ['mongodb7', 'mongodb6'] as const) {
  t.test(
    `a user created in $external logs in at once, its rights follow, and dropping it ends its access (${driver})`,
    async t => {
      const proxy = await startTestProxy(t, DIRECTORY)
      const admin = await connectDba(t, proxy)
      const options = { maxPoolSize: 1, retryReads: false, retryWrites: false }
      const early = await proxy.client(driver, proxy.keyOf('mallory'), options)
      t.equal(await outcome(() => early.db('app').command({ ping: 1 })), 18, 'there is no such user yet')
      await admin.command({ createUser: malloryARN, roles: [{ role: 'read', db: 'app' }] })

      const client = await proxy.client(driver, proxy.keyOf('mallory'), options)
      const orders = client.db('app').collection('orders')
      t.same(await outcome(() => orders.find().toArray()), [], 'without waiting for the next refresh')
      const status = await client.db('app').command({ connectionStatus: 1 })
      t.match(status.authInfo.authenticatedUsers, [{ user: malloryARN, db: 'mongo_iam_proxy' }])
      const write = () => outcome(async () => (await orders.insertOne({ n: 1 })).acknowledged)
      t.equal(await write(), 13, 'this user reads and does not write')

      await admin.command({ grantRolesToUser: malloryARN, roles: [{ role: 'readWrite', db: 'app' }] })
      t.equal(await repeatUntil(write, done => done === true), true, 'over the connection that was open already')
      await admin.command({ revokeRolesFromUser: malloryARN, roles: [{ role: 'readWrite', db: 'app' }] })
      t.equal(await repeatUntil(write, done => done === 13), 13)
      t.equal(proxy.log.filter(line => line.event === 'connection closed' && line.stage === 'authenticated').length, 0)

      await admin.command({ dropUser: malloryARN })
      const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'login/revoked')
      t.match(line, { arn: malloryARN, stage: 'authenticated' })
      t.equal(
        await repeatUntil(
          () => outcome(() => client.db('app').command({ ping: 1 })),
          code => code === 18,
        ),
        18,
      )
      const provisioned = () => admin.client.db('mongo_iam_proxy').command({ usersInfo: 1 })
      t.same(
        (await repeatUntil(provisioned, ({ users }) => users.length === 0)).users,
        [],
        'and the provisioned user is deleted',
      )
    },
  )
}

t.test('every form of a role ARN means the role, and not a role of the same name in another account', async t => {
  for (const spelled of [
    `arn:aws:iam::${ACCOUNT}:role/service/inventory`,
    `arn:aws:iam::${ACCOUNT}:role/inventory`,
    `arn:aws:sts::${ACCOUNT}:assumed-role/inventory/*`,
  ]) {
    const proxy = await startTestProxy(t, DIRECTORY)
    const admin = await connectDba(t, proxy)
    await admin.command({ createUser: spelled, roles: [{ role: 'readWrite', db: 'app' }] })
    const ours = proxy.iam.createRole({ account: ACCOUNT, name: 'inventory' })
    const theirs = proxy.iam.createRole({ account: '999999999999', name: 'inventory' })
    const mine = await proxy.client('mongodb7', proxy.iam.assumeRole(ours, 'root'))
    t.match(await outcome(() => mine.db('app').collection('c').insertOne({})), { acknowledged: true }, spelled)
    const other = await proxy.client('mongodb7', proxy.iam.assumeRole(theirs, 'inventory'))
    t.equal(await outcome(() => other.db('app').command({ ping: 1 })), 18)
  }
})

t.test('a clientSource restriction applies to the address of the client', async t => {
  const proxy = await startTestProxy(t, DIRECTORY)
  const admin = await connectDba(t, proxy)
  const make = (clientSource: string[]) => ({ roles: [], authenticationRestrictions: [{ clientSource }] })
  await admin.command({ createUser: malloryARN, ...make(['10.0.0.0/8']) })
  const far = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  t.equal(await outcome(() => far.db('app').command({ ping: 1 })), 18)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'users/source-not-allowed')
  t.match(line, { allowed: ['10.0.0.0/8'] })
  await admin.command({ updateUser: malloryARN, ...make(['127.0.0.0/8', '::1']) })
  const near = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  t.match(
    await repeatUntil(
      () => outcome(() => near.db('app').command({ ping: 1 })),
      value => typeof value === 'object',
    ),
    { ok: 1 },
  )
})

t.test('while the directory cannot be read, its principals get a retryable error and others log in', async t => {
  const proxy = await startTestProxy(t, DIRECTORY)
  const admin = await connectDba(t, proxy)
  await admin.command({ createUser: malloryARN, roles: [{ role: 'read', db: 'app' }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'), { maxPoolSize: 1 })
  await client.db('app').command({ ping: 1 })
  await admin.client.db('admin').command({ updateUser: 'iam-proxy', roles: [] })
  const logInAgain = async () => {
    const next = await proxy.client('mongodb7', proxy.keyOf('mallory'), { retryReads: false, maxPoolSize: 1 })
    const code = await outcome(() => next.db('app').command({ ping: 1 }))
    await next.close()
    return code
  }
  t.equal(await repeatUntil(logInAgain, code => code === 262), 262, 'a retryable error')
  const alice = await proxy.client('mongodb7', proxy.keyOf('alice'))
  t.match(await alice.db('app').command({ ping: 1 }), { ok: 1 }, 'a rule needs no directory')
  t.match(await client.db('app').command({ ping: 1 }), { ok: 1 }, 'open connections stay open')
})
