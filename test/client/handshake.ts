import { Binary, BSON, type Document, Double, Int32, Long, ObjectId, serialize } from 'bson'
import t from 'tap'
import {
  type Action,
  finishLogin,
  type HandshakeContext,
  handleCommand,
  initialState,
  type State,
} from '../../src/client/handshake.js'
import type { FaultKind } from '../../src/errors.js'
import { Framer, OP_MSG, OP_QUERY, writeFrame } from '../../src/wire/frame.js'
import { type Command, EXHAUST_ALLOWED, MORE_TO_COME, readCommand, writeMessage } from '../../src/wire/message.js'
import { faultOf } from '../support/faults.js'

const server: HandshakeContext = {
  stsHost: () => 'sts.eu-west-1.amazonaws.com',
  random: bytes => Buffer.alloc(bytes, 0xee),
  buildInfo: () => ({ version: '7.0.12' }),
}
const first = serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) })
const final = serialize({ a: 'AWS4-HMAC-SHA256 …', d: '20260813T120000Z' })
const driver = { driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' } }

const start = { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(first), $db: '$external' }
const next = { saslContinue: 1, conversationId: 1, payload: new Binary(final), $db: '$external' }

const one = (bytes: Buffer): Command => readCommand([...new Framer(100_000).push(bytes)][0] as never)
/** A command by OP_MSG. */
const message = ({ $db = 'admin', ...document }: Document, flagBits = 0) =>
  one(writeMessage({ ...document, $db }, 7, 0, flagBits))
/** A command by OP_QUERY. */
const query = (document: Document, db = 'admin') => {
  const fields = Buffer.alloc(8)
  fields.writeInt32LE(-1, 4)
  return one(writeFrame(OP_QUERY, 7, 0, [Buffer.alloc(4), Buffer.from(`${db}.$cmd\0`), fields, serialize(document)]))
}
const challenged = handleCommand(initialState, message(start), server).next
const proving = handleCommand(challenged, message(next), server).next
const states: Record<string, State> = {
  start: initialState,
  challenged,
  proving,
  admitted: { at: 'admitted' },
  over: { at: 'over' },
}

/** One line for a turn: what it does, with what, and where that leads. */
const told = (turn: Action) => `${turn.do === 'refuse' ? turn.fault.kind : turn.do} → ${turn.next.at}`
/** The fault of a turn that leads there. */
const refused = (turn: Action, at: State['at']): FaultKind | string =>
  turn.do === 'refuse' && turn.next.at === at ? turn.fault.kind : told(turn)
/** A turn that does this and nothing else. */
const only = <What extends Action['do']>(what: What, turn: Action): Action & { do: What } => {
  if (turn.do !== what) throw new Error(told(turn))
  return turn as Action & { do: What }
}
const hello = (document: Document, state = initialState) =>
  handleCommand(state, message({ hello: 1, ...document }), server)

t.test('who may say what, when', async t => {
  const table: [Document, Record<keyof typeof states, string>][] = [
    [{ hello: 1 }, { start: 'hello → start' }],
    [{ isMaster: 1 }, { start: 'hello → start' }],
    [{ ismaster: 1 }, { start: 'hello → start' }],
    [{ ping: 1 }, { start: 'reply → start' }],
    [{ buildInfo: 1 }, { start: 'reply → start' }],
    [{ buildinfo: 1 }, { start: 'reply → start' }],
    [start, { start: 'reply → challenged' }],
    [next, { challenged: 'prove → proving' }],
    [{ find: 'c', $db: 'app' }, { start: 'command/unauthorized → start' }],
    [{ logout: 1 }, { start: 'command/unauthorized → start' }],
    [{ authenticate: 1 }, { start: 'sasl/mechanism-unavailable → start' }],
    [{ whatsmyuri: 1 }, { start: 'command/unauthorized → start' }],
  ]
  for (const [command, wanted] of table) {
    for (const [at, state] of Object.entries(states)) {
      const label = `${Object.keys(command)[0]} at ${at}`
      t.equal(told(handleCommand(state, message(command), server)), wanted[at] ?? 'sasl/out-of-order → over', label)
    }
  }
})

t.test('what is not in the table is the error, whatever a JavaScript object thinks of its name', async t => {
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'HELLO', 'hello ', 'saslstart', '0']) {
    const element = Buffer.concat([Buffer.from([0x10]), Buffer.from(`${name}\0`), Buffer.from([1, 0, 0, 0])])
    const db = Buffer.from('\x02$db\0\x06\0\0\0admin\0\0', 'latin1')
    const length = Buffer.alloc(4)
    length.writeInt32LE(4 + element.length + db.length)
    const command = one(writeFrame(OP_MSG, 7, 0, [Buffer.alloc(5), length, element, db]))
    t.equal(command.name, name)
    const turn = handleCommand(initialState, command, server)
    t.match(turn, { do: 'refuse', fault: { kind: 'command/unauthorized' }, next: initialState }, name)
    for (const state of [challenged, proving])
      t.equal(refused(handleCommand(state, command, server), 'over'), 'sasl/out-of-order')
  }
})

t.test('a reply to saslStart has the one shape that every driver takes, byte for byte', async t => {
  for (const command of [message(start), query({ ...start, $db: undefined }, '$external')]) {
    const turn = only('reply', handleCommand(initialState, command, server))
    const nonce = Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32, 0xee)])
    const payload = Buffer.from(serialize({ s: new Binary(nonce), h: server.stsHost() }))
    const size = Buffer.alloc(4)
    size.writeInt32LE(payload.length)
    const elements = Buffer.concat([
      Buffer.from('\x10conversationId\0\x01\0\0\0', 'latin1'),
      Buffer.from('\x08done\0\0', 'latin1'),
      Buffer.from('\x05payload\0', 'latin1'),
      size,
      Buffer.from([0]),
      payload,
      Buffer.from('\x01ok\0\0\0\0\0\0\0\xf0\x3f', 'latin1'),
    ])
    t.equal(Buffer.from(serialize(turn.document)).subarray(4, -1).toString('hex'), elements.toString('hex'))
    t.match(turn.next, { at: 'challenged', challenge: { nonce, host: server.stsHost() } })
  }
  t.equal(payloadTypes(), 's:5 h:2')
})

/** Names and BSON types of server-first, in order. */
function payloadTypes(): string {
  const turn = handleCommand(initialState, message(start), server)
  const { payload } = only('reply', turn).document
  return [...BSON.onDemand.parseToElements(payload.value())]
    .map(([type, at, length]) => `${Buffer.from(payload.value()).toString('latin1', at, at + length)}:${type}`)
    .join(' ')
}

t.test('the welcome has the same shape, done and with an empty payload', async t => {
  const turn = only('reply', finishLogin(proving))
  const elements =
    '\x10conversationId\0\x01\0\0\0' + '\x08done\0\x01' + '\x05payload\0\0\0\0\0\0' + '\x01ok\0\0\0\0\0\0\0\xf0\x3f'
  t.equal(Buffer.from(serialize(turn.document)).toString('latin1', 4), `${elements}\0`)
  t.same(turn.next, { at: 'admitted' })
})

t.test('a login is settled once, and only while it is being proven', async t => {
  const fault = faultOf(() => readCommand({ requestID: 1, responseTo: 0, opCode: 99, bytes: Buffer.alloc(16) }))
  const turn = finishLogin(proving, fault)
  t.match(turn, { do: 'refuse', next: { at: 'over' } })
  t.equal(only('refuse', turn).fault, fault)
  for (const at of ['start', 'challenged', 'admitted', 'over'] as const) {
    t.equal(refused(finishLogin(states[at] as State), 'over'), 'internal', at)
    t.equal(refused(finishLogin(states[at] as State, fault), 'over'), 'internal', at)
  }
})

t.test('a message that wants no reply ends the conversation', async t => {
  for (const command of [{ hello: 1 }, { ping: 1 }, start, { find: 'c' }]) {
    t.equal(refused(handleCommand(initialState, message(command, MORE_TO_COME), server), 'over'), 'message/malformed')
  }
  t.equal(refused(handleCommand(challenged, message(next, MORE_TO_COME), server), 'over'), 'message/malformed')
  const goodbye = message({ endSessions: [], $db: 'admin' }, MORE_TO_COME)
  t.equal(
    refused(handleCommand(initialState, goodbye, server), 'over'),
    'login/abandoned',
    'by which a driver says goodbye',
  )
})

t.test('a hello says how it was asked', async t => {
  t.match(hello({}), { do: 'hello', asked: { legacy: false, helloOk: false } })
  t.match(hello({ helloOk: true }), { asked: { helloOk: true } })
  for (const name of ['isMaster', 'ismaster']) {
    t.match(handleCommand(initialState, query({ [name]: 1, helloOk: true }), server), {
      asked: { legacy: true, helloOk: true },
    })
    t.match(handleCommand(initialState, query({ $query: { [name]: 1 } }), server), {
      asked: { legacy: true, helloOk: false },
    })
  }
  t.same(only('hello', hello({})).asked, { legacy: false, helloOk: false }, 'and nothing is awaited')
})

t.test('what drivers add to a hello changes nothing', async t => {
  const bare = hello({})
  for (const more of [
    { saslSupportedMechs: 'admin.alice' },
    {
      speculativeAuthenticate: { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(first), db: '$external' },
    },
    { speculativeAuthenticate: { saslStart: 1, mechanism: 'SCRAM-SHA-256', payload: new Binary(first), db: 'admin' } },
    { loadBalanced: true },
    { loadBalanced: false },
    { backpressure: '2' },
    { backpressure: true },
    { compression: ['none', 'zlib'] },
    { $clusterTime: { clusterTime: 1 }, lsid: {}, internalClient: { maxWireVersion: 99 }, mongos: {} },
  ]) {
    t.same(hello(more), bare, Object.keys(more).join())
  }
  t.same(
    handleCommand(initialState, message({ hello: 1 }, EXHAUST_ALLOWED), server),
    bare,
    'a stream is allowed, not wanted',
  )
})

t.test('an awaited hello names what the client knows, with its types, and for how long', async t => {
  const topologyVersion = { processId: new ObjectId(), counter: Long.fromString('9007199254740993') }
  for (const maxAwaitTimeMS of [10_000, new Double(10_000), Long.fromNumber(10_000)]) {
    const { awaiting } = only('hello', hello({ topologyVersion, maxAwaitTimeMS })).asked
    t.equal(awaiting?.maxAwaitTimeMS, 10_000)
    t.ok(awaiting?.topologyVersion.counter.equals('9007199254740993'))
    t.ok(awaiting?.topologyVersion.processId.equals(topologyVersion.processId))
  }
  for (const half of [
    { topologyVersion },
    { maxAwaitTimeMS: 10_000 },
    { topologyVersion, maxAwaitTimeMS: -1 },
    { topologyVersion, maxAwaitTimeMS: Number.NaN },
    { topologyVersion, maxAwaitTimeMS: Number.POSITIVE_INFINITY },
    { topologyVersion, maxAwaitTimeMS: '10000' },
    { topologyVersion, maxAwaitTimeMS: true },
    { topologyVersion, maxAwaitTimeMS: null },
    { topologyVersion, maxAwaitTimeMS: { valueOf: 1, toString: 1 } },
    { topologyVersion: null, maxAwaitTimeMS: 10_000 },
    { topologyVersion: { ...topologyVersion, counter: 1 }, maxAwaitTimeMS: 10_000 },
    { topologyVersion: { ...topologyVersion, processId: 'x' }, maxAwaitTimeMS: 10_000 },
  ]) {
    const turn = hello(half)
    t.equal(refused(turn, 'start'), 'hello/await-invalid', JSON.stringify(half))
  }
})

t.test('the client document and the API version are carried to the login', async t => {
  const introduced = hello({ client: driver, apiVersion: '1', apiStrict: true }).next
  t.match(introduced, { at: 'start', client: { metadata: driver, apiVersion: '1' } })
  const asked = handleCommand(introduced, message({ ...start, apiVersion: '1' }), server).next
  const turn = handleCommand(asked, message(next), server)
  t.match(turn, { do: 'prove', client: { metadata: driver, apiVersion: '1' }, fields: { d: '20260813T120000Z' } })
  t.match(handleCommand(initialState, message({ ...start, apiVersion: '1' }), server).next, {
    client: { apiVersion: '1' },
  })
  t.notMatch(hello({ apiVersion: 1 }).next, { client: { apiVersion: 1 } }, 'a version is a string')
  t.same(hello({ apiVersion: 'x'.repeat(16) }).next, initialState, 'and a short one')
})

t.test('the BSON types of a client document stay as they were', async t => {
  const client = { ...driver, env: { timeout_sec: new Int32(60), memory_mb: Long.fromNumber(512), x: new Double(1) } }
  const { client: known } = hello({ client }).next as State & { at: 'start' }
  t.same(serialize(known.metadata as Document), serialize(client))
})

t.test('a client document without a required field is refused with 183', async t => {
  for (const client of [
    {},
    null,
    'nodejs',
    [],
    { driver: driver.driver },
    { os: driver.os },
    { driver: { name: 'nodejs' }, os: driver.os },
    { driver: { version: '7' }, os: driver.os },
    { driver: { name: 1, version: '7' }, os: driver.os },
    { ...driver, os: { type: 1 } },
    { ...driver, os: 'Linux' },
    { ...driver, application: { name: 1 } },
    { ...driver, $ref: 'x', $id: 1 },
  ]) {
    t.equal(refused(hello({ client }), 'start'), 'hello/metadata-invalid', JSON.stringify(client))
  }
})

t.test('an application name of 128 bytes passes, one of 129 is refused with 184', async t => {
  t.equal(hello({ client: { ...driver, application: { name: 'ü'.repeat(64) } } }).do, 'hello')
  t.equal(
    refused(hello({ client: { ...driver, application: { name: `${'ü'.repeat(64)}x` } } }), 'start'),
    'hello/app-name-too-long',
  )
})

t.test('a client document of 512 bytes passes, one of 513 is refused with 185', async t => {
  const base = BSON.calculateObjectSize({ ...driver, platform: '' })
  const sized = (size: number) => hello({ client: { ...driver, platform: 'x'.repeat(size - base) } })
  t.equal(sized(512).do, 'hello')
  t.equal(refused(sized(513), 'start'), 'hello/metadata-too-large')
})

t.test('a second client document is refused with 186, and the first one stays', async t => {
  const { next } = hello({ client: driver })
  const turn = hello({ client: driver }, next)
  t.equal(refused(turn, 'start'), 'hello/metadata-repeated')
  t.equal(turn.next, next)
  t.equal(hello({}, next).do, 'hello', 'a hello without one goes on')
})

t.test('a mechanism that is not served is refused by name, and another may be tried', async t => {
  for (const mechanism of ['SCRAM-SHA-256', 'MONGODB-X509', 'PLAIN', 'mongodb-aws', '', undefined, 1, null]) {
    const turn = handleCommand(initialState, message({ ...start, mechanism }), server)
    t.equal(refused(turn, 'start'), 'sasl/mechanism-unavailable', String(mechanism))
  }
  const turn = only(
    'refuse',
    handleCommand(initialState, message({ ...start, mechanism: 'évil\n\x1b[31m'.repeat(99) }), server),
  )
  t.match(turn.fault.message, /^[\x20-\x7e]{1,200}$/)
  t.equal(
    refused(handleCommand(initialState, message({ ...start, $db: 'admin' }), server), 'start'),
    'sasl/mechanism-unavailable',
  )
})

t.test('a mechanism that cannot become text is refused like any other', async t => {
  for (const mechanism of [{ toString: 1, valueOf: 1 }, [{ toString: 'x' }], new Binary(Buffer.alloc(9))]) {
    const turn = handleCommand(initialState, message({ ...start, mechanism }), server)
    t.equal(refused(turn, 'start'), 'sasl/mechanism-unavailable')
  }
})

t.test('a payload that is not the document of its step ends the conversation', async t => {
  for (const payload of [
    undefined,
    first.toString(),
    new Binary(first, 5),
    new Binary(Buffer.alloc(0)),
    new Binary(final),
    new Binary(serialize({ r: new Binary(Buffer.alloc(31)), p: new Int32(110) })),
    new Binary(serialize({ r: new Binary(Buffer.alloc(32)), p: new Int32(121) })),
  ]) {
    t.equal(
      refused(handleCommand(initialState, message({ ...start, payload }), server), 'over'),
      'sasl/payload-invalid',
    )
  }
  for (const payload of [undefined, 'text', new Binary(final, 5), new Binary(first), new Binary(Buffer.alloc(5))]) {
    t.equal(refused(handleCommand(challenged, message({ ...next, payload }), server), 'over'), 'sasl/payload-invalid')
  }
})

t.test('saslContinue belongs to its conversation', async t => {
  for (const conversationId of [0, 2, -1, '1', true, undefined, null]) {
    t.equal(
      refused(handleCommand(challenged, message({ ...next, conversationId }), server), 'over'),
      'sasl/out-of-order',
    )
  }
  t.equal(refused(handleCommand(challenged, message({ ...next, $db: 'admin' }), server), 'over'), 'sasl/out-of-order')
})

t.test('a conversation that broke cannot be taken up again', async t => {
  const again = handleCommand(challenged, message(start), server)
  t.equal(refused(again, 'over'), 'sasl/out-of-order')
  t.equal(refused(handleCommand(again.next, message(next), server), 'over'), 'sasl/out-of-order')
  const between = handleCommand(challenged, message({ ping: 1 }), server)
  t.equal(refused(handleCommand(between.next, message(next), server), 'over'), 'sasl/out-of-order')
})

t.test('each conversation draws its own nonce and its own host', async t => {
  const drawn = { nonces: 0, hosts: 0 }
  const counting = {
    ...server,
    random: (bytes: number) => Buffer.alloc(bytes, ++drawn.nonces),
    stsHost: () => `sts.region-${++drawn.hosts}.amazonaws.com`,
  }
  handleCommand(initialState, message({ hello: 1 }), counting)
  handleCommand(initialState, message({ ping: 1 }), counting)
  const challenges = [1, 2].map(() => {
    const { next } = handleCommand(initialState, message(start), counting)
    return next.at === 'challenged' ? [next.challenge.nonce.toString('hex'), next.challenge.host] : []
  })
  t.same(
    challenges,
    [1, 2].map(nth => ['01'.repeat(32) + `0${nth}`.repeat(32), `sts.region-${nth}.amazonaws.com`]),
  )
})

t.test('buildInfo is what the upstream said of itself, or that it is away', async t => {
  const turn = handleCommand(initialState, message({ buildInfo: 1 }), server)
  t.match(turn, { do: 'reply', document: { version: '7.0.12', ok: { value: 1 } } })
  const none = handleCommand(initialState, message({ buildInfo: 1 }), { ...server, buildInfo: () => undefined })
  t.equal(refused(none, 'start'), 'upstream/unreachable')
})
