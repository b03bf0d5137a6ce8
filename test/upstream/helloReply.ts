import { type Document, Double, Int32, Long, ObjectId, Timestamp } from 'bson'
import fc from 'fast-check'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import {
  buildHelloReply,
  isNewTopologyVersion,
  presentAsSingleMemberSet,
  readTopologyVersion,
  validateHello,
} from '../../src/upstream/helloReply.js'
import { faultOf } from '../support/faults.js'
import { memberHello } from '../support/scriptedUpstream.js'

const asked = { legacy: false, helloOk: false }
const ours = { connectionId: 12, now: new Date(2e12) }
const shown = (changes: Document = {}, more = {}) => buildHelloReply(memberHello(changes), { ...asked, ...more }, ours)
const refused = (changes: Document) => faultOf(() => shown(changes))?.kind

t.test('the fields of the upstream pass with their types, and ours replace what is of a connection', async t => {
  const hello = shown()
  t.same(hello, { ...memberHello(), connectionId: new Int32(12), localTime: ours.now, ok: new Double(1) })
  t.ok(Long.isLong(hello.topologyVersion.counter))
  t.ok(hello.lastWrite.opTime.ts instanceof Timestamp)
  t.ok(hello.maxWireVersion instanceof Int32)
})

t.test('writable is called as it was asked, and helloOk is said to whoever asked', async t => {
  const legacy = shown({}, { legacy: true, helloOk: true })
  t.match(legacy, { helloOk: true, ismaster: true, isWritablePrimary: undefined })
  t.equal(Object.keys(legacy)[0], 'helloOk')
  t.match(shown({ isWritablePrimary: undefined, ismaster: false }), { isWritablePrimary: false })
  t.notOk('helloOk' in shown({ helloOk: true }))
})

t.test('what is not on the list stays here', async t => {
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
  t.same(Object.keys(shown(more)), Object.keys(shown()))
  t.same(shown({ lastWrite: { lastWriteDate: new Date(1e12), extra: 1 } }).lastWrite, { lastWriteDate: new Date(1e12) })
})

t.test('a standalone and a mongos are shown as such', async t => {
  const set = ['hosts', 'setName', 'setVersion', 'secondary', 'primary', 'me', 'electionId', 'lastWrite']
  const bare = Object.fromEntries(set.map(name => [name, undefined]))
  t.same(Object.keys(shown(bare)), [
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
  t.equal(shown({ ...bare, msg: 'isdbgrid' }).msg, 'isdbgrid')
})

const lies: Record<string, Document> = {
  'endless hosts': { hosts: Array.from({ length: 101 }, (_, at) => `h${at}:1`) },
  'an endless host': { hosts: ['h'.repeat(513)] },
  'a host that is no text': { hosts: [new Int32(1)] },
  'hosts that are no list': { hosts: { length: 1 } },
  'an endless set name': { setName: 'x'.repeat(513) },
  'endless tags': { tags: Object.fromEntries(Array.from({ length: 101 }, (_, at) => [`t${at}`, 'x'])) },
  'an endless tag': { tags: { dc: 'x'.repeat(513) } },
  'tags within tags': { tags: { dc: { a: 'b' } } },
  'a counter that is no int64': { topologyVersion: { processId: new ObjectId(), counter: new Int32(6) } },
  'a topology version without a process': { topologyVersion: { counter: Long.fromNumber(6) } },
  'writable as text': { isWritablePrimary: 'yes' },
  'not a word about writable': { isWritablePrimary: undefined },
  'no wire version': { maxWireVersion: undefined },
  'a wire version of text': { maxWireVersion: '25' },
  'a broken number': { maxBsonObjectSize: new Double(Number.NaN) },
  'an election of text': { electionId: 'x' },
}
for (const [lie, changes] of Object.entries(lies)) {
  t.test(`refused: ${lie}`, async t => t.equal(refused(changes), 'upstream/protocol-error'))
}

t.test('whatever the upstream says gives an answer or a malformed upstream', async () => {
  const value = fc.oneof(fc.anything(), fc.constant(Long.ONE), fc.constant(new ObjectId()), fc.constant(new Date(0)))
  const field = fc.constantFrom(...Object.keys(memberHello()), 'tags', 'passives', 'msg', 'ismaster')
  fc.assert(
    fc.property(fc.dictionary(field, value), changes => {
      const thrown = faultOf(() => shown(changes))
      return thrown === undefined || (thrown instanceof Fault && thrown.kind === 'upstream/protocol-error')
    }),
    { numRuns: 500 },
  )
})

t.test('news are another process or a later change', async t => {
  const version = readTopologyVersion(memberHello())
  if (!version) throw new Error('a member has a topology version')
  const { processId, counter } = version
  t.equal(isNewTopologyVersion(version, version), false)
  t.equal(isNewTopologyVersion(version, { processId, counter: counter.sub(1) }), true)
  t.equal(isNewTopologyVersion(version, { processId, counter: counter.add(1) }), false)
  t.equal(isNewTopologyVersion(version, { processId: new ObjectId(), counter: counter.add(1) }), true)
  t.equal(isNewTopologyVersion(undefined, version), true)
  t.equal(readTopologyVersion({}), undefined)
})

t.test('a member is shown as a set of its own, at the address that clients reach', async t => {
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
  const shown = buildHelloReply(presentAsSingleMemberSet(hello, { address, primary: true }), asked, ours)
  t.same(shown, {
    ...buildHelloReply(memberHello({ tags: { dc: 'x' } }), asked, ours),
    hosts: [address],
    me: address,
    primary: address,
  })
  t.notMatch(JSON.stringify(shown), /"[abc]:[123]"/)
  for (const name of ['electionId', 'setVersion', 'setName', 'topologyVersion', 'lastWrite']) {
    t.equal(shown[name] === undefined, false, name)
    t.same(shown[name], hello[name])
  }
})

t.test('without a primary it is neither primary nor secondary, and still of the set', async t => {
  for (const role of [{ isWritablePrimary: true }, { isWritablePrimary: undefined, ismaster: true, secondary: true }]) {
    for (const legacy of [true, false]) {
      const hello = presentAsSingleMemberSet(memberHello({ ...role, primary: 'b:2' }), {
        address: 'p:1',
        primary: false,
      })
      const shown = buildHelloReply(hello, { ...asked, legacy }, ours)
      t.match(shown, { secondary: false, setName: 'rs0', hosts: ['p:1'], me: 'p:1', primary: undefined })
      t.equal(legacy ? shown.ismaster : shown.isWritablePrimary, false)
    }
  }
})

t.test('a hello is vetted as it is when it is shown', async t => {
  const hello = memberHello()
  t.equal(validateHello(hello), hello)
  t.equal(faultOf(() => validateHello(memberHello({ hosts: 'a:1' })))?.kind, 'upstream/protocol-error')
})
