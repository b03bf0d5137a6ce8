/** What clients meet in each state of the upstream: the table of docs/operations.md, row by row. */
import { readFileSync } from 'node:fs'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import type { RunningProxy } from '../../src/app/proxy.js'
import { connectRaw } from '../support/mongo.js'
import { logInRaw, startLoginRaw } from '../support/rawLogin.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import type { ClientCredentials } from '../support/signingClient.js'
import { startTestProxy } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')

/** The cells of a row: hello, new logins, open sessions and readiness. */
function row(state: string): string[] {
  const line = page.split('\n').find(text => text.trim().startsWith(`| ${state} |`)) ?? ''
  return line
    .split('|')
    .slice(2, -1)
    .map(cell => cell.trim())
}

/** The reply to a hello, and whether the proxy then closed. */
async function hello(t: Test, { port }: RunningProxy): Promise<{ reply: Document; closed: boolean }> {
  const { socket, ask } = await connectRaw(t, port)
  const reply = await ask({ hello: 1, $db: 'admin' })
  const pinged = await Promise.race([
    ask({ ping: 1, $db: 'admin' }).then(() => true),
    new Promise<boolean>(resolve => socket.once('close', () => resolve(false)).once('end', () => resolve(false))),
  ])
  socket.destroy()
  return { reply, closed: !pinged }
}

/** An authenticated connection. `lives` runs a command on the upstream through it. */
async function openSession(t: Test, proxy: RunningProxy, key: ClientCredentials) {
  const { reply, connection } = await logInRaw(t, proxy.port, key)
  t.match(reply, { done: true })
  const { socket, ask } = connection
  socket.on('error', () => {}) // a session to the old primary is reset
  const closed = new Promise<boolean>(resolve =>
    socket.once('end', () => resolve(false)).once('close', () => resolve(false)),
  )
  return { lives: () => Promise.race([ask({ ping: 1, $db: 'app' }).then(({ ok }) => Number(ok) === 1), closed]) }
}

const ready = async ({ adminPort }: RunningProxy) => {
  const response = await fetch(`http://127.0.0.1:${adminPort}/readyz`)
  return { status: response.status, body: (await response.json()) as Document }
}
const ADMIN = { 'admin.port': '0' }
/** `login.timeout` by default. */
const LOGIN_MS = 8_000
const countLogins = (sts: { calls(): Record<string, number> }) => sts.calls().GetCallerIdentity ?? 0
const UNREACHABLE = { ok: 0, code: 6, codeName: 'HostUnreachable', errorLabels: ['RetryableWriteError'] }

t.test('before the first hello of the upstream, clients get code 6 and the proxy is not ready', async t => {
  const { proxy, key, sts, clock } = await startReplicaSetProxy(t, ADMIN, { down: true, testClock: true })
  t.match(await hello(t, proxy), { reply: UNREACHABLE, closed: true })
  await clock.pass(LOGIN_MS)
  t.match((await logInRaw(t, proxy.port, key)).reply, UNREACHABLE)
  t.equal(countLogins(sts), 0, 'a login that would wait in vain costs no call to STS')
  t.match(await ready(proxy), { status: 503, body: { ldap: 'unknown', upstream: false } })
  t.match(row('no hello received yet'), [/code 6, then closed/, /code 6/, /none/, /503/])
})

t.test('a plain hello is never answered from an old cached hello', async t => {
  const { proxy, key, set } = await startReplicaSetProxy(t, ADMIN, { electionMS: null })
  const session = await openSession(t, proxy, key)
  t.match((await hello(t, proxy)).reply, { isWritablePrimary: true })
  set.stepDown()
  t.match((await hello(t, proxy)).reply, { isWritablePrimary: false }, 'the upstream was asked')
  await waitUntil(async () => !(await session.lives()))
  t.match(row('the cached hello is old'), [
    /asks the upstream first/,
    /dialed member must say that it is primary/,
    /continue/,
    /200/,
  ])
})

t.test('without a primary, hello keeps the set, logins wait, and sessions to the old primary close', async t => {
  const { proxy, key, set, sts, clock, log } = await startReplicaSetProxy(t, ADMIN, {
    electionMS: null,
    testClock: true,
  })
  const session = await openSession(t, proxy, key)
  set.stepDown()
  await waitUntil(async () => !(await hello(t, proxy)).reply.isWritablePrimary)
  const { reply, closed } = await hello(t, proxy)
  const address = `127.0.0.1:${proxy.port}`
  t.match(reply, { isWritablePrimary: false, secondary: false, setName: 'rs0', hosts: [address], me: address })
  t.equal(reply.primary, undefined)
  t.equal(closed, false)
  const waiting = logInRaw(t, proxy.port, key)
  await waitUntil(() => countLogins(sts) === 2)
  t.match((await hello(t, proxy)).reply, { isWritablePrimary: false, ok: 1 }, 'hello does not wait')
  await clock.pass(LOGIN_MS)
  const refused = (await waiting).reply
  t.match(refused, UNREACHABLE)
  t.match(refused.errmsg, /no primary/)
  t.match((await logInRaw(t, proxy.port, key)).reply, UNREACHABLE, 'at once')
  t.equal(countLogins(sts), 2)
  await waitUntil(async () => !(await session.lives()))
  t.ok(log.some(({ fault }) => fault === 'upstream/stepped-down'))
  t.match(await ready(proxy), { status: 200 })
  t.match(row('no primary'), [
    /neither primary nor secondary/,
    /wait for a primary until `login.timeout`, then code 6/,
    /close after 20 ms.*before hello names the new primary/,
    /200/,
  ])
})

t.test('a login that waits for a primary is served by the next election', async t => {
  const { proxy, key, set, sts, log } = await startReplicaSetProxy(t, ADMIN, { electionMS: null })
  const oldPrimary = set.primary()
  const members = [...set.members()]
  set.stepDown()
  await waitUntil(async () => !(await hello(t, proxy)).reply.isWritablePrimary)
  const logins = Array.from({ length: 20 }, () => logInRaw(t, proxy.port, key))
  await waitUntil(() => countLogins(sts) === 20)
  const next = members.find(member => member !== oldPrimary)
  if (next) set.elect(next)
  for (const { reply, connection } of await Promise.all(logins)) {
    t.match(reply, { done: true })
    t.match(await connection.ask({ ping: 1, $db: 'app' }), { ok: 1 })
  }
  t.notOk(log.some(({ fault }) => fault === 'upstream/unreachable'))
})

t.test('a login that meets a crashed primary, or one that steps down meanwhile, is served by the next one', async t => {
  for (const lose of ['kill', 'stepDown'] as const) {
    const { proxy, key, set, log } = await startReplicaSetProxy(t, ADMIN)
    const primary = set.primary()
    if (lose === 'stepDown') set.stepDown()
    else if (primary) await set.kill(primary)
    const logins = Array.from({ length: 20 }, () => logInRaw(t, proxy.port, key))
    for (const { reply } of await Promise.all(logins)) t.match(reply, { done: true }, lose)
    t.notOk(log.some(({ event, fault }) => event === 'connection closed' && fault === 'upstream/unreachable'))
  }
})

t.test('a login that waits for a primary ends when its client leaves or the proxy drains', async t => {
  const { proxy, key, set, sts, logged } = await startReplicaSetProxy(t, ADMIN, { electionMS: null })
  set.stepDown()
  await waitUntil(async () => !(await hello(t, proxy)).reply.isWritablePrimary)
  const leaving = startLoginRaw(t, proxy.port, key)
  await waitUntil(() => countLogins(sts) === 1)
  ;(await leaving).socket.destroy()
  await logged(({ fault }) => fault === 'login/abandoned')
  const waiting = logInRaw(t, proxy.port, key)
  await waitUntil(() => countLogins(sts) === 2)
  const stopped = proxy.stop(0)
  t.match((await waiting).reply, { ...UNREACHABLE, errmsg: /shutting down/ })
  await stopped
})

t.test('a secondary that is down changes nothing', async t => {
  const { proxy, key, set } = await startReplicaSetProxy(t, ADMIN)
  const session = await openSession(t, proxy, key)
  const other = set.members().find(member => member !== set.primary())
  if (other) await set.kill(other)
  t.match(await hello(t, proxy), { reply: { isWritablePrimary: true }, closed: false })
  t.match((await logInRaw(t, proxy.port, key)).reply, { done: true })
  t.equal(await session.lives(), true)
  t.match(await ready(proxy), { status: 200 })
  t.match(row('a secondary is down'), [/unchanged/, /unchanged/, /continue/, /200/])
})

t.test('while the upstream is unreachable, clients get code 6 and the proxy stays ready', async t => {
  const { proxy, key, set, clock } = await startReplicaSetProxy(t, ADMIN, { testClock: true })
  const session = await openSession(t, proxy, key)
  for (const member of [...set.members()]) await set.kill(member)
  t.match(await hello(t, proxy), { reply: UNREACHABLE, closed: true })
  const login = logInRaw(t, proxy.port, key)
  await clock.pass(LOGIN_MS)
  t.match((await login).reply, UNREACHABLE)
  t.equal(await session.lives(), false)
  t.match(await ready(proxy), { status: 200, body: { upstream: false } })
  t.match(row('upstream unreachable'), [
    /code 6, then closed/,
    /code 6/,
    /end with their sockets/,
    /200, `"upstream":false`/,
  ])
})

t.test('while LDAP authorization is on, logins are refused and open sessions continue', async t => {
  const { running: proxy, keyOf, mongo } = await startTestProxy(t, { settings: { ...ADMIN, 'ldap.every': '1s' } })
  const key = keyOf('alice')
  t.match(await ready(proxy), { status: 200, body: { ldap: 'off' } })
  const session = await openSession(t, proxy, key)
  mongo.setLdapAuthorization(true)
  await waitUntil(async () => (await ready(proxy)).body.ldap === 'on')
  t.match(await hello(t, proxy), { reply: { isWritablePrimary: true }, closed: false })
  t.match((await logInRaw(t, proxy.port, key)).reply, { ok: 0, code: 18, errmsg: /LDAP authorization is on/ })
  t.equal(await session.lives(), true)
  t.match(await ready(proxy), { status: 200 }, 'it has been ready before')
  const cold = await startTestProxy(t, { settings: ADMIN, ldapAuthorization: true })
  t.match(await ready(cold.running), { status: 503, body: { ldap: 'on' } })
  t.match(row('LDAP authorization on'), [/unchanged/, /code 18/, /continue/, /503 at start/])
})
