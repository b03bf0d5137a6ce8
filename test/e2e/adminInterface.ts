/** The JSON of the admin interface of a running proxy, compared with its own OpenAPI document. */
import t, { type Test } from 'tap'
import { z } from 'zod'
import { requireClients } from '../support/clients.js'
import { ACCOUNT, startTestProxy } from '../support/testProxy.js'

await requireClients('mongodb7')

const WRITE_TOKEN = 'a-token-of-ops-that-may-write'
const READ_TOKEN = 'a-token-of-grafana-that-reads'
const KEY = 'a-key-of-more-than-twenty-characters'
const PLAIN_ARN = `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/pod-7`

type OpenApi = {
  paths: Record<string, Record<string, { responses: Record<string, { content?: Record<string, { schema: object }> }> }>>
}

async function start(t: Test, settings: Record<string, string> = {}) {
  const proxy = await startTestProxy(t, {
    settings: { 'admin.port': '0', 'admin.tokenFile': '/write', ...settings },
    files: { '/write': WRITE_TOKEN, '/read': READ_TOKEN, '/key': KEY },
  })
  const ask = async (path: string, { body, token }: { body?: unknown; token?: string } = {}) => {
    const response = await fetch(`http://127.0.0.1:${proxy.running.adminPort}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    return { status: response.status, text: await response.text() }
  }
  const read = async (path: string) => JSON.parse((await ask(path)).text)
  const logIn = async (keys = proxy.session()) => {
    const client = await proxy.client('mongodb7', keys, { maxPoolSize: 1, retryReads: false, appName: 'orders' })
    await client.db('app').command({ ping: 1 })
    return client
  }
  return { proxy, ask, read, logIn }
}

t.test('every read answers as the OpenAPI document says, and shows no secret', async t => {
  const { proxy, ask, read, logIn } = await start(t)
  await logIn()
  const mallory = await proxy.client('mongodb7', proxy.keyOf('mallory'))
  await t.rejects(mallory.db('app').command({ ping: 1 }))
  const document: OpenApi = await read('/openapi.json')
  let compared = 0
  for (const [path, operations] of Object.entries(document.paths)) {
    if (!operations.get) continue
    const { status, text } = await ask(path)
    if (path === '/pins') t.equal(status, 404, 'pins.file is not set')
    else t.equal(status, 200, path)
    for (const secret of [WRITE_TOKEN, READ_TOKEN, 'of orders', 'of alice', proxy.session().secretAccessKey]) {
      t.notMatch(text, secret, path)
    }
    const schema = operations.get.responses['200']?.content?.['application/json']?.schema
    if (!schema || status !== 200) continue
    const { error } = z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]).safeParse(JSON.parse(text))
    t.equal(error, undefined, path)
    compared += 1
  }
  t.ok(compared >= 9)
  t.match(await read('/sessions'), { items: [{ arn: PLAIN_ARN, appName: 'orders', rule: 3 }] })
  t.match(await read('/principals'), { items: [{ sessions: 1, lastArn: PLAIN_ARN }] })
  t.match(await read('/refusals'), { items: [{ fault: 'users/no-rule', remedy: /./ }] })
  t.match((await read('/rules')).items[2], { rule: 3, grant: 'orders-api@admin', logins: 1 })
  t.match(await read('/status'), { ready: true, ldap: 'off', sessions: { open: 1 }, logLevel: /./ })
  const { items } = await read('/settings')
  const settings = Object.fromEntries(
    items.map(({ setting, value }: { setting: string; value: unknown }) => [setting, value]),
  )
  t.match(settings, { 'upstream.uri': '[secret]', 'sts.quota': 600, 'admin.host': '127.0.0.1' })
  t.notOk('users' in settings)
})

t.test('a session is closed by a write token, which the audit trail names', async t => {
  const { proxy, ask, read, logIn } = await start(t)
  const client = await logIn()
  const [{ id }] = (await read('/sessions')).items
  t.match(await ask('/sessions/close', { body: { id } }), { status: 401 })
  t.match(await ask('/sessions/close', { body: { id: `${id}0` }, token: WRITE_TOKEN }), { status: 404 })
  t.match(await ask('/sessions/close', { body: { is: id }, token: WRITE_TOKEN }), { status: 400 })
  t.equal((await read('/sessions')).items.length, 1)
  t.match(await ask('/sessions/close', { body: { id }, token: WRITE_TOKEN }), { status: 200 })
  await proxy.closedLines(1, ({ fault }) => fault === 'connection/closed-by-admin')
  t.same((await read('/sessions')).items, [])
  const closings = proxy.audit().filter(({ type, code, target }) => type === 'admin.request' && code === 200 && target)
  t.match(closings, [{ target: id, path: '/sessions/close', actor: { kind: 'admin', id: 'default' } }])
  t.match(
    proxy.audit().find(({ type }) => type === 'session.end'),
    { connection: id, fault: 'connection/closed-by-admin' },
  )
  await client.close()
  await logIn()
})

t.test('the log level changes until the next reload', async t => {
  const { proxy, ask, read } = await start(t)
  t.match(await ask('/log-level', { body: { level: 'loud' }, token: WRITE_TOKEN }), { status: 400 })
  t.match(await ask('/log-level', { body: { level: 'error' }, token: WRITE_TOKEN }), { status: 200 })
  t.match(await read('/status'), { logLevel: 'error' })
  proxy.reload({})
  t.match(await read('/status'), { logLevel: 'info' })
})

t.test('pages are bounded', async t => {
  const { ask } = await start(t)
  for (const path of ['/sessions', '/principals', '/rules']) {
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'after=-1', 'offset=1']) {
      t.match(await ask(`${path}?${query}`), { status: 400 }, `${path}?${query}`)
    }
    t.match(await ask(`${path}?limit=1000&after=5`), { status: 200 })
  }
})

t.test('with audit.sessionName hash no answer has the name of a session', async t => {
  const { ask, read, logIn } = await start(t, { 'audit.sessionName': 'hash', 'audit.hashKeyFile': '/key' })
  await logIn()
  for (const path of ['/sessions', '/principals', '/refusals', '/status']) {
    t.notMatch((await ask(path)).text, 'pod-7', path)
  }
  t.match((await read('/sessions')).items, [{ arn: /assumed-role\/orders-api\/hash-[0-9a-f]{32}$/ }])
})
