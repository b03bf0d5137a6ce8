/** The demo as other tools start it: what it announces, what its flags do, how it ends. */
import { createConnection } from 'node:net'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import t from 'tap'
import type { Calls } from '../../src/sandbox/aws/sts.js'
import { drive, installed } from '../support/clients.js'
import { demo, program } from '../support/demo.js'
import { runNode } from '../support/program.js'

const ping = [{ do: 'command', on: 'app', command: { ping: 1 } }]

t.setTimeout(300_000) // the first time, a registry has its say
await installed('mongodb7')

t.test('it announces everything that a tool needs, in one line', async t => {
  const { ready, stop, stdout } = await demo(t)
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
  t.equal(await stop(), 0)
  t.equal(stdout().trimEnd().split('\n').length, 1, 'nothing else goes to stdout')
})

t.test('its STS tells what it was asked', async t => {
  const { ready, uri, alice } = await demo(t)
  const calls = async () => (await fetch(`${ready.sts}/sandbox/calls`)).json() as Promise<Record<string, number>>
  const before = await calls()
  t.match(before, { GetCallerIdentity: Number, AssumeRole: 0, throttled: 0 })
  await drive(t, 'mongodb7', { uri: uri(), options: { maxPoolSize: 1 }, steps: ping }, alice)
  t.same(await calls(), { ...before, GetCallerIdentity: (before.GetCallerIdentity ?? 0) + 1 })
})

t.test('with --sts-latency a login takes as long as its STS', async t => {
  const { uri, alice, log, stop } = await demo(t, '--sts-latency', '300')
  const { steps } = await drive(t, 'mongodb7', { uri: uri(), steps: ping }, alice)
  t.match(steps, [{ value: { reply: { ok: 1 } } }])
  await stop()
  const logins = log.filter(({ event, stage }) => event === 'closed' && stage === 'relay')
  t.ok(logins.length > 0)
  for (const { ms } of logins) t.ok((ms as { sts: number }).sts >= 290)
})

t.test('with --ldap-authorization logins are refused, and told why', async t => {
  const { uri, alice } = await demo(t, '--ldap-authorization')
  const { steps } = await drive(t, 'mongodb7', { uri: uri(), steps: ping }, alice)
  t.match(steps, [{ error: { code: 18, message: /LDAP authorization is on at the upstream.*turn it off/s } }])
})

t.test('with --sts-quota its STS throttles above it, and the proxy spreads logins so that all get in', async t => {
  const { uri, alice, ready } = await demo(t, '--sts-quota', '20')
  const { steps } = await drive(t, 'mongodb7', { uri: uri(), steps: [{ do: 'fleet', count: 40 }] }, alice)
  t.match(steps, [{ value: { connected: 40 } }])
  const direct = new STSClient({ endpoint: ready.sts, region: 'us-east-1', credentials: alice, maxAttempts: 1 })
  t.teardown(() => direct.destroy())
  const asking = Array.from({ length: 100 }, () => direct.send(new GetCallerIdentityCommand({})))
  const refused = (await Promise.allSettled(asking)).filter(({ status }) => status === 'rejected')
  t.ok(refused.length > 0)
  const calls = (await (await fetch(`${ready.sts}/sandbox/calls`)).json()) as Calls
  t.ok(calls.throttled >= refused.length)
})

t.test('a port that is taken is a sentence and exit code 69', async t => {
  const { ready } = await demo(t)
  const { port } = ready.proxy
  const args = [program, 'demo', '--json', '--port', String(port), '--admin-port', '0']
  const { code, stdout, stderr } = await runNode(t, args)
  t.equal(code, 69)
  t.equal(stdout, '')
  t.match(stderr, new RegExp(`127\\.0\\.0\\.1:${port}`))
  t.notMatch(stderr, /^ +at /m, 'no stack')
})

t.test('SIGTERM ends it with 0 though clients are connected', async t => {
  const { ready, stop } = await demo(t)
  const socket = createConnection(ready.proxy.port, ready.proxy.host)
  await new Promise(resolve => socket.once('connect', resolve))
  const closed = new Promise(resolve => socket.once('close', resolve))
  socket.resume()
  t.equal(await stop(), 0)
  await closed
})
