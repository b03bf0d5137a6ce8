import { type Document, Double, Int32, Long, ObjectId } from 'bson'
import fc from 'fast-check'
import t from 'tap'
import {
  describesSameServer,
  describeTopology,
  type TopologyDescription,
  type TopologyHistory,
} from '../../src/upstream/topologyDescription.js'
import { memberHello } from '../support/scriptedUpstream.js'

const nothing: TopologyHistory = {
  setName: undefined,
  maxElection: undefined,
  lastPrimary: undefined,
  termKey: undefined,
}
const all = ['a:1', 'b:2', 'c:3']
const election = (n: number) => new ObjectId(`7fffffff00000000000000${n.toString(16).padStart(2, '0')}`)

/** The hello of a secondary, with changes. */
const member = (me: string, changes: Document = {}): Document =>
  memberHello({
    hosts: all,
    me,
    primary: undefined,
    isWritablePrimary: false,
    secondary: true,
    electionId: undefined,
    ...changes,
  })
const primary = (me: string, n: number, changes: Document = {}): Document =>
  member(me, { isWritablePrimary: true, secondary: false, primary: me, electionId: election(n), ...changes })
const standalone = (changes: Document = {}): Document => {
  const { hosts: _h, setName: _s, me: _m, primary: _p, electionId: _e, setVersion: _v, ...rest } = memberHello(changes)
  return rest
}

type Hellos = Record<string, Document | undefined>
const after = (before: TopologyHistory, hellos: Hellos, seeds = all): TopologyDescription =>
  describeTopology(new Map(Object.entries(hellos)), before, seeds, false)
/** The description after these situations, one after the other. */
const through = (...situations: Hellos[]): TopologyDescription =>
  situations.reduce<TopologyDescription>((before, hellos) => after(before.history, hellos), after(nothing, {}))

const secondaries = { 'b:2': member('b:2'), 'c:3': member('c:3') }
const healthy = { 'a:1': primary('a:1', 1), ...secondaries }

type Row = {
  of: TopologyDescription
  type?: TopologyDescription['type']
  primary: string | undefined
  helloSource: string | undefined
  monitored?: string[]
}
const situations: Record<string, Row> = {
  'no member has answered': { of: through({}), type: 'unknown', primary: undefined, helloSource: undefined },
  'a primary': { of: through(healthy), primary: 'a:1', helloSource: 'a:1' },
  'secondaries answer first: the first by address is shown': {
    of: through(secondaries),
    primary: undefined,
    helloSource: 'b:2',
  },
  'the primary is unreachable: there is none, and another member is shown': {
    of: through(healthy, { ...healthy, 'a:1': undefined }),
    primary: undefined,
    helloSource: 'b:2',
  },
  'the primary steps down: there is none, and it is still shown': {
    of: through(healthy, { ...healthy, 'a:1': member('a:1') }),
    primary: undefined,
    helloSource: 'a:1',
  },
  'another is elected': {
    of: through(healthy, { ...healthy, 'b:2': primary('b:2', 2) }),
    primary: 'b:2',
    helloSource: 'b:2',
  },
  'two members claim to be the primary: the later election wins': {
    of: through({ ...healthy, 'c:3': primary('c:3', 3), 'b:2': primary('b:2', 2) }),
    primary: 'c:3',
    helloSource: 'c:3',
  },
  'a primary of an earlier election is stale, even if the later one is gone': {
    of: through({ ...healthy, 'b:2': primary('b:2', 2) }, { 'a:1': primary('a:1', 1), 'b:2': undefined }),
    primary: undefined,
    helloSource: 'a:1',
  },
  'the set is reconfigured within one election': {
    of: through(healthy, { ...healthy, 'a:1': primary('a:1', 1, { setVersion: new Int32(2) }) }),
    primary: 'a:1',
    helloSource: 'a:1',
  },
  'from wire version 17 on electionId counts before setVersion': {
    of: through(
      { ...healthy, 'a:1': primary('a:1', 1, { setVersion: new Int32(9) }) },
      { ...healthy, 'a:1': undefined, 'b:2': primary('b:2', 2, { setVersion: new Int32(8) }) },
    ),
    primary: 'b:2',
    helloSource: 'b:2',
  },
  'before wire version 17 setVersion counts first': {
    of: through(
      { ...healthy, 'a:1': primary('a:1', 1, { setVersion: new Int32(9) }) },
      { ...healthy, 'a:1': undefined, 'b:2': primary('b:2', 2, { setVersion: new Int32(8), maxWireVersion: 16 }) },
    ),
    primary: undefined,
    helloSource: 'b:2',
  },
  'a claim without an election, after an election, is stale': {
    of: through(healthy, { ...secondaries, 'a:1': primary('a:1', 1, { electionId: undefined }) }),
    primary: undefined,
    helloSource: 'a:1',
  },
  'a claim without an election, before any election, is valid': {
    of: through({ ...secondaries, 'a:1': primary('a:1', 1, { electionId: undefined }) }),
    primary: 'a:1',
    helloSource: 'a:1',
  },
  'a member of another set is ignored': {
    of: through(healthy, { ...secondaries, 'a:1': primary('a:1', 5, { setName: 'other' }) }),
    primary: undefined,
    helloSource: 'b:2',
  },
  'a standalone among the seeds of a set is ignored': {
    of: through({ 'a:1': standalone() }),
    type: 'unknown',
    primary: undefined,
    helloSource: undefined,
  },
  'a member is added and another removed: the list of the primary is monitored': {
    of: through({ ...healthy, 'a:1': primary('a:1', 1, { hosts: ['a:1', 'B:2'], passives: ['d:4'] }) }),
    primary: 'a:1',
    helloSource: 'a:1',
    monitored: ['a:1', 'b:2', 'd:4'],
  },
  'without a primary all addresses that any member lists are monitored': {
    of: through({ ...secondaries, 'b:2': member('b:2', { hosts: ['b:2', 'e:5'] }) }),
    primary: undefined,
    helloSource: 'b:2',
    monitored: ['a:1', 'b:2', 'c:3', 'e:5'],
  },
  'a primary that is reached under a name outside of its own list: the list is monitored, and there is no primary yet':
    {
      of: after(nothing, { 'seed:9': primary('a:1', 1) }, ['seed:9']),
      primary: undefined,
      helloSource: 'seed:9',
      monitored: ['a:1', 'b:2', 'c:3', 'seed:9'],
    },
  'once a listed member is the primary, a seed under another name is dropped': {
    of: after(nothing, { ...healthy, 'seed:9': primary('a:1', 1) }, ['seed:9']),
    primary: 'a:1',
    helloSource: 'a:1',
  },
  'a standalone at one address': {
    of: after(nothing, { 'a:1': standalone() }, ['a:1']),
    type: 'standalone',
    primary: 'a:1',
    helloSource: 'a:1',
    monitored: ['a:1'],
  },
  'a replica set with one seed': {
    of: after(nothing, { 'a:1': primary('a:1', 1) }, ['a:1']),
    primary: 'a:1',
    helloSource: 'a:1',
  },
  'a member that has not joined a set yet': {
    of: after(nothing, { 'a:1': standalone({ isWritablePrimary: false, isreplicaset: true }) }, ['a:1']),
    type: 'standalone',
    primary: undefined,
    helloSource: 'a:1',
    monitored: ['a:1'],
  },
  'a standalone is ignored if the connection string names a replica set': {
    of: after({ ...nothing, setName: 'rs0' }, { 'a:1': standalone() }, ['a:1']),
    type: 'unknown',
    primary: undefined,
    helloSource: undefined,
    monitored: ['a:1'],
  },
  'single: the one address, whatever its hello says': {
    of: describeTopology(new Map([['a:1', member('b:2')]]), nothing, ['a:1'], true),
    type: 'standalone',
    primary: 'a:1',
    helloSource: 'a:1',
    monitored: ['a:1'],
  },
}
for (const [situation, { of, type = 'set', primary, helloSource, monitored = all }] of Object.entries(situations)) {
  t.test(situation, async t => {
    const { history: _, ...standing } = of
    t.same(standing, { type, primary, helloSource, monitored })
  })
}

t.test('a term lasts while its primary may still be the primary', async t => {
  const first = through(healthy).history.termKey
  t.ok(first)
  const next = (hellos: Hellos) => through(healthy, { ...healthy, ...hellos }).history.termKey
  t.equal(next({}), first)
  t.equal(next({ 'a:1': undefined }), first, 'an unreachable primary keeps its term')
  t.equal(next({ 'a:1': primary('a:1', 1, { setVersion: new Int32(2) }) }), first, 'so does a reconfigured set')
  t.equal(next({ 'a:1': member('a:1') }), undefined, 'it steps down')
  t.equal(next({ 'a:1': standalone() }), undefined)
  t.not(next({ 'b:2': primary('b:2', 2) }), first, 'a later election')
  t.not(next({ 'a:1': primary('a:1', 2) }), first, 'a second election of the same member')
  const removed = through(
    healthy,
    { ...healthy, 'a:1': undefined },
    { 'b:2': primary('b:2', 2, { hosts: ['b:2', 'c:3'] }) },
  )
  t.match(removed, { primary: 'b:2', monitored: ['b:2', 'c:3'] })
  t.not(removed.history.termKey, first, 'it was removed from the set')
  const back = through(healthy, { ...healthy, 'a:1': undefined }, healthy)
  t.equal(back.history.termKey, first, 'the same election after an outage')
})

t.test('a list of members is bounded, and entries that are not addresses are left out', async t => {
  const hosts = Array.from({ length: 100_000 }, (_, at) => `h${at}:1`)
  for (const hello of [
    primary('a:1', 1, { hosts: ['a:1', ...hosts], passives: hosts }),
    member('a:1', { hosts: [...hosts, 'a:1'], passives: hosts }),
  ]) {
    const { monitored } = through({ 'a:1': hello, 'b:2': undefined })
    t.ok(monitored.length <= 50)
    t.ok(monitored.includes('a:1'), 'known members come first')
  }
  const odd = ['a:1', '', 'x:0', 'x:70000', '[::1', 'a b:1', '169.254.169.254:80/latest', new Int32(1), null, { a: 1 }]
  t.same(through({ 'a:1': primary('a:1', 1, { hosts: odd }) }).monitored, ['a:1'])
  t.same(through({ 'a:1': primary('a:1', 1, { hosts: 'a:1' }) }).primary, undefined)
})

t.test('equal hellos give an equal description', async t => {
  const says = (me: string) =>
    fc.constantFrom(
      undefined,
      member(me),
      primary(me, 1),
      primary(me, 2),
      primary(me, 1, { setVersion: new Int32(9), maxWireVersion: new Int32(13) }),
      primary(me, 3, { hosts: [me, 'd:4'] }),
      member(me, { hosts: ['a:1', 'e:5'] }),
      member(me, { setName: 'other' }),
      standalone(),
    )
  const situation = fc.record({ 'a:1': says('a:1'), 'b:2': says('b:2'), 'c:3': says('c:3') })
  fc.assert(
    fc.property(
      fc.array(situation, { minLength: 1, maxLength: 4 }),
      fc.constantFrom(all, ['a:1']),
      (several, seeds) => {
        const describe = (before: TopologyDescription, hellos: Hellos) => after(before.history, hellos, seeds)
        const once = several.reduce(describe, after(nothing, {}, seeds))
        t.same(describe(once, several.at(-1) as Hellos), once)
      },
    ),
    { numRuns: 500 },
  )
})

t.test('describesSameServer compares the relevant fields with their types, and ignores the others', async t => {
  const hello = primary('a:1', 1, { passives: ['d:4'] })
  t.equal(
    describesSameServer(
      { ...primary('a:1', 1, { passives: ['d:4'] }), localTime: new Date(0), tags: { a: 'b' } },
      hello,
    ),
    true,
  )
  for (const change of [
    { setName: 'other' },
    { isWritablePrimary: false },
    { ismaster: false },
    { hosts: ['a:1', 'c:3', 'b:2'] },
    { hosts: ['a:1', 'b:2'] },
    { hosts: 'a:1' },
    { passives: undefined },
    { electionId: election(2) },
    { electionId: undefined },
    { electionId: 'x' },
    { setVersion: new Int32(8) },
    { setVersion: Long.fromNumber(1) },
    { maxWireVersion: new Double(17) },
    { maxWireVersion: Number.NaN },
  ]) {
    t.equal(describesSameServer({ ...hello, ...change }, hello), false, JSON.stringify(change))
    t.equal(describesSameServer(hello, { ...hello, ...change }), false)
  }
})
