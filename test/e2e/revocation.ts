/** Revoked access as an application sees it: its connection is closed, and no other login succeeds. */
import { join } from 'node:path'
import type { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { requireClients } from '../support/clients.js'
import { loadClock } from '../support/inProcessProxy.js'
import { createTempFolder } from '../support/program.js'
import { logInRaw } from '../support/rawLogin.js'
import { ACCOUNT, startTestProxy, type TestProxy } from '../support/testProxy.js'

await requireClients('mongodb7')

const TOKEN = 'a token of more than twenty characters'.replaceAll(' ', '-')
const DENY = '/etc/deny.yaml'
const roleARN = `arn:aws:iam::${ACCOUNT}:role/orders-api`

/** A client with one connection, which is logged in. */
async function logIn(proxy: TestProxy, keys: ReturnType<TestProxy['keyOf']>) {
  const client = await proxy.client('mongodb7', keys, {
    maxPoolSize: 1,
    retryReads: false,
    heartbeatFrequencyMS: 60_000,
  })
  await client.db('app').command({ ping: 1 })
  return client
}

const isRevoked = (line: Record<string, unknown>) => line.fault === 'login/revoked'

/** The next login of this client is refused with code 18 and this reason. */
async function expectRefusal(
  t: Test,
  client: MongoClient,
  message = /this principal is on the deny list/,
): Promise<void> {
  await t.rejects(
    async () => {
      // The driver may not have noticed yet that its socket was closed.
      for (;;) {
        try {
          await client.db('app').command({ ping: 1 })
          t.fail('it is still served')
          return
        } catch (error) {
          if (typeof (error as { code?: unknown }).code === 'number') throw error
        }
      }
    },
    { code: 18, message },
  )
}

for (const [name, entryOf] of Object.entries({
  'its ARN': () => roleARN,
  'the ARN of all its sessions': () => `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/*`,
  'its session': () => `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/pod-7`,
  'its access key': (key: string) => key,
  'its account': () => `"${ACCOUNT}"`,
})) {
  t.test(`denied by ${name}, a live connection is closed, and no login follows`, async t => {
    const proxy = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
    const keys = proxy.session()
    const client = await logIn(proxy, keys)
    const calls = proxy.sts.calls().GetCallerIdentity
    proxy.reload({}, { [DENY]: `- ${entryOf(keys.accessKeyId)}\n...\n` })
    const [line] = await proxy.closedLines(1, isRevoked)
    t.match(line, {
      stage: 'authenticated',
      level: 'warn',
      cause: 'login/denied',
      denial: /^(arn:|(session|accessKey|account) )/,
    })
    if (name !== 'its access key') await expectRefusal(t, client)
    else {
      await expectRefusal(t, client, /InvalidClientTokenId: The security token included in the request is invalid\./)
      t.equal(proxy.sts.calls().GetCallerIdentity, calls, 'no call to STS was made')
    }
  })
}

t.test('a client cannot tell a denied access key from an inactive one, but the log can', async t => {
  const proxy = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const denied = proxy.keyOf('alice')
  const inactive = { ...denied, accessKeyId: `${denied.accessKeyId.slice(0, -2)}77` }
  proxy.reload({}, { [DENY]: `- ${denied.accessKeyId}\n...\n` })
  const calls = proxy.sts.calls().GetCallerIdentity ?? 0
  const replies: object[] = []
  for (const keys of [inactive, denied]) {
    for (const signing of [keys, { ...keys, secretAccessKey: 'guessed' }]) {
      const { reply } = await logInRaw(t, proxy.running.port, signing)
      replies.push({ ...reply, errmsg: String(reply.errmsg).replace(/\d+\)$/, 'N)') })
    }
  }
  t.match(replies[0], { code: 18, codeName: 'AuthenticationFailed', errmsg: /InvalidClientTokenId/ })
  t.notOk('errorLabels' in (replies[0] ?? {}))
  for (const reply of replies) t.same(reply, replies[0])
  t.ok((proxy.sts.calls().GetCallerIdentity ?? 0) <= calls + 2, 'only the inactive key cost calls')
  t.match(await proxy.closedLines(2, ({ fault }) => fault === 'login/denied'), [
    { denial: `accessKey ${denied.accessKeyId}`, accessKeyId: denied.accessKeyId, level: 'warn' },
    { cached: true },
  ])
})

t.test('the answer to a denied access key takes as long as STS takes at the moment', async t => {
  const proxy = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const denied = proxy.keyOf('alice')
  proxy.reload({}, { [DENY]: `- ${denied.accessKeyId}\n...\n` })
  proxy.sts.injectFault((_request, _response, proceed) => void proxy.clock.after(200, proceed))
  for (const secretAccessKey of ['one', 'two', 'three']) {
    await logInRaw(t, proxy.running.port, { ...proxy.keyOf('mallory'), secretAccessKey })
  }
  await logInRaw(t, proxy.running.port, denied)
  const [line] = await proxy.closedLines(1, ({ fault }) => fault === 'login/denied')
  t.ok(Number((line?.ms as { sts: number } | undefined)?.sts) >= 200, JSON.stringify(line))
})

t.test('a denied principal id does not deny another principal of the same name', async t => {
  const proxy = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const role = proxy.iam.createRole({ account: ACCOUNT, name: 'worker' })
  const users = [{ arn: role.arn, user: 'orders-api', passwordEnv: 'ORDERS' }]
  proxy.reload({ users }, { [DENY]: '- AROAAAAAAAAAAAAAAAAAA\n...\n' })
  const client = await logIn(proxy, proxy.iam.assumeRole(role, 'pod-1', 900))
  proxy.reload({ users }, { [DENY]: `- ${role.id}\n...\n` })
  t.match(await proxy.closedLines(1, isRevoked), [{ denial: `principalId ${role.id}` }])
  await expectRefusal(t, client)
})

t.test('a denial closes no connection of another principal', async t => {
  const proxy = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const alice = await logIn(proxy, proxy.keyOf('alice'))
  await logIn(proxy, proxy.session())
  proxy.reload({}, { [DENY]: `- ${roleARN}\n...\n` })
  await proxy.closedLines(1, isRevoked)
  t.match(await alice.db('app').command({ ping: 1 }), { ok: 1 })
  t.equal(proxy.log.filter(isRevoked).length, 1)
})

t.test('a rule that is removed, or gives another database user, closes its connections', async t => {
  for (const rules of [
    [],
    [{ arn: roleARN, user: 'alice', passwordEnv: 'ALICE' }],
    [{ arn: roleARN, user: 'orders-api@app', passwordEnv: 'ORDERS' }],
    [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', clientSource: ['10.0.0.0/8'] }],
    [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', deleteAfterDate: '2020-01-01T00:00:00Z' }],
    [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', principalId: 'AROAAAAAAAAAAAAAAAAAA' }],
  ]) {
    const proxy = await startTestProxy(t)
    await logIn(proxy, proxy.session())
    proxy.reload({ users: rules })
    t.equal((await proxy.closedLines(1, isRevoked)).length, 1, JSON.stringify(rules))
  }
})

t.test('a rule whose deleteAfterDate passes closes its connections by itself', async t => {
  const clock = await loadClock(t)
  clock.replaceDateNow(t)
  const proxy = await startTestProxy(t)
  const deleteAfterDate = new Date(Date.now() + 300_000).toISOString()
  proxy.reload({ users: [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', deleteAfterDate }] })
  await logIn(proxy, proxy.session())
  clock.advance(Date.parse(deleteAfterDate) - Date.now() - 1_000)
  t.equal(proxy.log.filter(isRevoked).length, 0, 'a second before')
  clock.advance(1_000)
  await proxy.closedLines(1, isRevoked)
})

t.test('after an invalid configuration the last valid one applies to open connections and new logins', async t => {
  const proxy = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: `- ${roleARN}\n...\n` } })
  const alice = await logIn(proxy, proxy.keyOf('alice'))
  for (const [settings, files] of [
    [{ users: 'none' }, {}],
    [{ users: [{ arn: roleARN, user: 'alice', passwordEnv: 'NOWHERE' }] }, {}],
    [{ upstream: {} }, {}],
    [{}, { [DENY]: '' }],
    [{}, { [DENY]: `- ${roleARN}\n` }], // cut at the end of a line
    [{}, { [DENY]: `- ${roleARN}\n- nobody\n...\n` }],
  ] as [Record<string, unknown>, Record<string, string>][]) {
    proxy.reload(settings, files)
    t.match(await alice.db('app').command({ ping: 1 }), { ok: 1 })
    await logIn(proxy, proxy.keyOf('alice'))
    await expectRefusal(t, await proxy.client('mongodb7', proxy.session()))
  }
  const problems = proxy.log.filter(({ event, level }) => event === 'configuration rejected' && level === 'error')
  t.ok(problems.length >= 6)
  t.equal(proxy.log.filter(isRevoked).length, 0)
  proxy.reload({}, { [DENY]: '[]\n...\n' })
  await logIn(proxy, proxy.session())
})

/** A proxy with an admin interface; `ask` sends it a request. */
async function withAdmin(t: Test, adminFile = join(createTempFolder(t), 'denied.yaml')) {
  const settings = { 'admin.port': '0', 'admin.tokenFile': '/token', 'deny.adminFile': adminFile }
  const proxy = await startTestProxy(t, { settings, files: { '/token': TOKEN } })
  const ask = async (method: string, entry: unknown, token = TOKEN) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const body = entry === undefined ? null : JSON.stringify(entry)
    const response = await fetch(`http://127.0.0.1:${proxy.running.adminPort}/deny`, { method, headers, body })
    return { status: response.status, body: await response.text() }
  }
  return { proxy, ask, adminFile }
}

t.test(
  'a denial by the admin interface is acknowledged when the connection is closed, and survives a restart',
  async t => {
    const { proxy, ask, adminFile } = await withAdmin(t)
    const client = await logIn(proxy, proxy.session())
    t.same(await ask('POST', { arn: roleARN, why: 'ticket 4711' }), {
      status: 200,
      body: `${JSON.stringify({ denied: { arn: roleARN, why: 'ticket 4711' }, closed: 1 })}\n`,
    })
    t.match(await proxy.closedLines(1, isRevoked), [{ denial: roleARN, reason: 'ticket 4711' }])
    await expectRefusal(t, client)
    const by = { actor: { kind: 'admin', id: 'default' }, address: '127.0.0.1' }
    t.match(
      proxy.audit().filter(({ type }) => ['denied', 'admin.request'].includes(type)),
      [
        { type: 'denied', ...by, denial: roleARN, reason: 'ticket 4711', count: 1 },
        { type: 'admin.request', ...by, method: 'POST', path: '/deny', code: 200 },
      ],
    )

    const next = await withAdmin(t, adminFile)
    t.match(JSON.parse((await next.ask('GET', undefined)).body), { file: [], admin: [{ arn: roleARN }] })
    t.equal((await next.ask('DELETE', roleARN)).status, 200)
    await logIn(next.proxy, next.proxy.session())
  },
)

t.test('a denial that cannot be written is not acknowledged and not applied', async t => {
  const { proxy, ask } = await withAdmin(t, join(createTempFolder(t), 'nowhere', 'denied.yaml'))
  const client = await logIn(proxy, proxy.session())
  t.match(await ask('POST', roleARN), { status: 507 })
  t.match(await client.db('app').command({ ping: 1 }), { ok: 1 })
})

t.test('a replaced admin token is in force at once', async t => {
  const { proxy, ask } = await withAdmin(t)
  const another = TOKEN.replace('more', 'less')
  t.equal((await ask('GET', undefined, another)).status, 401)
  proxy.reload({}, { '/token': another })
  t.equal((await ask('GET', undefined, another)).status, 200)
  t.equal((await ask('GET', undefined)).status, 401)
})

t.test('a principal that is denied after its identity is known cannot finish the login', async t => {
  const proxy = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const early = await logIn(proxy, proxy.keyOf('alice')) // the proxy has its own connections to the upstream now
  proxy.links.mongo.blackhole()
  const dialled = proxy.links.mongo.nextConnection()
  const client = await proxy.client('mongodb7', proxy.session(), { serverSelectionTimeoutMS: 2_000, retryReads: false })
  const failed = client
    .db('app')
    .command({ ping: 1 })
    .catch(() => 'failed')
  await dialled // so STS has answered
  proxy.reload({}, { [DENY]: `- ${roleARN}\n...\n` })
  t.match(await proxy.closedLines(1, isRevoked), [{ stage: 'authenticating', cause: 'login/denied' }])
  t.equal(await failed, 'failed')
  await early.close()
})
