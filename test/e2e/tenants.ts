/** Principals that share a proxy with few connections: none of them can take what the others need. */
import { Long } from 'bson'
import type { Document } from 'mongodb'
import t, { type Test } from 'tap'
import { requireClients } from '../support/clients.js'
import { logInRaw, type RawConnection } from '../support/rawLogin.js'
import { startTestProxy, type TestProxy } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7')

const CONNECTIONS = 60
/** Three quarters of the connections, and half of these. */
const SESSIONS = 45
const PER_PRINCIPAL = 22

const start = (t: Test, settings: Record<string, string> = {}): Promise<TestProxy> =>
  startTestProxy(t, { settings: { 'listen.connections': String(CONNECTIONS), 'admin.port': '0', ...settings } })

const calls = ({ sts }: TestProxy) => sts.calls().GetCallerIdentity

/** The samples of a metric: the value by the label, or by the name for a metric without one. */
async function samples({ running }: TestProxy, name: string): Promise<Record<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${running.adminPort}/metrics`)).text()
  const found = text.matchAll(new RegExp(`^mongo_iam_proxy_${name}(?:\\{\\w+="([^"]*)"\\})? (\\S+)$`, 'gm'))
  return Object.fromEntries([...found].map(([, label = name, value]) => [label, Number(value)]))
}

type Outcome = { reply: Document; connection: RawConnection }
type Keys = Parameters<typeof logInRaw>[2]

/** Logs in that many times at once. */
function logInMany(t: Test, { running }: TestProxy, keys: Keys, count: number): Promise<Outcome[]> {
  return Promise.all(Array.from({ length: count }, () => logInRaw(t, running.port, keys)))
}
const succeeded = (outcomes: Outcome[]) => outcomes.filter(({ reply }) => reply.done)
const refusedWith = (outcomes: Outcome[]) => outcomes.filter(({ reply }) => !reply.done).map(({ reply }) => reply)

t.test('a principal that takes all it can get leaves sessions and monitors to the others', async t => {
  const proxy = await start(t)
  const closed = () => proxy.log.filter(({ event }) => event === 'connection closed')
  const other = await proxy.client('mongodb7', proxy.session(), { maxPoolSize: 4 })
  await other.db('app').command({ ping: 1 })

  let isAttacking = true
  const held: Outcome[] = []
  const replies: Document[] = []
  const attacker = async () => {
    while (isAttacking) {
      const outcome = await logInRaw(t, proxy.running.port, proxy.keyOf('alice'))
      if (outcome.reply.done) held.push(outcome)
      else replies.push(outcome.reply)
    }
  }
  const attackers = Array.from({ length: 20 }, attacker)
  await waitUntil(() => replies.length >= 60)
  const second = await proxy.client('mongodb7', proxy.session(), { maxPoolSize: 12 })
  const operations = await Promise.allSettled(
    Array.from({ length: 12 }, () => second.db('app').collection('c').find().toArray()),
  )
  isAttacking = false
  await Promise.all(attackers)

  t.equal(held.length, PER_PRINCIPAL)
  t.same(
    operations.filter(({ status }) => status === 'rejected'),
    [],
  )
  t.match(await other.db('app').command({ ping: 1 }), { ok: 1 })
  const evicted = closed().filter(({ fault }) => fault === 'listener/connection-limit')
  t.same(evicted, [])
  const codes = new Set(replies.map(({ code }) => Number(code)))
  t.same([...codes], [262])
  t.match(replies[0], { codeName: 'ExceededTimeLimit', baseBackoffMS: Long.fromNumber(1_000) })
  t.same(replies[0]?.errorLabels, ['SystemOverloadedError', 'RetryableError', 'RetryableWriteError'])
  const [alice] = Object.entries(await samples(proxy, 'principal_sessions'))
  t.match(alice, [/:user\/alice$/, PER_PRINCIPAL])
  const warnings = proxy.log.filter(({ event }) => event === 'session limit near')
  t.match(warnings, [{ arn: /:user\/alice$/, sessions: 18, max: PER_PRINCIPAL }])
})

t.test('a refused principal costs one call to STS, until one of its slots is free', async t => {
  const proxy = await start(t)
  const held = succeeded(await logInMany(t, proxy, proxy.keyOf('alice'), PER_PRINCIPAL))
  t.equal(held.length, PER_PRINCIPAL)
  const before = calls(proxy)
  for (let i = 0; i < 5; i++) {
    const { reply } = await logInRaw(t, proxy.running.port, proxy.keyOf('alice'))
    t.match(reply, { code: 262, errmsg: /this principal has as many sessions as it may have/ })
  }
  t.equal(calls(proxy), before + 1)
  proxy.clock.advance(5_000)
  await logInRaw(t, proxy.running.port, proxy.keyOf('alice'))
  t.equal(calls(proxy), before + 2, 'after 5 s STS is asked again')
  held[0]?.connection.socket.destroy()
  await waitUntil(async () => (await samples(proxy, 'session_slots')).taken === PER_PRINCIPAL - 1)
  t.ok((await logInRaw(t, proxy.running.port, proxy.keyOf('alice'))).reply.done)
})

t.test('when all session slots are taken, a login is refused before STS is asked', async t => {
  const proxy = await start(t, { 'listen.perPrincipal': String(SESSIONS) })
  for (let i = 0; i < 3; i++) await logInMany(t, proxy, proxy.keyOf('alice'), SESSIONS / 3)
  t.same(await samples(proxy, 'session_slots'), { taken: SESSIONS, free: 0 })
  const before = calls(proxy)
  const late = await logInMany(t, proxy, proxy.session(), 5)
  for (const reply of refusedWith(late))
    t.match(reply, { code: 262, errmsg: /all session slots of the proxy are taken/ })
  t.equal(refusedWith(late).length, 5)
  t.equal(calls(proxy), before)
})

t.test('logins at the same time do not get more sessions than there are', async t => {
  const proxy = await start(t, { 'listen.connections': '12', 'listen.reserve': '6', 'listen.perPrincipal': '6' })
  const outcomes = [
    ...(await logInMany(t, proxy, proxy.keyOf('alice'), 6)),
    ...(await logInMany(t, proxy, proxy.session(), 6)),
  ]
  t.equal(succeeded(outcomes).length, 6)
  t.same(await samples(proxy, 'session_slots'), { taken: 6, free: 0 })
})

t.test('a reload raises and lowers the limits, and closes no session', async t => {
  const proxy = await start(t)
  await logInMany(t, proxy, proxy.keyOf('alice'), 10)
  const next = (listen: object) => proxy.reload({ listen: { host: '127.0.0.1', port: 0, ...listen } })
  next({ perPrincipal: 5 })
  t.same(await samples(proxy, 'session_slots'), { taken: 10, free: SESSIONS - 10 })
  t.match((await logInRaw(t, proxy.running.port, proxy.keyOf('alice'))).reply, { code: 262 })
  next({ perPrincipal: 11 })
  t.ok((await logInRaw(t, proxy.running.port, proxy.keyOf('alice'))).reply.done)
  t.match((await logInRaw(t, proxy.running.port, proxy.keyOf('alice'))).reply, { code: 262 })
})

t.test('every kind of end gives the slot back', async t => {
  const proxy = await start(t)
  const free = () => waitUntil(async () => (await samples(proxy, 'session_slots')).taken === 0)
  const logIn = () => logInMany(t, proxy, proxy.keyOf('alice'), 5)

  for (const { connection } of await logIn()) connection.socket.end()
  await free()
  for (const { connection } of await logIn()) connection.socket.resetAndDestroy()
  await free()
  await logIn()
  proxy.links.mongo.resetConnections()
  await free()
})
