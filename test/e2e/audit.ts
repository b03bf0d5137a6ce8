/** The audit trail of real drivers, and of a process that is killed. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { parseAuditLines } from '../support/audit.js'
import { type AwsKeys, createClient, requireClients } from '../support/clients.js'
import { startTestProxy } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7')

t.test('a login, a refusal and the end of a session are recorded', async t => {
  const proxy = await startTestProxy(t)
  const client = await proxy.client('mongodb7', proxy.keyOf('alice'), { appName: 'orders', maxPoolSize: 1 })
  await client.db('app').collection('numbers').insertOne({ n: 1 })
  const [login] = proxy.audit().filter(({ type }) => type === 'login')
  t.match(login, {
    arn: 'arn:aws:iam::123456789012:user/alice',
    appName: 'orders',
    driver: { name: 'nodejs' },
    databaseUser: 'alice@admin',
    rule: { number: 1 },
    sts: { requestId: /^[0-9a-f-]{36}$/, cached: false },
    upstream: { localPort: Number, connectionId: Number },
  })
  await client.close()
  const mallory = await proxy.client('mongodb7', proxy.keyOf('mallory'), { serverSelectionTimeoutMS: 2000 })
  await t.rejects(mallory.connect())
  await waitUntil(() => proxy.audit().some(({ type }) => type === 'session.end'))
  t.match(
    proxy.audit().find(({ type }) => type === 'login.refused'),
    { fault: 'users/no-rule', arn: 'arn:aws:iam::123456789012:user/mallory', code: 18, outcome: 'refused' },
  )
  const end = proxy.audit().find(({ type }) => type === 'session.end')
  t.match(end, { connection: login?.connection, by: 'client' })
})

t.test('a session that a denial ends is recorded as revoked', async t => {
  const proxy = await startTestProxy(t, { settings: { 'deny.file': '/deny' }, files: { '/deny': '[]\n...\n' } })
  const client = await proxy.client('mongodb7', proxy.keyOf('alice'), { maxPoolSize: 1 })
  await client.connect()
  proxy.reload({}, { '/deny': '- arn: arn:aws:iam::123456789012:user/alice\n...\n' })
  await waitUntil(() => proxy.audit().some(({ type }) => type === 'session.revoked'))
  t.match(
    proxy.audit().find(({ type }) => type === 'session.revoked'),
    { cause: 'login/denied', denial: /user\/alice/ },
  )
})

t.test('a reload that grants root to a new role is recorded, and so is one that is rejected', async t => {
  const secret = { 'provision.secretFile': '/master' }
  const proxy = await startTestProxy(t, { settings: secret, files: { '/master': 'x'.repeat(44) } })
  t.match(
    proxy.audit().find(({ type, change }) => type === 'config' && change === 'loaded'),
    { subject: 'file' },
  )
  const arn = 'arn:aws:iam::123456789012:role/contractor'
  proxy.reload({ users: [{ arn, roles: ['root@admin'] }] })
  await waitUntil(() => proxy.audit().some(({ change }) => change === 'added'))
  t.match(
    proxy.audit().filter(({ change }) => change === 'added'),
    [{ type: 'config', subject: 'rule', arn, roles: ['root@admin'], actor: { kind: 'file', id: 'proxy.yaml' } }],
  )
  proxy.reload({ users: [{ arn: 'contractor', roles: ['root@admin'] }] })
  await waitUntil(() => proxy.audit().some(({ change }) => change === 'rejected'))
  const [rejected] = proxy.audit().filter(({ change }) => change === 'rejected')
  t.match(rejected, { outcome: 'failed', problems: [/^users, rule 1: /], fileHash: /^[0-9a-f]{64}$/ })
})

t.test('after kill -9 under load, every admitted session is in the trail', async t => {
  const file = join(t.testdir(), 'audit.jsonl')
  const { process, ready } = await startDemo(t, file)
  const [principal] = ready.principals
  if (!principal) throw new Error('the demo has no principal')
  const uri = `mongodb://127.0.0.1:${ready.proxy.port}/?authSource=%24external&authMechanism=MONGODB-AWS`
  let admitted = 0
  const connect = async (): Promise<void> => {
    for (;;) {
      const client = await createClient(t, 'mongodb7', uri, principal, {
        maxPoolSize: 1,
        serverSelectionTimeoutMS: 3000,
      })
      client.on('connectionReady', () => {
        admitted += 1
      })
      try {
        await client.connect()
      } catch {
        return // the proxy was killed
      }
      await client.close()
    }
  }
  const load = Promise.all(Array.from({ length: 8 }, connect))
  await waitUntil(() => admitted >= 100)
  process.kill('SIGKILL')
  await load
  const events = parseAuditLines(readFileSync(file, 'utf8').replace(/[^\n]*$/, ''))
  const logins = events.filter(({ type }) => type === 'login')
  t.ok(logins.length >= admitted, `${logins.length} logins are recorded, ${admitted} drivers were admitted`)
  t.same(
    events.map(({ seq }) => seq),
    events.map((_, index) => index + 1),
    'the numbers have no gap',
  )
})

t.test('with audit.sessionName: hash no output has the session name, and the documented command finds it', async t => {
  const folder = t.testdir({ key: '0123456789abcdefghij\n', 'audit.jsonl': '' })
  const [file, key] = [join(folder, 'audit.jsonl'), join(folder, 'key')]
  const hashing = ['--audit-session-name', 'hash', '--audit-hash-key-file', key, '--log-level', 'debug']
  const { process, ready, stderr } = await startDemo(t, file, hashing)
  const principal = ready.principals.find(({ sessionToken }) => sessionToken !== undefined)
  const name = 'demo' // of the demo's session
  const uri = `mongodb://127.0.0.1:${ready.proxy.port}/?authSource=%24external&authMechanism=MONGODB-AWS`
  const client = await createClient(t, 'mongodb7', uri, principal as AwsKeys, { maxPoolSize: 1 })
  await client.connect()
  await client.close()
  const metrics = await (await fetch(`${ready.admin}/metrics`)).text()
  process.kill('SIGTERM')
  await once(process, 'close')
  const command = `printf %s ${name} | openssl dgst -sha256 -hmac "$(cat ${key})" | sed 's/.* /hash-/' | cut -c -37`
  const hash = execFileSync('sh', ['-c', command], { encoding: 'utf8' }).trim()
  const trail = readFileSync(file, 'utf8')
  t.match(parseAuditLines(trail).find(({ type }) => type === 'login')?.arn, new RegExp(`assumed-role/[^/]+/${hash}$`))
  for (const text of [trail, stderr(), metrics]) t.notMatch(text, new RegExp(`[/:]${name}\\b`))
  t.match(stderr(), hash, 'the log has the hash')
})

type Ready = { proxy: { port: number }; admin: string; principals: (AwsKeys & { arn: string })[] }

async function startDemo(
  t: Test,
  file: string,
  more: readonly string[] = [],
): Promise<{ process: ChildProcess; ready: Ready; stderr(): string }> {
  const cli = new URL('../../dist/cli.js', import.meta.url).pathname
  const args = [cli, 'demo', '--json', '--port', '0', '--admin-port', '0', '--audit-to', file, ...more]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return { process: child, ready: JSON.parse(line), stderr: () => stderr }
}
