/** The demo as other tools start it: its announcement, its flags, its end. */
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import t from 'tap'
import type { Calls } from '../../sandbox/src/aws/sts.js'
import { createClient, requireClients } from '../support/clients.js'
import { program, startDemo } from '../support/demo.js'
import { createTempFolder, runNode } from '../support/program.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7')

t.test('it announces everything a tool needs in one line, reports a busy port, and stops at SIGTERM', async t => {
  const { ready, uri, alice, stop, stdout } = await startDemo(t)
  t.same(Object.keys(ready), ['event', 'proxy', 'admin', 'sts', 'upstream', 'principals'])
  t.match(ready, {
    event: 'ready',
    proxy: { host: '127.0.0.1', port: Number },
    admin: /^http:\/\/127\.0\.0\.1:\d+$/,
    sts: /^http:\/\/127\.0\.0\.1:\d+$/,
    upstream: /^mongodb:\/\/root:[^@]+@127\.0\.0\.1:\d+\/\?authSource=admin$/,
  })
  for (const principal of ready.principals) {
    const temporary = principal.arn.includes(':role/')
    const keys = ['arn', 'accessKeyId', 'secretAccessKey', ...(temporary ? ['sessionToken'] : []), 'user', 'roles']
    t.same(Object.keys(principal), keys)
    t.match(principal.accessKeyId, temporary ? /^ASIA/ : /^AKIA/)
    t.ok(principal.roles.every(role => /^\w+@\w+$/.test(role)))
  }
  const health = await fetch(`${ready.admin}/readyz`)
  t.equal(health.status, 200)

  const calls = async () => (await (await fetch(`${ready.sts}/sandbox/calls`)).json()) as Calls
  const before = await calls()
  t.match(before, { GetCallerIdentity: Number, AssumeRole: 0, throttled: 0 })
  const client = await createClient(t, 'mongodb7', uri(), alice, { maxPoolSize: 1 })
  await client.db('app').command({ ping: 1 })
  t.same(await calls(), { ...before, GetCallerIdentity: before.GetCallerIdentity + 1 }, 'its STS counts its calls')

  const { port } = ready.proxy
  const second = await runNode(t, [program, 'demo', '--json', '--port', String(port), '--admin-port', '0'])
  t.match(second, { code: 69, stdout: '', stderr: new RegExp(`127\\.0\\.0\\.1:${port}`) })
  t.notMatch(second.stderr, /^ +at /m, 'a sentence, not a stack')

  t.equal(await stop(), 0, 'SIGTERM ends it though a client is connected')
  t.equal(stdout().trimEnd().split('\n').length, 1, 'nothing else went to stdout')
})

t.test('with --ldap-authorization logins are refused with the reason', async t => {
  const { uri, alice } = await startDemo(t, '--ldap-authorization')
  const client = await createClient(t, 'mongodb7', uri(), alice)
  await t.rejects(client.connect(), { code: 18, message: /LDAP authorization is on at the upstream.*turn it off/s })
})

t.test(
  'with --sts-latency and --sts-quota its STS is slow and throttles, and the proxy spreads logins so that all succeed',
  async t => {
    const { uri, alice, ready, log, stop } = await startDemo(t, '--sts-quota', '20', '--sts-latency', '100')
    const fleet = await Promise.all(Array.from({ length: 40 }, () => createClient(t, 'mongodb7', uri(), alice)))
    await Promise.all(fleet.map(client => client.connect()))
    await Promise.all(fleet.map(client => client.close()))
    const direct = new STSClient({ endpoint: ready.sts, region: 'us-east-1', credentials: alice, maxAttempts: 1 })
    t.teardown(() => direct.destroy())
    let refused = 0
    await waitUntil(async () => {
      const sent = Array.from({ length: 100 }, () => direct.send(new GetCallerIdentityCommand({})))
      refused = (await Promise.allSettled(sent)).filter(({ status }) => status === 'rejected').length
      return refused > 0
    })
    const calls = (await (await fetch(`${ready.sts}/sandbox/calls`)).json()) as Calls
    t.ok(calls.throttled >= refused)
    await stop()
    const logins = log.filter(({ event, stage }) => event === 'connection closed' && stage === 'authenticated')
    t.equal(logins.length, 40)
    t.ok(logins.every(({ ms }) => (ms as { sts: number }).sts >= 95))
  },
)

t.test('with --with-tls and --directory the line has the files and the further principals as well', async t => {
  const { ready, stop } = await startDemo(t, '--with-tls', '--directory')
  t.same(Object.keys(ready), ['event', 'proxy', 'admin', 'sts', 'upstream', 'principals', 'tls'])
  const { tls } = ready as unknown as { tls: { caFile: string; certFile: string; keyFile: string; next: object } }
  t.same(Object.keys(tls), ['caFile', 'certFile', 'keyFile', 'next'])
  t.match(readFileSync(tls.caFile, 'utf8'), /^-----BEGIN CERTIFICATE-----/)
  t.equal(statSync(tls.keyFile).mode & 0o077, 0, 'nobody else can read the key')
  t.match(
    ready.principals.slice(-2).map(({ arn, user, roles }) => ({ own: arn === user, roles })),
    [
      { own: true, roles: ['readWrite@app'] },
      { own: true, roles: [] },
    ],
  )
  t.equal(await stop(), 0)
})

t.test('without the package of the sandbox the demo explains how to get it', async t => {
  const folder = createTempFolder(t)
  const root = dirname(dirname(program))
  cpSync(dirname(program), join(folder, 'dist'), { recursive: true })
  cpSync(join(root, 'package.json'), join(folder, 'package.json'))
  mkdirSync(join(folder, 'node_modules'))
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name === 'mongo-iam-proxy-sandbox') continue
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  const { code, stdout, stderr } = await runNode(t, [join(folder, 'dist/cli.js'), 'demo'])
  t.match({ code, stdout }, { code: 64, stdout: '' })
  t.match(stderr, /npx -p mongo-iam-proxy -p mongo-iam-proxy-sandbox mongo-iam-proxy demo/)
})
