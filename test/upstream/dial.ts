import { pbkdf2Sync, randomBytes } from 'node:crypto'
import { Binary, Int32, Long } from 'bson'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { type DialOptions, dial } from '../../src/upstream/dial.js'
import { createScramKeyCache, type Stretch } from '../../src/upstream/scramKeys.js'
import { faultOfAsync } from '../support/faults.js'
import {
  memberHello,
  type Script,
  type ScriptedMongodOptions,
  type ScriptedUpstream,
  scriptedMongod,
  silence,
  startScriptedUpstream,
} from '../support/scriptedUpstream.js'

const user = { name: 'app', db: 'admin', password: new Secret('pencil') }
const client = { driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' }, platform: 'Node.js v20' }

const dialWith = (upstream: ScriptedUpstream, changes: Partial<DialOptions> = {}) =>
  dial({
    target: upstream.target,
    user,
    clientMetadata: client,
    scramKeys: createScramKeyCache({ maxEntries: 10 }),
    random: randomBytes,
    signal: new AbortController().signal,
    ...changes,
  })
const names = (upstream: ScriptedUpstream) => upstream.received.map(command => command.name)

type T = { teardown(run: () => unknown): unknown }
async function dialFault(t: T, script: ScriptedMongodOptions | Script, changes: Partial<DialOptions> = {}) {
  const upstream = await startScriptedUpstream(t, typeof script === 'function' ? script : scriptedMongod(script))
  return await faultOfAsync(() => dialWith(upstream, changes))
}

t.test('hello carries the metadata, and the login takes one more round trip', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod())
  const { socket, rest, hello } = await dialWith(upstream)
  t.same(names(upstream), ['hello', 'saslContinue'])
  t.match(upstream.received[0]?.body, {
    client,
    speculativeAuthenticate: { mechanism: 'SCRAM-SHA-256', db: 'admin', options: { skipEmptyExchange: true } },
    compression: undefined,
    apiVersion: undefined,
  })
  t.match(hello, { maxWireVersion: new Int32(25), topologyVersion: { counter: Long.fromNumber(6) } })
  t.equal(rest.length, 0)
  t.equal(socket.destroyed, false)
  socket.destroy()
})

t.test('without speculation and with the empty exchange the login takes two more round trips', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod({ speculates: false, skipsEmpty: false }))
  const { socket } = await dialWith(upstream)
  t.same(names(upstream), ['hello', 'saslStart', 'saslContinue', 'saslContinue'])
  socket.destroy()
})

t.test("the proxy's own commands carry the client's apiVersion", async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod({ speculates: false }))
  const { socket } = await dialWith(upstream, { apiVersion: '1' })
  t.same(
    upstream.received.map(command => command.body.apiVersion),
    ['1', '1', '1'],
  )
  socket.destroy()
})

t.test('a user of another database, with = and , in the name, can log in', async t => {
  const other = { name: 'a=b,c', db: 'app', password: new Secret('sesame') }
  const upstream = await startScriptedUpstream(t, scriptedMongod({ user: { ...other, password: 'sesame' } }))
  const { socket } = await dialWith(upstream, { user: other })
  t.equal(upstream.received[1]?.db, 'app')
  socket.destroy()
})

t.test('keys are derived once for many logins, and not cached for a server that failed to verify', async t => {
  let derived = 0
  const stretch: Stretch = async (password, salt, iterations) => {
    derived++
    return pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  }
  const keys = createScramKeyCache({ maxEntries: 10, stretch })
  const upstream = await startScriptedUpstream(
    t,
    scriptedMongod({ final: () => `v=${Buffer.alloc(32).toString('base64')}` }),
  )
  for (let login = 0; login < 2; login++) await faultOfAsync(() => dialWith(upstream, { scramKeys: keys }))
  t.equal(derived, 2)
  upstream.script(scriptedMongod())
  for (let login = 0; login < 3; login++) (await dialWith(upstream, { scramKeys: keys })).socket.destroy()
  t.equal(derived, 3)
})

t.test('an unknown user, a wrong password and a disabled mechanism throw upstream/authentication-failed', async t => {
  t.match(await dialFault(t, {}, { user: { ...user, name: 'nobody' } }), {
    kind: 'upstream/authentication-failed',
    facts: { code: 18, codeName: 'AuthenticationFailed' },
  })
  t.match(await dialFault(t, {}, { user: { ...user, password: new Secret('wrong') } }), {
    kind: 'upstream/authentication-failed',
  })
  const without: Script = ({ name }) =>
    name === 'hello'
      ? memberHello()
      : { ok: 0, code: 334, codeName: 'MechanismUnavailable', errmsg: 'x'.repeat(10_000) }
  const fault = await dialFault(t, without)
  t.match(fault, {
    kind: 'upstream/authentication-failed',
    detail: /SCRAM-SHA-256 is not enabled/,
    facts: { code: 334 },
  })
  t.equal(String(fault?.facts.errmsg).length, 200)
})

t.test('an upstream that shuts down throws upstream/unreachable at any command', async t => {
  const stopping = { ok: 0, code: 11600, codeName: 'InterruptedAtShutdown', errmsg: 'interrupted at shutdown' }
  t.equal((await dialFault(t, () => stopping))?.kind, 'upstream/unreachable')
  t.equal(
    (await dialFault(t, ({ name }) => (name === 'hello' ? memberHello() : stopping)))?.kind,
    'upstream/unreachable',
  )
})

t.test('an error in reply to hello does not mean that the database user was rejected', async t => {
  const failing = { ok: 0, code: 1234, codeName: 'Location1234', errmsg: 'failing' }
  t.match(await dialFault(t, ({ name }) => (name === 'hello' ? failing : memberHello())), {
    kind: 'upstream/unreachable',
    detail: 'the member answered hello with an error',
    facts: { code: 1234, codeName: 'Location1234', errmsg: 'failing' },
  })
})

t.test('a member that is not the primary, or has no majority yet, throws upstream/unreachable', async t => {
  for (const code of [134, 189, 10058, 10107, 11602, 13435, 13436]) {
    const reply = { ok: 0, code, errmsg: 'not now' }
    const fault = await dialFault(t, ({ name }) => (name === 'hello' ? memberHello() : reply))
    t.match(fault, { kind: 'upstream/unreachable', facts: { code } }, `${code}`)
  }
})

t.test('a member of another replica set than the connection string names is not used', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod())
  const named = (replicaSet: string) => ({ target: { ...upstream.target, replicaSet } })
  const { socket } = await dialWith(upstream, named('rs0'))
  socket.destroy()
  const fault = await faultOfAsync(() => dialWith(upstream, named('rs1')))
  t.match(fault, { kind: 'upstream/unreachable', facts: { expected: 'rs1', setName: 'rs0' } })
})

t.test('requirePrimary rejects a member whose hello does not say that it is the primary', async t => {
  const upstream = await startScriptedUpstream(
    t,
    scriptedMongod({ hello: memberHello({ isWritablePrimary: false, secondary: true }) }),
  )
  t.match(await faultOfAsync(() => dialWith(upstream, { requirePrimary: true })), {
    kind: 'upstream/unreachable',
    detail: 'the member is not the primary',
  })
  t.same(names(upstream), ['hello'])
  const { socket } = await dialWith(upstream)
  socket.destroy()
  upstream.script(scriptedMongod())
  ;(await dialWith(upstream, { requirePrimary: true })).socket.destroy()
})

const violations: Record<string, ScriptedMongodOptions> = {
  "a nonce that does not extend the client's": {
    first: message => message.replace(/^r=[^,]+/, 'r=fyko+d2lbbFgONRv9qkxdawL'),
  },
  'one iteration': { iterations: 1 },
  'ten million iterations': { iterations: 10_000_000 },
  'done at the first step': { start: reply => ({ ...reply, done: true }) },
  'done without a signature': { next: reply => ({ ...reply, done: true, payload: new Binary(Buffer.alloc(0)) }) },
  'a wrong signature': { final: () => `v=${Buffer.alloc(32).toString('base64')}` },
  'another conversation': { next: reply => ({ ...reply, conversationId: 2 }) },
  'no conversation': { start: ({ conversationId: _, ...reply }) => reply },
  'no payload': { start: ({ payload: _, ...reply }) => reply },
  'a payload of text': { next: reply => ({ ...reply, payload: 'v=' }) },
  'no done field': { next: ({ done: _, ...reply }) => reply },
  'never done': { skipsEmpty: false, next: reply => ({ ...reply, done: false }) },
}
for (const [violation, options] of Object.entries(violations)) {
  t.test(`${violation} throws upstream/protocol-error`, async t => {
    const upstream = await startScriptedUpstream(t, scriptedMongod(options))
    const stored: unknown[] = []
    const keys = { ...createScramKeyCache({ maxEntries: 1 }), store: (...args: unknown[]) => void stored.push(args) }
    t.equal((await faultOfAsync(() => dialWith(upstream, { scramKeys: keys })))?.kind, 'upstream/protocol-error')
    if (violation !== 'never done') t.same(stored, [], 'no key is cached')
  })
}

t.test('an error in the SCRAM server-final message throws upstream/authentication-failed', async t => {
  t.match(await dialFault(t, { final: () => 'e=other-error' }), {
    kind: 'upstream/authentication-failed',
    facts: { error: 'other-error' },
  })
})

t.test('an abort ends a login that gets no reply and closes its socket', async t => {
  const upstream = await startScriptedUpstream(t, ({ name }) => (name === 'hello' ? memberHello() : silence))
  const stop = new AbortController()
  const dialing = dialWith(upstream, { signal: stop.signal })
  await upstream.waitForCommands(1, 'saslStart')
  const closed = [...upstream.sockets].map(socket => new Promise(resolve => socket.once('close', resolve)))
  stop.abort(new Error('deadline'))
  await t.rejects(dialing, { message: 'deadline' })
  await Promise.all(closed)
})

t.test('onAuthenticated may run commands on the connection, and may reject it', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod())
  const never = new AbortController().signal
  const { socket } = await dialWith(upstream, {
    onAuthenticated: async channel => void (await channel.request({ ping: 1, $db: 'admin' }, never)),
  })
  t.same(names(upstream), ['hello', 'saslContinue', 'ping'])
  socket.destroy()
  await t.rejects(dialWith(upstream, { onAuthenticated: () => Promise.reject(new Error('no')) }), { message: 'no' })
})
