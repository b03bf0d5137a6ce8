/** What a rule asks of a login beyond who it is, and the users that the proxy keeps for rules with roles, by real drivers. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { requireClients } from '../support/clients.js'
import { createTempFolder } from '../support/program.js'
import { ACCOUNT, startTestProxy, type TestProxy, type TestProxyOptions } from '../support/testProxy.js'

await requireClients('mongodb7')

const SECRET = '/run/secrets/master'
const KEEPING: TestProxyOptions = {
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

/** The users that the proxy keeps. */
async function kept(t: Test, proxy: TestProxy) {
  const client = new MongoClient(proxy.mongo.uri)
  t.teardown(() => client.close())
  return async (): Promise<{ user: string; roles: object[] }[]> =>
    (await client.db('mongo_iam_proxy').command({ usersInfo: 1 })).users
}

t.test('a rule with roles gives a database user of its own, which follows the rule', async t => {
  const proxy = await startTestProxy(t, KEEPING)
  const users = await kept(t, proxy)
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
  proxy.reload({ users: [{ arn: malloryARN, roles }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'), { maxPoolSize: 1, retryWrites: false })
  await client.db('app').collection('c').insertOne({ n: 1 })
  t.match(await users(), [{ user: malloryARN, roles: [{ role: 'readWrite', db: 'app' }] }])
  proxy.reload({ users: [{ arn: malloryARN, roles: ['read@app'] }] })
  for (let tries = 0; ; tries++) {
    const done = await client
      .db('app')
      .collection('c')
      .insertOne({ n: 2 })
      .catch(({ code }) => code)
    if (done === 13) break
    if (tries > 200) t.fail('still writes')
    await sleep(20)
  }
  t.equal(await client.db('app').collection('c').countDocuments({ n: 1 }), 1, 'over the connection that it had')
  proxy.reload({ users: [] })
  await proxy.closedLines(1, ({ fault }) => fault === 'login/revoked')
  while ((await users()).length > 0) await sleep(20)
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
})

t.test('a role cut to one collection is no more than that', async t => {
  const proxy = await startTestProxy(t, KEEPING)
  proxy.reload({ users: [{ arn: malloryARN, roles: ['readWrite@app.orders'] }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  await client.db('app').collection('orders').insertOne({ n: 1 })
  await t.rejects(client.db('app').collection('invoices').insertOne({ n: 1 }), { code: 13 })
})

t.test('a pattern, and a permission set, mean the roles of that name and no others', async t => {
  const proxy = await startTestProxy(t, KEEPING)
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

t.test('a rule with a date ends with it: live connections, logins, and the user that was kept', async t => {
  const proxy = await startTestProxy(t, KEEPING)
  const users = await kept(t, proxy)
  const deleteAfterDate = new Date(Date.now() + 4_000).toISOString()
  proxy.reload({ users: [{ arn: malloryARN, roles, deleteAfterDate }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'), { maxPoolSize: 1 })
  await client.db('app').command({ ping: 1 })
  t.equal((await users()).length, 1)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'login/revoked')
  t.ok(Date.now() >= Date.parse(deleteAfterDate))
  t.match(line, { arn: malloryARN })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
  t.ok(proxy.log.some(({ fault }) => fault === 'users/expired'))
  while ((await users()).length > 0) await sleep(50)
})

t.test('a rule for some addresses refuses the others, and tells the client its own', async t => {
  const proxy = await startTestProxy(t, KEEPING)
  proxy.reload({ users: [{ arn: malloryARN, roles, clientSource: ['10.0.0.0/8', '2001:db8::/32'] }] })
  const client = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  await t.rejects(client.db('app').command({ ping: 1 }), { code: 18, message: /127\.0\.0\.1/ })
  proxy.reload({ users: [{ arn: malloryARN, roles, clientSource: ['127.0.0.1'] }] })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), true)
})

t.test('a principal made anew under the old name is somebody else, where its id is pinned', async t => {
  const proxy = await startTestProxy(t, KEEPING)
  const role = proxy.iam.createRole({ account: ACCOUNT, name: 'app' })
  const arn = `arn:aws:iam::${ACCOUNT}:role/app`
  proxy.reload({ users: [{ arn, roles, principalId: 'AROAQQQQQQQQQQQQQQQQQ' }] })
  t.equal(await ping(proxy, proxy.iam.assumeRole(role, 'pod')), 18)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'users/recreated')
  t.match(line, { pinned: 'AROAQQQQQQQQQQQQQQQQQ', principalId: /^AROA/ })
  proxy.reload({ users: [{ arn, roles, principalId: line?.principalId }] })
  t.equal(await ping(proxy, proxy.iam.assumeRole(role, 'pod')), true)
})

t.test('the first id that is seen is pinned, until whoever has the token clears it', async t => {
  const pins = join(createTempFolder(t), 'pins.json')
  const token = 'of the admin interface'.replaceAll(' ', '-')
  const settings = { 'pins.file': pins, 'admin.port': '0', 'admin.tokenFile': 'token' }
  const proxy = await startTestProxy(t, {
    settings: { ...KEEPING.settings, ...settings },
    files: { ...KEEPING.files, token },
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

t.test('a rule for another scope is none here', async t => {
  const proxy = await startTestProxy(t, {
    settings: { ...KEEPING.settings, 'listen.scope': 'reports' },
    files: KEEPING.files ?? {},
  })
  proxy.reload({ users: [{ arn: malloryARN, roles, scopes: ['orders'] }] })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), 18)
  proxy.reload({ users: [{ arn: malloryARN, roles, scopes: ['orders', 'reports'] }] })
  t.equal(await ping(proxy, proxy.keyOf('mallory')), true)
})
