/** What clients meet in each state of the upstream: the table of docs/operations.md, row by row. */
import { readFileSync } from 'node:fs'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import type { RunningProxy } from '../../src/app/proxy.js'
import { connectRaw } from '../support/mongo.js'
import { logInRaw } from '../support/rawLogin.js'
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
const UNREACHABLE = { ok: 0, code: 6, codeName: 'HostUnreachable', errorLabels: ['RetryableWriteError'] }

t.test('before the first hello of the upstream, clients get code 6 and the proxy is not ready', async t => {
  const { proxy, key } = await startReplicaSetProxy(t, ADMIN, { down: true })
  t.match(await hello(t, proxy), { reply: UNREACHABLE, closed: true })
  t.match((await logInRaw(t, proxy.port, key)).reply, UNREACHABLE)
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

t.test('without a primary, hello keeps the set, logins get code 6, and sessions to the old primary close', async t => {
  const { proxy, key, set, log } = await startReplicaSetProxy(t, ADMIN, { electionMS: null })
  const session = await openSession(t, proxy, key)
  set.stepDown()
  await waitUntil(async () => !(await hello(t, proxy)).reply.isWritablePrimary)
  const { reply, closed } = await hello(t, proxy)
  const address = `127.0.0.1:${proxy.port}`
  t.match(reply, { isWritablePrimary: false, secondary: false, setName: 'rs0', hosts: [address], me: address })
  t.equal(reply.primary, undefined)
  t.equal(closed, false)
  const refused = (await logInRaw(t, proxy.port, key)).reply
  t.match(refused, UNREACHABLE)
  t.match(refused.errmsg, /no primary/)
  await waitUntil(async () => !(await session.lives()))
  t.ok(log.some(({ fault }) => fault === 'upstream/stepped-down'))
  t.match(await ready(proxy), { status: 200 })
  t.match(row('no primary'), [
    /neither primary nor secondary/,
    /code 6/,
    /close after 20 ms.*before hello names the new primary/,
    /200/,
  ])
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
  const { proxy, key, set } = await startReplicaSetProxy(t, ADMIN)
  const session = await openSession(t, proxy, key)
  for (const member of [...set.members()]) await set.kill(member)
  t.match(await hello(t, proxy), { reply: UNREACHABLE, closed: true })
  t.match((await logInRaw(t, proxy.port, key)).reply, UNREACHABLE)
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
