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

/** What a member of the set says; `changes` over that. */
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
/** Each of these situations after the one before it. */
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
  'nobody has answered': { of: through({}), type: 'unknown', primary: undefined, helloSource: undefined },
  'a primary': { of: through(healthy), primary: 'a:1', helloSource: 'a:1' },
  'the secondaries answer first: the first in order stands for the set': {
    of: through(secondaries),
    primary: undefined,
    helloSource: 'b:2',
  },
  'the primary cannot be reached: nobody is it, and another stands for the set': {
    of: through(healthy, { ...healthy, 'a:1': undefined }),
    primary: undefined,
    helloSource: 'b:2',
  },
  'it says itself that it is no more: it goes on standing for the set': {
    of: through(healthy, { ...healthy, 'a:1': member('a:1') }),
    primary: undefined,
    helloSource: 'a:1',
  },
  'another is elected': {
    of: through(healthy, { ...healthy, 'b:2': primary('b:2', 2) }),
    primary: 'b:2',
    helloSource: 'b:2',
  },
  'two claim it: the later election': {
    of: through({ ...healthy, 'c:3': primary('c:3', 3), 'b:2': primary('b:2', 2) }),
    primary: 'c:3',
    helloSource: 'c:3',
  },
  'a primary of an earlier election is none, even if the later one is gone': {
    of: through({ ...healthy, 'b:2': primary('b:2', 2) }, { 'a:1': primary('a:1', 1), 'b:2': undefined }),
    primary: undefined,
    helloSource: 'a:1',
  },
  'the set is configured anew within one election': {
    of: through(healthy, { ...healthy, 'a:1': primary('a:1', 1, { setVersion: new Int32(2) }) }),
    primary: 'a:1',
    helloSource: 'a:1',
  },
  'from wire version 17 on the election outweighs the configuration': {
    of: through(
      { ...healthy, 'a:1': primary('a:1', 1, { setVersion: new Int32(9) }) },
      { ...healthy, 'a:1': undefined, 'b:2': primary('b:2', 2, { setVersion: new Int32(8) }) },
    ),
    primary: 'b:2',
    helloSource: 'b:2',
  },
  'and before it the other way round': {
    of: through(
      { ...healthy, 'a:1': primary('a:1', 1, { setVersion: new Int32(9) }) },
      { ...healthy, 'a:1': undefined, 'b:2': primary('b:2', 2, { setVersion: new Int32(8), maxWireVersion: 16 }) },
    ),
    primary: undefined,
    helloSource: 'b:2',
  },
  'a claim without an election, once one was seen': {
    of: through(healthy, { ...secondaries, 'a:1': primary('a:1', 1, { electionId: undefined }) }),
    primary: undefined,
    helloSource: 'a:1',
  },
  'a claim without an election, where nobody ever had one': {
    of: through({ ...secondaries, 'a:1': primary('a:1', 1, { electionId: undefined }) }),
    primary: 'a:1',
    helloSource: 'a:1',
  },
  'a member of another set counts for nothing': {
    of: through(healthy, { ...secondaries, 'a:1': primary('a:1', 5, { setName: 'other' }) }),
    primary: undefined,
    helloSource: 'b:2',
  },
  'nor does a standalone among the seeds of a set': {
    of: through({ 'a:1': standalone() }),
    type: 'unknown',
    primary: undefined,
    helloSource: undefined,
  },
  'a member is added and another removed: those of the primary are wanted': {
    of: through({ ...healthy, 'a:1': primary('a:1', 1, { hosts: ['a:1', 'B:2'], passives: ['d:4'] }) }),
    primary: 'a:1',
    helloSource: 'a:1',
    monitored: ['a:1', 'b:2', 'd:4'],
  },
  'while there is no primary the wanted are all that anybody names': {
    of: through({ ...secondaries, 'b:2': member('b:2', { hosts: ['b:2', 'e:5'] }) }),
    primary: undefined,
    helloSource: 'b:2',
    monitored: ['a:1', 'b:2', 'c:3', 'e:5'],
  },
  'a primary under a name that its own list has not: the list is believed, the name is not': {
    of: after(nothing, { 'seed:9': primary('a:1', 1) }, ['seed:9']),
    primary: undefined,
    helloSource: 'seed:9',
    monitored: ['a:1', 'b:2', 'c:3', 'seed:9'],
  },
  'and once a member of the list is seen as primary the name goes': {
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
  'a set at one address is a set': {
    of: after(nothing, { 'a:1': primary('a:1', 1) }, ['a:1']),
    primary: 'a:1',
    helloSource: 'a:1',
  },
  'a member that is not of a set yet': {
    of: after(nothing, { 'a:1': standalone({ isWritablePrimary: false, isreplicaset: true }) }, ['a:1']),
    type: 'standalone',
    primary: undefined,
    helloSource: 'a:1',
    monitored: ['a:1'],
  },
  'the one address of a connection string with replicaSet is no standalone': {
    of: after({ ...nothing, setName: 'rs0' }, { 'a:1': standalone() }, ['a:1']),
    type: 'unknown',
    primary: undefined,
    helloSource: undefined,
    monitored: ['a:1'],
  },
  'one address and no other, whatever it says': {
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

t.test('a term lasts while its primary may still be it', async t => {
  const first = through(healthy).history.termKey
  t.ok(first)
  const next = (hellos: Hellos) => through(healthy, { ...healthy, ...hellos }).history.termKey
  t.equal(next({}), first)
  t.equal(next({ 'a:1': undefined }), first, 'unreachable is not deposed')
  t.equal(next({ 'a:1': primary('a:1', 1, { setVersion: new Int32(2) }) }), first, 'nor is a new configuration')
  t.equal(next({ 'a:1': member('a:1') }), undefined, 'its own word')
  t.equal(next({ 'a:1': standalone() }), undefined)
  t.not(next({ 'b:2': primary('b:2', 2) }), first, 'a later one')
  t.not(next({ 'a:1': primary('a:1', 2) }), first, 'elected again: it was deposed meanwhile')
  const gone = through(
    healthy,
    { ...healthy, 'a:1': undefined },
    { 'b:2': primary('b:2', 2, { hosts: ['b:2', 'c:3'] }) },
  )
  t.match(gone, { primary: 'b:2', monitored: ['b:2', 'c:3'] })
  t.not(gone.history.termKey, first, 'it left the set')
  const back = through(healthy, { ...healthy, 'a:1': undefined }, healthy)
  t.equal(back.history.termKey, first, 'the same election after an outage')
})

t.test('a hostile list is bounded, and what is no address is left out', async t => {
  const hosts = Array.from({ length: 100_000 }, (_, at) => `h${at}:1`)
  for (const hello of [
    primary('a:1', 1, { hosts: ['a:1', ...hosts], passives: hosts }),
    member('a:1', { hosts: [...hosts, 'a:1'], passives: hosts }),
  ]) {
    const { monitored } = through({ 'a:1': hello, 'b:2': undefined })
    t.ok(monitored.length <= 50)
    t.ok(monitored.includes('a:1'), 'those that are known come first')
  }
  const odd = ['a:1', '', 'x:0', 'x:70000', '[::1', 'a b:1', '169.254.169.254:80/latest', new Int32(1), null, { a: 1 }]
  t.same(through({ 'a:1': primary('a:1', 1, { hosts: odd }) }).monitored, ['a:1'])
  t.same(through({ 'a:1': primary('a:1', 1, { hosts: 'a:1' }) }).primary, undefined)
})

t.test('whoever says the same again is judged the same', async t => {
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
        const judged = (before: TopologyDescription, hellos: Hellos) => after(before.history, hellos, seeds)
        const once = several.reduce(judged, after(nothing, {}, seeds))
        t.same(judged(once, several.at(-1) as Hellos), once)
      },
    ),
    { numRuns: 500 },
  )
})

t.test('the same is said in each field that counts, types included, and whatever else is said', async t => {
  const said = primary('a:1', 1, { passives: ['d:4'] })
  t.equal(
    describesSameServer(
      { ...primary('a:1', 1, { passives: ['d:4'] }), localTime: new Date(0), tags: { a: 'b' } },
      said,
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
    t.equal(describesSameServer({ ...said, ...change }, said), false, JSON.stringify(change))
    t.equal(describesSameServer(said, { ...said, ...change }), false)
  }
})
