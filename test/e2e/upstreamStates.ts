/** What clients meet in each state of the upstream: the table of README.md, row by row. */
import { readFileSync } from 'node:fs'
import { Binary, BSON, type Document, Int32, serialize } from 'bson'
import t, { type Test } from 'tap'
import type { RunningProxy } from '../../src/app/proxy.js'
import { connectRaw } from '../support/mongo.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { type ClientCredentials, signClientFinal } from '../support/signingClient.js'
import { startTestProxy } from '../support/testProxy.js'

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

/** What a row of the table says of hello, login, relays and readiness. */
function row(state: string): string[] {
  const line = readme.split('\n').find(text => text.trim().startsWith(`| ${state} |`)) ?? ''
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

/** The last reply of a login without a hello, and the connection that it was on. */
async function login(t: Test, { port }: RunningProxy, key: ClientCredentials) {
  const connection = await connectRaw(t, port)
  const first = new Binary(serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) }))
  const challenge = await connection.ask({ saslStart: 1, mechanism: 'MONGODB-AWS', payload: first, $db: '$external' })
  const { s, h } = BSON.deserialize(challenge.payload.buffer)
  const proof = await signClientFinal(key, { nonce: s.buffer, host: h })
  const payload = new Binary(serialize(proof))
  const reply = await connection.ask({ saslContinue: 1, conversationId: 1, payload, $db: '$external' })
  return { reply, connection }
}

/** A connection that is logged in; `lives` asks the upstream something over it. */
async function relayed(t: Test, proxy: RunningProxy, key: ClientCredentials) {
  const { reply, connection } = await login(t, proxy, key)
  t.match(reply, { done: true })
  const { socket, ask } = connection
  socket.on('error', () => {}) // a relay to who stepped down is reset
  const gone = new Promise<boolean>(resolve =>
    socket.once('end', () => resolve(false)).once('close', () => resolve(false)),
  )
  return { lives: () => Promise.race([ask({ ping: 1, $db: 'app' }).then(({ ok }) => Number(ok) === 1), gone]) }
}

const ready = async ({ adminPort }: RunningProxy) => {
  const response = await fetch(`http://127.0.0.1:${adminPort}/readyz`)
  return { status: response.status, body: (await response.json()) as Document }
}
/** Asks until the answer fits, as an operator would. */
async function until(fits: () => Promise<boolean>): Promise<void> {
  while (!(await fits())) await new Promise(resolve => setImmediate(resolve))
}
const ADMIN = { 'admin.port': '0' }
const AWAY = { ok: 0, code: 6, codeName: 'HostUnreachable', errorLabels: ['RetryableWriteError'] }

t.test('no mirror yet', async t => {
  const { proxy, key } = await startReplicaSetProxy(t, ADMIN, { down: true })
  t.match(await hello(t, proxy), { reply: AWAY, closed: true })
  t.match((await login(t, proxy, key)).reply, AWAY)
  t.match(await ready(proxy), { status: 503, body: { ldap: 'unknown', upstream: false } })
  t.match(row('no mirror yet'), [/code 6, then closed/, /code 6/, /none/, /503/])
})

t.test('mirror stale', async t => {
  const { proxy, key, set } = await startReplicaSetProxy(t, ADMIN, { electionMS: null })
  const relay = await relayed(t, proxy, key)
  t.match((await hello(t, proxy)).reply, { isWritablePrimary: true })
  set.stepDown()
  t.match((await hello(t, proxy)).reply, { isWritablePrimary: false }, 'a plain hello is never answered from memory')
  await until(async () => !(await relay.lives()))
  t.match(row('mirror stale'), [/asked anew/, /dialled member must say that it is primary/, /go on/, /200/])
})

t.test('no primary', async t => {
  const { proxy, key, set, log } = await startReplicaSetProxy(t, ADMIN, { electionMS: null })
  const relay = await relayed(t, proxy, key)
  set.stepDown()
  await until(async () => !(await hello(t, proxy)).reply.isWritablePrimary)
  const { reply, closed } = await hello(t, proxy)
  const address = `127.0.0.1:${proxy.port}`
  t.match(reply, { isWritablePrimary: false, secondary: false, setName: 'rs0', hosts: [address], me: address })
  t.equal(reply.primary, undefined)
  t.equal(closed, false)
  const refused = (await login(t, proxy, key)).reply
  t.match(refused, AWAY)
  t.match(refused.errmsg, /no primary/)
  await until(async () => !(await relay.lives()))
  t.ok(log.some(({ fault }) => fault === 'upstream/stepped-down'))
  t.match(await ready(proxy), { status: 200 })
  t.match(row('no primary'), [
    /neither primary nor secondary/,
    /code 6/,
    /closed 20 ms later.*before hello names another/,
    /200/,
  ])
})

t.test('member gone', async t => {
  const { proxy, key, set } = await startReplicaSetProxy(t, ADMIN)
  const relay = await relayed(t, proxy, key)
  const other = set.members().find(member => member !== set.primary())
  if (other) await set.kill(other)
  t.match(await hello(t, proxy), { reply: { isWritablePrimary: true }, closed: false })
  t.match((await login(t, proxy, key)).reply, { done: true })
  t.equal(await relay.lives(), true)
  t.match(await ready(proxy), { status: 200 })
  t.match(row('a member other than the primary gone'), [/as ever/, /as ever/, /go on/, /200/])
})

t.test('upstream away', async t => {
  const { proxy, key, set } = await startReplicaSetProxy(t, ADMIN)
  const relay = await relayed(t, proxy, key)
  for (const member of [...set.members()]) await set.kill(member)
  t.match(await hello(t, proxy), { reply: AWAY, closed: true })
  t.match((await login(t, proxy, key)).reply, AWAY)
  t.equal(await relay.lives(), false)
  t.match(await ready(proxy), { status: 200, body: { upstream: false } })
  t.match(row('upstream away'), [/code 6, then closed/, /code 6/, /end with their sockets/, /200, `"upstream":false`/])
})

t.test('LDAP on', async t => {
  const { proxy, keyOf, mongo } = await startTestProxy(t, { settings: { ...ADMIN, 'ldap.every': '1s' } })
  const key = keyOf('alice')
  t.match(await ready(proxy), { status: 200, body: { ldap: 'off' } })
  const relay = await relayed(t, proxy, key)
  mongo.setLdapAuthorization(true)
  await until(async () => (await ready(proxy)).body.ldap === 'on')
  t.match(await hello(t, proxy), { reply: { isWritablePrimary: true }, closed: false })
  t.match((await login(t, proxy, key)).reply, { ok: 0, code: 18, errmsg: /LDAP authorization is on/ })
  t.equal(await relay.lives(), true)
  t.match(await ready(proxy), { status: 200 }, 'it has served before')
  const cold = await startTestProxy(t, { settings: ADMIN, ldapAuthorization: true })
  t.match(await ready(cold.proxy), { status: 503, body: { ldap: 'on' } })
  t.match(row('LDAP authorization on'), [/as ever/, /code 18/, /go on/, /503 at the start/])
})
