/** The conditions of rules, and the users that the proxy provisions for rules with roles, through real drivers. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { requireClients } from '../support/clients.js'
import { loadClock } from '../support/inProcessProxy.js'
import { createTempFolder } from '../support/program.js'
import { ACCOUNT, startTestProxy, type TestProxy, type TestProxyOptions } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7')

const SECRET = '/run/secrets/master'
const PROVISIONING: TestProxyOptions = {
  settings: { 'provision.secretFile': SECRET },
  files: { [SECRET]: 'a master secret that is long enough for everybody\n' },
}
const malloryARN = `arn:aws:iam::${ACCOUNT}:user/mallory`
const roles = ['readWrite@app']

/** The code of the error that a ping gets, true for none, 0 for one of the network. */
async function ping(proxy: TestProxy, keys: ReturnType<TestProxy['keyOf']>): Promise<number | true> {
  const client = await proxy.client('mongodb7', keys, { retryReads: false, maxPoolSize: 1 })
  try {
    await client.db('app').command({ ping: 1 })
    return true
  } catch (thrown) {
    const { code } = thrown as { code?: unknown }
    return typeof code === 'number' ? code : 0
  } finally {
    await client.close()
  }
}

/** A function that reads the provisioned users. */
async function connectToUsers(t: Test, proxy: TestProxy) {
  const client = new MongoClient(proxy.mongo.uri)
  t.teardown(() => client.close())
  return async (): Promise<{ user: string; roles: object[] }[]> =>
    (await client.db('mongo_iam_proxy').command({ usersInfo: 1 })).users
}

t.test('a rule with roles provisions a database user, which follows the rule', async t => {
  const proxy = await startTestProxy(t, PROVISIONING)
  const users = await connectToUsers(t, proxy)
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
  proxy.reload({ users: [{ arn: malloryARN, roles }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'), { maxPoolSize: 1, retryWrites: false })
  await client.db('app').collection('c').insertOne({ n: 1 })
  t.match(await users(), [{ user: malloryARN, roles: [{ role: 'readWrite', db: 'app' }] }])
  proxy.reload({ users: [{ arn: malloryARN, roles: ['read@app'] }] })
  const write = () =>
    client
      .db('app')
      .collection('c')
      .insertOne({ n: 2 })
      .catch(({ code }) => code)
  await waitUntil(async () => (await write()) === 13)
  t.equal(
    await client.db('app').collection('c').countDocuments({ n: 1 }),
    1,
    'over the connection that was open already',
  )
  proxy.reload({ users: [] })
  await proxy.closedLines(1, ({ fault }) => fault === 'login/revoked')
  await waitUntil(async () => (await users()).length === 0)
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
})

t.test('a role for one collection allows no other collection', async t => {
  const proxy = await startTestProxy(t, PROVISIONING)
  proxy.reload({ users: [{ arn: malloryARN, roles: ['readWrite@app.orders'] }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  await client.db('app').collection('orders').insertOne({ n: 1 })
  await t.rejects(client.db('app').collection('invoices').insertOne({ n: 1 }), { code: 13 })
})

t.test('a pattern and a permission set match the roles of that name and no others', async t => {
  const proxy = await startTestProxy(t, PROVISIONING)
  const of = (name: string) => proxy.iam.assumeRole(proxy.iam.createRole({ account: ACCOUNT, name }), 'alice')
  proxy.reload({
    users: [
      { arn: `arn:aws:iam::${ACCOUNT}:role/orders-*`, roles },
      { sso: { permissionSet: 'Admin', account: ACCOUNT }, roles },
    ],
  })
  t.equal(await ping(proxy, of('orders-worker')), true)
  t.equal(await ping(proxy, of('other-orders-worker')), 18)
  t.equal(await ping(proxy, of('AWSReservedSSO_Admin_0123456789abcdef')), true)
  t.equal(await ping(proxy, of('AWSReservedSSO_Admin_ReadOnly_0123456789abcdef')), 18)
  t.equal(await ping(proxy, of('AWSReservedSSO_Admin_0123456789abcde')), 18)
})

t.test('a rule ends at its deleteAfterDate: open connections, logins, and the provisioned user', async t => {
  const clock = await loadClock(t)
  clock.replaceDateNow(t)
  const proxy = await startTestProxy(t, PROVISIONING)
  const users = await connectToUsers(t, proxy)
  const deleteAfterDate = new Date(Date.now() + 300_000).toISOString()
  proxy.reload({ users: [{ arn: malloryARN, roles, deleteAfterDate }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'), { maxPoolSize: 1 })
  await client.db('app').command({ ping: 1 })
  t.equal((await users()).length, 1)
  clock.advance(Date.parse(deleteAfterDate) - Date.now() - 1_000)
  t.equal(proxy.log.filter(({ fault }) => fault === 'login/revoked').length, 0, 'a second before')
  clock.advance(1_000)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'login/revoked')
  t.match(line, { arn: malloryARN })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
  t.ok(proxy.log.some(({ fault }) => fault === 'users/expired'))
  await waitUntil(async () => (await users()).length === 0)
})

t.test('a rule with clientSource refuses other addresses, and the message names the address of the client', async t => {
  const proxy = await startTestProxy(t, PROVISIONING)
  proxy.reload({ users: [{ arn: malloryARN, roles, clientSource: ['10.0.0.0/8', '2001:db8::/32'] }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  await t.rejects(client.db('app').command({ ping: 1 }), { code: 18, message: /127\.0\.0\.1/ })
  proxy.reload({ users: [{ arn: malloryARN, roles, clientSource: ['127.0.0.1'] }] })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), true)
})

t.test('a recreated principal is refused where the id is pinned', async t => {
  const proxy = await startTestProxy(t, PROVISIONING)
  const role = proxy.iam.createRole({ account: ACCOUNT, name: 'app' })
  const arn = `arn:aws:iam::${ACCOUNT}:role/app`
  proxy.reload({ users: [{ arn, roles, principalId: 'AROAQQQQQQQQQQQQQQQQQ' }] })
  t.equal(await ping(proxy, proxy.iam.assumeRole(role, 'pod')), 18)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'users/recreated')
  t.match(line, { pinned: 'AROAQQQQQQQQQQQQQQQQQ', principalId: /^AROA/ })
  proxy.reload({ users: [{ arn, roles, principalId: line?.principalId }] })
  t.equal(await ping(proxy, proxy.iam.assumeRole(role, 'pod')), true)
})

t.test('with firstUse the first id is pinned until the admin interface clears it', async t => {
  const pins = join(createTempFolder(t), 'pins.json')
  const token = 'of the admin interface'.replaceAll(' ', '-')
  const settings = { 'pins.file': pins, 'admin.port': '0', 'admin.tokenFile': 'token' }
  const proxy = await startTestProxy(t, {
    settings: { ...PROVISIONING.settings, ...settings },
    files: { ...PROVISIONING.files, token },
  })
  const arn = `arn:aws:iam::${ACCOUNT}:role/app`
  const role = () => proxy.iam.createRole({ account: ACCOUNT, name: 'app' })
  proxy.reload({ users: [{ arn, roles, principalId: 'firstUse' }] })
  const first = role()
  t.equal(await ping(proxy, proxy.iam.assumeRole(first, 'pod')), true)
  proxy.iam.deleteRole(first)
  const second = proxy.iam.assumeRole(role(), 'pod')
  t.equal(await ping(proxy, second), 18)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'users/recreated')
  t.same(JSON.parse(readFileSync(pins, 'utf8')), { [arn]: line?.pinned }, 'both ids are in the log')

  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const body = JSON.stringify({ arn })
  const answer = await fetch(`http://127.0.0.1:${proxy.running.adminPort}/pins`, { method: 'DELETE', headers, body })
  t.same(await answer.json(), { cleared: { [arn]: line?.pinned } })
  t.equal(await ping(proxy, second), true)
  t.same(JSON.parse(readFileSync(pins, 'utf8')), { [arn]: line?.principalId })
})

t.test('a rule for another scope does not apply', async t => {
  const proxy = await startTestProxy(t, {
    settings: { ...PROVISIONING.settings, 'listen.scope': 'reports' },
    files: PROVISIONING.files ?? {},
  })
  proxy.reload({ users: [{ arn: malloryARN, roles, scopes: ['orders'] }] })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
  proxy.reload({ users: [{ arn: malloryARN, roles, scopes: ['orders', 'reports'] }] })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), true)
})
