/** Who is denied, or taken out of the rules, as an application sees it: the connection it has ends, and no other begins. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { installClient } from '../support/clients.js'
import { createTempFolder } from '../support/program.js'
import { ACCOUNT, startTestProxy, type TestProxy } from '../support/testProxy.js'

t.setTimeout(300_000) // the first time, a registry has its say
await installClient('mongodb7')

const TOKEN = 'a token of more than twenty characters'.replaceAll(' ', '-')
const DENY = '/etc/deny.yaml'
const roleARN = `arn:aws:iam::${ACCOUNT}:role/orders-api`

/** A pool of one that is logged in, and notes when its connection closes. */
async function loggedIn(home: TestProxy, keys: ReturnType<TestProxy['keyOf']>) {
  const client = await home.client('mongodb7', keys, {
    maxPoolSize: 1,
    retryReads: false,
    heartbeatFrequencyMS: 60_000,
  })
  await client.db('app').command({ ping: 1 })
  return client
}

const isRevoked = (line: Record<string, unknown>) => line.fault === 'login/revoked'

/** Refused, told why by code 18 alone; asked over a new connection. */
async function refused(t: Test, client: MongoClient): Promise<void> {
  await t.rejects(
    async () => {
      // The driver may still hold the socket that was closed for as long as it has not looked.
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
    { code: 18, message: /this principal is on the deny list/ },
  )
}

for (const [name, entryOf] of Object.entries({
  'its ARN': () => roleARN,
  'the ARN of all its sessions': () => `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/*`,
  'its session': () => `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/pod-7`,
  'its access key': (key: string) => key,
  'its account': () => `"${ACCOUNT}"`,
})) {
  t.test(`denied by ${name}, a live connection ends within a second, and no login follows`, async t => {
    const home = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
    const keys = home.session()
    const client = await loggedIn(home, keys)
    const asked = home.sts.calls().GetCallerIdentity
    const started = performance.now()
    home.reload({}, { [DENY]: `- ${entryOf(keys.accessKeyId)}\n...\n` })
    const [line] = await home.closedLines(1, isRevoked)
    t.ok(performance.now() - started < 1_000)
    t.match(line, {
      stage: 'authenticated',
      level: 'warn',
      cause: 'login/denied',
      denial: /^(arn|session|accessKey|account) /,
    })
    await refused(t, client)
    if (name === 'its access key') t.equal(home.sts.calls().GetCallerIdentity, asked, 'AWS was not even asked')
  })
}

t.test('denied by its principal id, and not by that of another of the same name', async t => {
  const home = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const role = home.iam.createRole({ account: ACCOUNT, name: 'worker' })
  const users = [{ arn: role.arn, user: 'orders-api', passwordEnv: 'ORDERS' }]
  home.reload({ users }, { [DENY]: '- AROAAAAAAAAAAAAAAAAAA\n...\n' })
  const client = await loggedIn(home, home.iam.assumeRole(role, 'pod-1', 900))
  home.reload({ users }, { [DENY]: `- ${role.id}\n...\n` })
  t.match(await home.closedLines(1, isRevoked), [{ denial: `principalId ${role.id}` }])
  await refused(t, client)
})

t.test('whoever is not meant goes on', async t => {
  const home = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const alice = await loggedIn(home, home.keyOf('alice'))
  await loggedIn(home, home.session())
  home.reload({}, { [DENY]: `- ${roleARN}\n...\n` })
  await home.closedLines(1, isRevoked)
  t.match(await alice.db('app').command({ ping: 1 }), { ok: 1 })
  t.equal(home.log.filter(isRevoked).length, 1)
})

t.test('a rule that is gone, or gives another database user, ends what it let in', async t => {
  for (const rules of [
    [],
    [{ arn: roleARN, user: 'alice', passwordEnv: 'ALICE' }],
    [{ arn: roleARN, user: 'orders-api@app', passwordEnv: 'ORDERS' }],
    [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', clientSource: ['10.0.0.0/8'] }],
    [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', deleteAfterDate: '2020-01-01T00:00:00Z' }],
    [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', principalId: 'AROAAAAAAAAAAAAAAAAAA' }],
  ]) {
    const home = await startTestProxy(t)
    await loggedIn(home, home.session())
    home.reload({ users: rules })
    t.equal((await home.closedLines(1, isRevoked)).length, 1, JSON.stringify(rules))
  }
})

t.test('a rule whose date passes ends what it let in, without anybody doing anything', async t => {
  const home = await startTestProxy(t)
  const deleteAfterDate = new Date(Date.now() + 1_500).toISOString()
  home.reload({ users: [{ arn: roleARN, user: 'orders-api', passwordEnv: 'ORDERS', deleteAfterDate }] })
  await loggedIn(home, home.session())
  await home.closedLines(1, isRevoked)
  const late = Date.now() - Date.parse(deleteAfterDate)
  t.ok(late >= 0 && late < 1_000, `${late}`)
})

t.test('a bad configuration keeps the last good one, for those who are in and those who come', async t => {
  const home = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: `- ${roleARN}\n...\n` } })
  const alice = await loggedIn(home, home.keyOf('alice'))
  for (const [settings, files] of [
    [{ users: 'nobody' }, {}],
    [{ users: [{ arn: roleARN, user: 'alice', passwordEnv: 'NOWHERE' }] }, {}],
    [{ upstream: {} }, {}],
    [{}, { [DENY]: '' }],
    [{}, { [DENY]: `- ${roleARN}\n` }], // cut at the end of a line
    [{}, { [DENY]: `- ${roleARN}\n- nobody\n...\n` }],
  ] as [Record<string, unknown>, Record<string, string>][]) {
    home.reload(settings, files)
    t.match(await alice.db('app').command({ ping: 1 }), { ok: 1 })
    await loggedIn(home, home.keyOf('alice'))
    await refused(t, await home.client('mongodb7', home.session()))
  }
  const problems = home.log.filter(({ event, level }) => event === 'configuration rejected' && level === 'error')
  t.ok(problems.length >= 6)
  t.equal(home.log.filter(isRevoked).length, 0)
  home.reload({}, { [DENY]: '[]\n...\n' })
  await loggedIn(home, home.session())
})

/** The admin interface of a house. */
async function withAdmin(t: Test, adminFile = join(createTempFolder(t), 'denied.yaml')) {
  const settings = { 'admin.port': '0', 'admin.tokenFile': '/token', 'deny.adminFile': adminFile }
  const home = await startTestProxy(t, { settings, files: { '/token': TOKEN } })
  const ask = async (method: string, entry: unknown, token = TOKEN) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const body = entry === undefined ? null : JSON.stringify(entry)
    const response = await fetch(`http://127.0.0.1:${home.proxy.adminPort}/deny`, { method, headers, body })
    return { status: response.status, body: await response.text() }
  }
  return { home, ask, adminFile }
}

t.test('denied over the admin interface: closed when it is acknowledged, and denied by the next process', async t => {
  const { home, ask, adminFile } = await withAdmin(t)
  const client = await loggedIn(home, home.session())
  t.same(await ask('POST', { arn: roleARN, why: 'ticket 4711' }), {
    status: 200,
    body: `${JSON.stringify({ denied: { arn: roleARN, why: 'ticket 4711' }, closed: 1 })}\n`,
  })
  t.match(await home.closedLines(1, isRevoked), [{ denial: `arn ${roleARN}`, reason: 'ticket 4711' }])
  await refused(t, client)

  const next = await withAdmin(t, adminFile)
  t.match(JSON.parse((await next.ask('GET', undefined)).body), { file: [], admin: [{ arn: roleARN }] })
  t.equal((await next.ask('DELETE', roleARN)).status, 200)
  await loggedIn(next.home, next.home.session())
})

t.test('what the disk does not take is not acknowledged, and denies nobody', async t => {
  const { home, ask } = await withAdmin(t, join(createTempFolder(t), 'nowhere', 'denied.yaml'))
  const client = await loggedIn(home, home.session())
  t.match(await ask('POST', roleARN), { status: 507 })
  t.match(await client.db('app').command({ ping: 1 }), { ok: 1 })
})

t.test('a token that is replaced counts at once', async t => {
  const { home, ask } = await withAdmin(t)
  const another = TOKEN.replace('more', 'less')
  t.equal((await ask('GET', undefined, another)).status, 401)
  home.reload({}, { '/token': another })
  t.equal((await ask('GET', undefined, another)).status, 200)
  t.equal((await ask('GET', undefined)).status, 401)
})

t.test('denied between its identity and its welcome, a login ends, too', async t => {
  const home = await startTestProxy(t, { settings: { 'deny.file': DENY }, files: { [DENY]: '[]\n...\n' } })
  const early = await loggedIn(home, home.keyOf('alice')) // what the proxy asks of the upstream itself is asked
  home.links.mongo.blackhole()
  const asked = home.sts.calls().GetCallerIdentity
  const client = await home.client('mongodb7', home.session(), { serverSelectionTimeoutMS: 2_000, retryReads: false })
  const failed = client
    .db('app')
    .command({ ping: 1 })
    .catch(() => 'failed')
  while (home.sts.calls().GetCallerIdentity === asked) await sleep(5)
  await sleep(100) // the answer of STS is on its way
  home.reload({}, { [DENY]: `- ${roleARN}\n...\n` })
  t.match(await home.closedLines(1, isRevoked), [{ stage: 'authenticating', cause: 'login/denied' }])
  t.equal(await failed, 'failed')
  await early.close()
})
