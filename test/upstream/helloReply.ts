import { type Document, Double, Int32, Long, ObjectId, Timestamp } from 'bson'
import fc from 'fast-check'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import { buildHelloReply, presentAsSingleMemberSet, validateHello } from '../../src/upstream/helloReply.js'
import { faultOf } from '../support/faults.js'
import { memberHello } from '../support/scriptedUpstream.js'

const form = { legacy: false, helloOk: false }
const proxyFields = { connectionId: 12, now: new Date(2e12) }
const reply = (changes: Document = {}, more = {}) =>
  buildHelloReply(memberHello(changes), { ...form, ...more }, proxyFields)
const faultKindOf = (changes: Document) => faultOf(() => reply(changes))?.kind

t.test('fields keep their BSON types, and the fields of a connection get the values of the proxy', async t => {
  const hello = reply()
  t.same(hello, { ...memberHello(), connectionId: new Int32(12), localTime: proxyFields.now, ok: new Double(1) })
  t.ok(Long.isLong(hello.topologyVersion.counter))
  t.ok(hello.lastWrite.opTime.ts instanceof Timestamp)
  t.ok(hello.maxWireVersion instanceof Int32)
})

t.test('the name of the writable field follows the command, and helloOk is sent on request', async t => {
  const legacy = reply({}, { legacy: true, helloOk: true })
  t.match(legacy, { helloOk: true, ismaster: true, isWritablePrimary: undefined })
  t.equal(Object.keys(legacy)[0], 'helloOk')
  t.match(reply({ isWritablePrimary: undefined, ismaster: false }), { isWritablePrimary: false })
  t.notOk('helloOk' in reply({ helloOk: true }))
})

t.test('a field that is not on the allow-list is left out', async t => {
  const more = {
    $clusterTime: { clusterTime: new Timestamp({ t: 1, i: 1 }) },
    operationTime: new Timestamp({ t: 1, i: 1 }),
    compression: ['zlib'],
    saslSupportedMechs: ['SCRAM-SHA-256'],
    speculativeAuthenticate: { done: false },
    serviceId: new ObjectId(),
    automationServiceDescriptor: 'x',
    somethingNew: { a: 1 },
  }
  t.same(Object.keys(reply(more)), Object.keys(reply()))
  t.same(reply({ lastWrite: { lastWriteDate: new Date(1e12), extra: 1 } }).lastWrite, { lastWriteDate: new Date(1e12) })
})

t.test('a standalone and a mongos keep their form', async t => {
  const set = ['hosts', 'setName', 'setVersion', 'secondary', 'primary', 'me', 'electionId', 'lastWrite']
  const bare = Object.fromEntries(set.map(name => [name, undefined]))
  t.same(Object.keys(reply(bare)), [
    'topologyVersion',
    'isWritablePrimary',
    'maxBsonObjectSize',
    'maxMessageSizeBytes',
    'maxWriteBatchSize',
    'localTime',
    'logicalSessionTimeoutMinutes',
    'connectionId',
    'minWireVersion',
    'maxWireVersion',
    'readOnly',
    'ok',
  ])
  t.equal(reply({ ...bare, msg: 'isdbgrid' }).msg, 'isdbgrid')
})

const invalidHellos: Record<string, Document> = {
  'too many hosts': { hosts: Array.from({ length: 101 }, (_, at) => `h${at}:1`) },
  'a host that is too long': { hosts: ['h'.repeat(513)] },
  'a host that is not a string': { hosts: [new Int32(1)] },
  'hosts that are not an array': { hosts: { length: 1 } },
  'a set name that is too long': { setName: 'x'.repeat(513) },
  'too many tags': { tags: Object.fromEntries(Array.from({ length: 101 }, (_, at) => [`t${at}`, 'x'])) },
  'a tag that is too long': { tags: { dc: 'x'.repeat(513) } },
  'nested tags': { tags: { dc: { a: 'b' } } },
  'a counter that is not an int64': { topologyVersion: { processId: new ObjectId(), counter: new Int32(6) } },
  'a topologyVersion without a processId': { topologyVersion: { counter: Long.fromNumber(6) } },
  'a string for isWritablePrimary': { isWritablePrimary: 'yes' },
  'no isWritablePrimary': { isWritablePrimary: undefined },
  'no maxWireVersion': { maxWireVersion: undefined },
  'a string for maxWireVersion': { maxWireVersion: '25' },
  'a number that is NaN': { maxBsonObjectSize: new Double(Number.NaN) },
  'a string for electionId': { electionId: 'x' },
}
for (const [problem, changes] of Object.entries(invalidHellos)) {
  t.test(`${problem} throws upstream/protocol-error`, async t =>
    t.equal(faultKindOf(changes), 'upstream/protocol-error'),
  )
}

t.test('any hello gives a reply or throws upstream/protocol-error', async () => {
  const value = fc.oneof(fc.anything(), fc.constant(Long.ONE), fc.constant(new ObjectId()), fc.constant(new Date(0)))
  const field = fc.constantFrom(...Object.keys(memberHello()), 'tags', 'passives', 'msg', 'ismaster')
  fc.assert(
    fc.property(fc.dictionary(field, value), changes => {
      const thrown = faultOf(() => reply(changes))
      return thrown === undefined || (thrown instanceof Fault && thrown.kind === 'upstream/protocol-error')
    }),
    { numRuns: 500 },
  )
})

t.test('a member is presented as a replica set of one, at the address of the proxy', async t => {
  const others = {
    passives: ['b:2'],
    arbiters: ['c:3'],
    hidden: true,
    passive: true,
    arbiterOnly: true,
    buildIndexes: false,
    slaveDelay: new Int32(1),
    secondaryDelaySecs: new Int32(1),
    tags: { dc: 'x' },
  }
  const address = 'proxy.example.com:27017'
  const hello = memberHello({ ...others, hosts: ['a:1', 'b:2'], me: 'a:1', primary: 'a:1' })
  const reply = buildHelloReply(presentAsSingleMemberSet(hello, { address, primary: true }), form, proxyFields)
  t.same(reply, {
    ...buildHelloReply(memberHello({ tags: { dc: 'x' } }), form, proxyFields),
    hosts: [address],
    me: address,
    primary: address,
  })
  t.notMatch(JSON.stringify(reply), /"[abc]:[123]"/)
  for (const name of ['electionId', 'setVersion', 'setName', 'topologyVersion', 'lastWrite']) {
    t.equal(reply[name] === undefined, false, name)
    t.same(reply[name], hello[name])
  }
})

t.test('without a primary the presented member is neither primary nor secondary, and keeps the set name', async t => {
  for (const role of [{ isWritablePrimary: true }, { isWritablePrimary: undefined, ismaster: true, secondary: true }]) {
    for (const legacy of [true, false]) {
      const hello = presentAsSingleMemberSet(memberHello({ ...role, primary: 'b:2' }), {
        address: 'p:1',
        primary: false,
      })
      const reply = buildHelloReply(hello, { ...form, legacy }, proxyFields)
      t.match(reply, { secondary: false, setName: 'rs0', hosts: ['p:1'], me: 'p:1', primary: undefined })
      t.equal(legacy ? reply.ismaster : reply.isWritablePrimary, false)
    }
  }
})

t.test('validateHello rejects what buildHelloReply rejects', async t => {
  const hello = memberHello()
  t.equal(validateHello(hello), hello)
  t.equal(faultOf(() => validateHello(memberHello({ hosts: 'a:1' })))?.kind, 'upstream/protocol-error')
})
