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
import { type FaultKind, toReply } from '../../src/errors.js'
import { Framer, OP_MSG, OP_QUERY, writeFrame } from '../../src/wire/frame.js'
import { type Command, EXHAUST_ALLOWED, MORE_TO_COME, readCommand, writeMessage } from '../../src/wire/message.js'
import { createFault, faultOf } from '../support/faults.js'

const context: HandshakeContext = {
  stsHost: () => 'sts.eu-west-1.amazonaws.com',
  random: bytes => Buffer.alloc(bytes, 0xee),
  buildInfo: () => ({ version: '7.0.12' }),
  assertSessionSlotFree() {},
}
const first = serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) })
const final = serialize({ a: 'AWS4-HMAC-SHA256 …', d: '20260813T120000Z' })
const driver = { driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' } }

const start = { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(first), $db: '$external' }
const next = { saslContinue: 1, conversationId: 1, payload: new Binary(final), $db: '$external' }

const readOne = (bytes: Buffer): Command => readCommand([...new Framer(100_000).push(bytes)][0] as never)
/** A command in an OP_MSG. */
const message = ({ $db = 'admin', ...document }: Document, flagBits = 0) =>
  readOne(writeMessage({ ...document, $db }, 7, 0, flagBits))
/** A command in an OP_QUERY. */
const query = (document: Document, db = 'admin') => {
  const fields = Buffer.alloc(8)
  fields.writeInt32LE(-1, 4)
  return readOne(
    writeFrame(OP_QUERY, 7, 0, [Buffer.alloc(4), Buffer.from(`${db}.$cmd\0`), fields, serialize(document)]),
  )
}
const challenged = handleCommand(initialState, message(start), context).next
const proving = handleCommand(challenged, message(next), context).next
const states: Record<string, State> = {
  start: initialState,
  challenged,
  proving,
  admitted: { at: 'admitted' },
  closed: { at: 'closed' },
}

/** One line for an action: what it does and the next state. */
const describe = (action: Action) => `${action.do === 'refuse' ? action.fault.kind : action.do} → ${action.next.at}`
/** The fault of a refusal with this next state; otherwise a description of the action. */
const refusal = (action: Action, at: State['at']): FaultKind | string =>
  action.do === 'refuse' && action.next.at === at ? action.fault.kind : describe(action)
/** Asserts what an action does. */
const expectAction = <What extends Action['do']>(what: What, action: Action): Action & { do: What } => {
  if (action.do !== what) throw new Error(describe(action))
  return action as Action & { do: What }
}
const hello = (document: Document, state = initialState) =>
  handleCommand(state, message({ hello: 1, ...document }), context)

t.test('each state accepts its own commands', async t => {
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
  for (const [command, expected] of table) {
    for (const [at, state] of Object.entries(states)) {
      const label = `${Object.keys(command)[0]} at ${at}`
      t.equal(
        describe(handleCommand(state, message(command), context)),
        expected[at] ?? 'sasl/out-of-order → closed',
        label,
      )
    }
  }
})

t.test('an unknown command is refused, even if every JavaScript object has a property of its name', async t => {
  for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'HELLO', 'hello ', 'saslstart', '0']) {
    const element = Buffer.concat([Buffer.from([0x10]), Buffer.from(`${name}\0`), Buffer.from([1, 0, 0, 0])])
    const db = Buffer.from('\x02$db\0\x06\0\0\0admin\0\0', 'latin1')
    const length = Buffer.alloc(4)
    length.writeInt32LE(4 + element.length + db.length)
    const command = readOne(writeFrame(OP_MSG, 7, 0, [Buffer.alloc(5), length, element, db]))
    t.equal(command.name, name)
    const action = handleCommand(initialState, command, context)
    t.match(action, { do: 'refuse', fault: { kind: 'command/unauthorized' }, next: initialState }, name)
    for (const state of [challenged, proving])
      t.equal(refusal(handleCommand(state, command, context), 'closed'), 'sasl/out-of-order')
  }
})

t.test('the reply to saslStart has the one shape that every driver accepts, byte for byte', async t => {
  for (const command of [message(start), query({ ...start, $db: undefined }, '$external')]) {
    const action = expectAction('reply', handleCommand(initialState, command, context))
    const nonce = Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32, 0xee)])
    const payload = Buffer.from(serialize({ s: new Binary(nonce), h: context.stsHost() }))
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
    t.equal(Buffer.from(serialize(action.document)).subarray(4, -1).toString('hex'), elements.toString('hex'))
    t.match(action.next, { at: 'challenged', challenge: { nonce, host: context.stsHost() } })
  }
  t.equal(readPayloadTypes(), 's:5 h:2')
})

/** Names and BSON types of server-first, in order. */
function readPayloadTypes(): string {
  const action = handleCommand(initialState, message(start), context)
  const { payload } = expectAction('reply', action).document
  return [...BSON.onDemand.parseToElements(payload.value())]
    .map(([type, at, length]) => `${Buffer.from(payload.value()).toString('latin1', at, at + length)}:${type}`)
    .join(' ')
}

t.test('the last reply has the same shape, is done and has an empty payload', async t => {
  const action = expectAction('reply', finishLogin(proving))
  const elements =
    '\x10conversationId\0\x01\0\0\0' + '\x08done\0\x01' + '\x05payload\0\0\0\0\0\0' + '\x01ok\0\0\0\0\0\0\0\xf0\x3f'
  t.equal(Buffer.from(serialize(action.document)).toString('latin1', 4), `${elements}\0`)
  t.same(action.next, { at: 'admitted' })
})

t.test('a login is finished once, and only while its proof is being verified', async t => {
  const fault = faultOf(() => readCommand({ requestID: 1, responseTo: 0, opCode: 99, bytes: Buffer.alloc(16) }))
  const action = finishLogin(proving, fault)
  t.match(action, { do: 'refuse', next: { at: 'closed' } })
  t.equal(expectAction('refuse', action).fault, fault)
  for (const at of ['start', 'challenged', 'admitted', 'closed'] as const) {
    t.equal(refusal(finishLogin(states[at] as State), 'closed'), 'internal', at)
    t.equal(refusal(finishLogin(states[at] as State, fault), 'closed'), 'internal', at)
  }
})

t.test('a message that wants no reply closes the conversation', async t => {
  for (const command of [{ hello: 1 }, { ping: 1 }, start, { find: 'c' }]) {
    t.equal(
      refusal(handleCommand(initialState, message(command, MORE_TO_COME), context), 'closed'),
      'message/malformed',
    )
  }
  t.equal(refusal(handleCommand(challenged, message(next, MORE_TO_COME), context), 'closed'), 'message/malformed')
  const endSessions = message({ endSessions: [], $db: 'admin' }, MORE_TO_COME)
  t.equal(
    refusal(handleCommand(initialState, endSessions, context), 'closed'),
    'login/abandoned',
    'which a driver sends before it closes',
  )
})

t.test('a hello is parsed into its form', async t => {
  t.match(hello({}), { do: 'hello', request: { legacy: false, helloOk: false } })
  t.match(hello({ helloOk: true }), { request: { helloOk: true } })
  for (const name of ['isMaster', 'ismaster']) {
    t.match(handleCommand(initialState, query({ [name]: 1, helloOk: true }), context), {
      request: { legacy: true, helloOk: true },
    })
    t.match(handleCommand(initialState, query({ $query: { [name]: 1 } }), context), {
      request: { legacy: true, helloOk: false },
    })
  }
  t.same(expectAction('hello', hello({})).request, { legacy: false, helloOk: false }, 'it is not awaitable')
})

t.test('optional fields of a hello change nothing', async t => {
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
    handleCommand(initialState, message({ hello: 1 }, EXHAUST_ALLOWED), context),
    bare,
    'a stream is allowed but not requested',
  )
})

t.test('an awaitable hello has a topology version, with its BSON types, and a time', async t => {
  const topologyVersion = { processId: new ObjectId(), counter: Long.fromString('9007199254740993') }
  for (const maxAwaitTimeMS of [10_000, new Double(10_000), Long.fromNumber(10_000)]) {
    const { awaiting } = expectAction('hello', hello({ topologyVersion, maxAwaitTimeMS })).request
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
    const action = hello(half)
    t.equal(refusal(action, 'start'), 'hello/await-invalid', JSON.stringify(half))
  }
})

t.test('the client document and the API version are passed to the login', async t => {
  const introduced = hello({ client: driver, apiVersion: '1', apiStrict: true }).next
  t.match(introduced, { at: 'start', client: { metadata: driver, apiVersion: '1' } })
  const challengedWithInfo = handleCommand(introduced, message({ ...start, apiVersion: '1' }), context).next
  const action = handleCommand(challengedWithInfo, message(next), context)
  t.match(action, { do: 'prove', client: { metadata: driver, apiVersion: '1' }, fields: { d: '20260813T120000Z' } })
  t.match(handleCommand(initialState, message({ ...start, apiVersion: '1' }), context).next, {
    client: { apiVersion: '1' },
  })
  t.notMatch(hello({ apiVersion: 1 }).next, { client: { apiVersion: 1 } }, 'a version must be a string')
  t.same(hello({ apiVersion: 'x'.repeat(16) }).next, initialState, 'and be short')
})

t.test('the BSON types of a client document are preserved', async t => {
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
    t.equal(refusal(hello({ client }), 'start'), 'hello/metadata-invalid', JSON.stringify(client))
  }
})

t.test('a refusal has the text of mongod where drivers compare it', async t => {
  const textOf = (action: Action) =>
    action.do === 'refuse' ? `${toReply(action.fault, 7)?.code} ${toReply(action.fault, 7)?.errmsg}` : action.do
  const challenged = handleCommand(initialState, message(start), context).next
  const metadata = 'in the client metadata document'
  for (const [action, text] of [
    [
      handleCommand(challenged, message({ ...next, conversationId: 999 }), context),
      '17 sasl: Mismatched conversation id',
    ],
    [handleCommand(initialState, message(next), context), '17 No SASL session state found'],
    [
      handleCommand(challenged, message({ ...next, $db: 'admin' }), context),
      '17 Attempt to switch database target during SASL authentication.',
    ],
    [handleCommand(initialState, message({ find: 'c' }), context), '13 Command find requires authentication'],
    [
      handleCommand(initialState, message({ ...start, mechanism: 'PLAIN' }), context),
      '334 Received authentication for mechanism PLAIN which is not enabled; use MONGODB-AWS',
    ],
    [hello({ client: {} }), `183 Missing required sub-document 'driver' ${metadata}`],
    [hello({ client: { driver: {}, os: driver.os } }), `183 Missing required field 'driver.name' ${metadata}`],
    [hello({ client: { driver: driver.driver } }), `183 Missing required sub-document 'os' ${metadata}`],
    [hello({ client: { ...driver, os: { type: 1 } } }), `183 The 'os.type' field must be a string ${metadata}`],
    // What the test suite of the Node.js driver sends.
    [
      hello({ client: { driver: { name: 'a'.repeat(1000) } } }),
      '185 The client metadata document must be less then or equal to 512 bytes',
    ],
    [hello({ maxAwaitTimeMS: 1 }), "51760 A request with 'maxAwaitTimeMS' must include a 'topologyVersion'"],
    [hello({ topologyVersion: {} }), "51760 A request with a 'topologyVersion' must include 'maxAwaitTimeMS'"],
  ] as const) {
    t.equal(textOf(action), `${text} (connection 7)`)
  }
})

t.test('an application name of 128 bytes is accepted, one of 129 is refused with 184', async t => {
  t.equal(hello({ client: { ...driver, application: { name: 'ü'.repeat(64) } } }).do, 'hello')
  t.equal(
    refusal(hello({ client: { ...driver, application: { name: `${'ü'.repeat(64)}x` } } }), 'start'),
    'hello/app-name-too-long',
  )
})

t.test('a client document of 512 bytes is accepted, one of 513 is refused with 185', async t => {
  const base = BSON.calculateObjectSize({ ...driver, platform: '' })
  const sized = (size: number) => hello({ client: { ...driver, platform: 'x'.repeat(size - base) } })
  t.equal(sized(512).do, 'hello')
  t.equal(refusal(sized(513), 'start'), 'hello/metadata-too-large')
})

t.test('a second client document is refused with 186, and the first one is kept', async t => {
  const { next } = hello({ client: driver })
  const action = hello({ client: driver }, next)
  t.equal(refusal(action, 'start'), 'hello/metadata-repeated')
  t.equal(action.next, next)
  t.equal(hello({}, next).do, 'hello', 'a hello without one is accepted')
})

t.test('an unsupported mechanism is refused by name, and another may be tried', async t => {
  for (const mechanism of ['SCRAM-SHA-256', 'MONGODB-X509', 'PLAIN', 'mongodb-aws', '', undefined, 1, null]) {
    const action = handleCommand(initialState, message({ ...start, mechanism }), context)
    t.equal(refusal(action, 'start'), 'sasl/mechanism-unavailable', String(mechanism))
  }
  const action = expectAction(
    'refuse',
    handleCommand(initialState, message({ ...start, mechanism: 'évil\n\x1b[31m'.repeat(99) }), context),
  )
  t.match(action.fault.message, /^[\x20-\x7e]{1,200}$/)
  t.equal(
    refusal(handleCommand(initialState, message({ ...start, $db: 'admin' }), context), 'start'),
    'sasl/mechanism-unavailable',
  )
})

t.test('a mechanism that cannot be converted to text is refused like any other', async t => {
  for (const mechanism of [{ toString: 1, valueOf: 1 }, [{ toString: 'x' }], new Binary(Buffer.alloc(9))]) {
    const action = handleCommand(initialState, message({ ...start, mechanism }), context)
    t.equal(refusal(action, 'start'), 'sasl/mechanism-unavailable')
  }
})

t.test('a payload that is not the document of its step closes the conversation', async t => {
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
      refusal(handleCommand(initialState, message({ ...start, payload }), context), 'closed'),
      'sasl/payload-invalid',
    )
  }
  for (const payload of [undefined, 'text', new Binary(final, 5), new Binary(first), new Binary(Buffer.alloc(5))]) {
    t.equal(
      refusal(handleCommand(challenged, message({ ...next, payload }), context), 'closed'),
      'sasl/payload-invalid',
    )
  }
})

t.test('saslContinue must belong to its conversation', async t => {
  for (const conversationId of [0, 2, -1, '1', true, undefined, null]) {
    t.equal(
      refusal(handleCommand(challenged, message({ ...next, conversationId }), context), 'closed'),
      'sasl/out-of-order',
    )
  }
  t.equal(
    refusal(handleCommand(challenged, message({ ...next, $db: 'admin' }), context), 'closed'),
    'sasl/out-of-order',
  )
})

t.test('a closed conversation cannot be resumed', async t => {
  const again = handleCommand(challenged, message(start), context)
  t.equal(refusal(again, 'closed'), 'sasl/out-of-order')
  t.equal(refusal(handleCommand(again.next, message(next), context), 'closed'), 'sasl/out-of-order')
  const between = handleCommand(challenged, message({ ping: 1 }), context)
  t.equal(refusal(handleCommand(between.next, message(next), context), 'closed'), 'sasl/out-of-order')
})

t.test('each conversation gets its own nonce and its own host', async t => {
  const drawn = { nonces: 0, hosts: 0 }
  const counting = {
    ...context,
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

t.test('buildInfo is the reply of the upstream, or says that it is unreachable', async t => {
  const action = handleCommand(initialState, message({ buildInfo: 1 }), context)
  t.match(action, { do: 'reply', document: { version: '7.0.12', ok: { value: 1 } } })
  const none = handleCommand(initialState, message({ buildInfo: 1 }), { ...context, buildInfo: () => undefined })
  t.equal(refusal(none, 'start'), 'upstream/unreachable')
})

t.test('saslStart is refused with a fault that can be retried if no session slot is free', async t => {
  const full = {
    ...context,
    assertSessionSlotFree() {
      throw createFault('login/session-limit')
    },
  }
  t.match(handleCommand(initialState, message(start), full), {
    do: 'refuse',
    fault: { kind: 'login/session-limit' },
    next: { at: 'closed' },
  })
  const other = { saslStart: 1, mechanism: 'SCRAM-SHA-256', $db: 'admin' }
  t.match(handleCommand(initialState, message(other), full), { fault: { kind: 'sasl/mechanism-unavailable' } })
  t.match(handleCommand(initialState, message({ hello: 1 }), full), { do: 'hello' }, 'monitors are served')
})
