import { getEventListeners } from 'node:events'
import { Long, ObjectId } from 'bson'
import t from 'tap'
import { type Log, Secret, silentLog } from '../../src/log.js'
import { readTopologyVersion, type TopologyVersion } from '../../src/upstream/helloReply.js'
import type { DnsResolver } from '../../src/upstream/srv.js'
import { parseUpstreamUri } from '../../src/upstream/target.js'
import { Topology } from '../../src/upstream/topology.js'
import type { TopologyView } from '../../src/upstream/topologyView.js'
import { createManualClock } from '../support/clock.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { type ScriptedMember, type ScriptedReplicaSet, startScriptedReplicaSet } from '../support/scriptedReplicaSet.js'
import { memberHello, silence, startScriptedUpstream } from '../support/scriptedUpstream.js'

const never = () => new AbortController().signal
type T = { teardown(run: () => unknown): unknown }
type Wanted = {
  single?: boolean
  resolver?: DnsResolver
  log?: Log
  onServerRestart?: () => void
  onTermClosed?: () => void
  /** Pauses around the end of a term wait for the clock, too. */
  slowly?: boolean
}

const nowhere: DnsResolver = { resolveSrv: async () => [], resolveTxt: async () => [] }

/**
 * In front of what a connection string names. Pauses between hellos and around the end of a term take no time; others wait
 * for the clock.
 */
function inFront(
  t: T,
  uri: string,
  { single = false, resolver = nowhere, log = silentLog, slowly, ...told }: Wanted = {},
) {
  const clock = createManualClock()
  const after = (ms: number, run: () => void) => {
    if (ms !== 50 && ms !== 5 && (ms !== 20 || slowly)) return clock.after(ms, run)
    const soon = setImmediate(run)
    return () => clearImmediate(soon)
  }
  const upstream = parseUpstreamUri(new Secret(uri), () => Buffer.alloc(0))
  const topology = new Topology({ upstream, single, resolver, log, random: () => 0, after, ...told })
  t.teardown(() => topology.close())
  return { topology, clock }
}

/** A set, and what is in front of it once the primary is known and every member is watched. */
async function watchedSet(t: T, wanted: Wanted = {}) {
  const set = await startScriptedReplicaSet(t)
  const { topology, clock } = inFront(t, `mongodb://${set.hosts[0]}/`, wanted)
  await topology.freshView(never())
  await watched(set)
  const [a, b, c] = set.members as [ScriptedMember, ScriptedMember, ScriptedMember]
  return { set, topology, clock, a, b, c }
}

const watched = async ({ members }: Pick<ScriptedReplicaSet, 'members'>) => {
  for (const { received: asked } of members) await until(() => asked.some(({ body }) => body.topologyVersion))
}
const until = async (so: () => boolean) => {
  while (!so()) await new Promise(resolve => setImmediate(resolve))
}
const version = ({ hello }: TopologyView): TopologyVersion => {
  const found = readTopologyVersion(hello)
  if (!found) throw new Error('a hello without a topology version')
  return found
}
const known = (topology: Topology): TopologyView => {
  const view = topology.currentView()
  if (!view) throw new Error('nobody answers')
  return view
}
const primaryOf = (topology: Topology) => topology.selectPrimary().target.address

t.test('one address of a set leads to all of it, and to the primary', async t => {
  const set = await startScriptedReplicaSet(t)
  const { topology } = inFront(t, `mongodb://${set.hosts[1]}/`)
  const view = await topology.freshView(never())
  t.match(view, { isPrimary: true, isReplicaSet: true, hello: { me: set.hosts[0] } })
  t.match(topology.selectPrimary().target, { address: set.hosts[0], replicaSet: 'rs0' })
  t.same(
    topology
      .dataBearingMembers()
      .map(({ target }) => target.address)
      .sort(),
    [...set.hosts].sort(),
  )
  t.ok(topology.dataBearingMembers().every(({ isReachable }) => isReachable))
})

t.test('another name for a member leads to the set, and then nobody is watched by it', async t => {
  const set = await startScriptedReplicaSet(t)
  const { topology } = inFront(t, `mongodb://localhost:${set.members[0]?.port}/`)
  t.match(await topology.freshView(never()), { isPrimary: true, isReplicaSet: true })
  t.equal(primaryOf(topology), set.hosts[0])
  await watched(set)
  await topology.freshView(never())
  await until(() => set.members.every(({ sockets }) => sockets.size <= 2))
  t.equal(topology.dataBearingMembers().length, 3)
})

t.test('a plain hello is answered from a reply of the primary that was asked for afterwards', async t => {
  const { topology, a, b } = await watchedSet(t)
  const [before, others] = [a.received.length, b.received.length]
  await topology.freshView(never())
  t.equal(a.received.length, before + 1)
  t.equal(b.received.length, others)
  const [first, second] = [topology.freshView(never()), topology.freshView(never())]
  a.changeHello({ tags: { dc: 'x' } })
  t.match((await second).hello.tags, { dc: 'x' }, 'one that was underway is not for who came later')
  await first
})

t.test('a primary that steps down: that is told, then its relays close, then the next one is told', async t => {
  const order: string[] = []
  const { set, topology, a, b, clock } = await watchedSet(t, { slowly: true, onTermClosed: () => order.push('turned') })
  const old = topology.selectPrimary()
  let close = () => {}
  old.term.onEnd(({ kind }) => order.push(kind))
  old.term.onCloseSessions(() => {
    order.push('vacated')
    return new Promise<void>(resolve => (close = resolve))
  })
  const first = known(topology)
  const waiting = topology.awaitChange(version(first), 10_000, never()).then(view => {
    order.push(`told, primary ${view.isPrimary}`)
    return view
  })
  a.changeHello(set.secondary)
  const between = await waiting
  t.same(order.splice(0), ['upstream/stepped-down', 'told, primary false'])
  t.match(between, { isReplicaSet: true, isPrimary: false, hello: { me: a.address } })
  t.match(
    faultOf(() => topology.selectPrimary()),
    { kind: 'upstream/unreachable', detail: 'there is no primary now' },
  )
  const next = topology.awaitChange(version(between), 10_000, never())
  b.changeHello(set.primary(2))
  await until(() => topology.currentView()?.isPrimary === true)
  const told = (what: string) => () => order.push(what)
  const all = [next.then(told('told')), topology.freshView(never()).then(told('asked'))]
  const late = topology.awaitChange(version(between), 10_000, never()).then(told('told, who came late'))
  t.equal(topology.selectPrimary().term.endReason, undefined, 'logins go there already')
  clock.advance(20)
  await until(() => order.includes('vacated'))
  clock.advance(20)
  close()
  await until(() => order.includes('turned'))
  t.same(order.splice(0), ['vacated', 'turned'], 'nobody is told before all is closed')
  await until(() => clock.waiting() > 0)
  clock.advance(20)
  await Promise.all([...all, late])
  t.same(order.sort(), ['asked', 'told', 'told, who came late'])
  t.match(await next, { isPrimary: true, hello: { me: b.address } })
  t.equal(primaryOf(topology), b.address)
})

t.test('who waits until its time is over waits for relays to close, too', async t => {
  const { set, topology, clock, b } = await watchedSet(t, { slowly: true })
  const waiting = topology.awaitChange(version(known(topology)), 30, never())
  const { term } = topology.selectPrimary()
  let close = () => {}
  term.onCloseSessions(() => new Promise<void>(resolve => (close = resolve)))
  b.changeHello(set.primary(2))
  await until(() => term.endReason !== undefined)
  let told = false
  const then = waiting.then(() => (told = true))
  clock.advance(30)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(told, false)
  const pauses = clock.waiting()
  close()
  await until(() => clock.waiting() > pauses)
  clock.advance(20)
  t.equal(await then, true)
})

t.test('another that is elected ends the term of one that has not noticed, and stays', async t => {
  const { set, topology, a, b, c } = await watchedSet(t)
  const { term } = topology.selectPrimary()
  b.changeHello(set.primary(2))
  await until(() => term.endReason !== undefined)
  t.equal(primaryOf(topology), b.address)
  a.changeHello({ tags: { still: 'here' } })
  await until(() => topology.currentView()?.hello.me === b.address)
  t.equal(primaryOf(topology), b.address)
  const { term: second } = topology.selectPrimary()
  await b.stop()
  await c.stop()
  await until(() => topology.dataBearingMembers().filter(({ isReachable }) => isReachable).length === 1)
  t.equal(second.endReason, undefined, 'unreachable is not deposed')
  const view = known(topology)
  t.match(view, { isPrimary: false, hello: { me: a.address } })
  t.equal(view.hello.topologyVersion, undefined, 'its version was shown with a primary, so nobody waits on it')
})

t.test('a primary that cannot be reached keeps its term until another is seen', async t => {
  const { set, topology, a, b, c } = await watchedSet(t)
  const { term } = topology.selectPrimary()
  await a.stop()
  t.match(await topology.freshView(never()), { isPrimary: false, isReplicaSet: true })
  t.equal(term.endReason, undefined)
  t.equal(topology.dataBearingMembers().filter(({ isReachable }) => isReachable).length, 2)
  c.changeHello(set.primary(2))
  await until(() => term.endReason !== undefined)
  t.equal(primaryOf(topology), c.address)
  await a.start()
  t.match(await topology.freshView(never()), { isPrimary: true, hello: { me: c.address } })
  t.equal(b.sockets.size > 0, true)
})

t.test('elected again after it was deposed is another term', async t => {
  const { set, topology, a } = await watchedSet(t)
  const { term } = topology.selectPrimary()
  a.changeHello(set.primary(5))
  await until(() => term.endReason !== undefined)
  t.equal(primaryOf(topology), a.address)
  t.not(topology.selectPrimary().term, term)
})

t.test('members that are added are watched, those that are removed are left alone', async t => {
  const { set, topology, a, b, c } = await watchedSet(t)
  const added = (await startScriptedReplicaSet(t, 1)).members[0] as ScriptedMember
  added.changeHello(set.secondary)
  a.changeHello({ hosts: [a.address, b.address, added.address] })
  await watched({ members: [added] })
  await until(() => c.sockets.size === 0)
  t.same(
    topology
      .dataBearingMembers()
      .map(({ target }) => target.address)
      .sort(),
    [a, b, added].map(({ address }) => address).sort(),
  )
  const { term } = topology.selectPrimary()
  a.changeHello({ hosts: [b.address, added.address] })
  await until(() => term.endReason !== undefined)
  t.pass('a primary that names itself no more is none')
})

t.test('nobody waits for a member that is known to be away, as long as others answer', async t => {
  const { set, topology, a, b, clock } = await watchedSet(t)
  await b.stop()
  await until(() => topology.dataBearingMembers().some(({ isReachable }) => !isReachable))
  await b.start()
  b.script(() => silence)
  a.changeHello(set.secondary)
  await until(() => !known(topology).isPrimary)
  t.match(await topology.freshView(never()), { isPrimary: false })
  t.equal(clock.now(), 0)
})

t.test('however many members are asked, one who leaves is heard by one listener', async t => {
  const { set, topology, a } = await watchedSet(t)
  a.changeHello(set.secondary)
  await until(() => !known(topology).isPrimary)
  for (const member of set.members) member.script(() => silence)
  const leaving = new AbortController()
  const view = topology.freshView(leaving.signal)
  for (let turns = 0; turns < 10; turns++) await new Promise(resolve => setImmediate(resolve))
  t.equal(getEventListeners(leaving.signal, 'abort').length, 1)
  leaving.abort(new Error('left'))
  await t.rejects(view, { message: 'left' })
})

t.test('all away: who waits is told why; back again: it is found without being asked', async t => {
  const { topology, clock, set, a, b, c } = await watchedSet(t)
  await a.stop()
  await b.stop()
  await until(() => known(topology).hello.me === c.address)
  const waiting = faultOfAsync(() => topology.awaitChange(version(known(topology)), 10_000, never()))
  await c.stop()
  t.match(await waiting, { kind: 'upstream/unreachable', facts: { code: 'ECONNREFUSED' } })
  t.equal(topology.currentView(), undefined)
  t.match(await faultOfAsync(() => topology.freshView(never())), { kind: 'upstream/unreachable' })
  t.match(
    faultOf(() => topology.selectPrimary()),
    { kind: 'upstream/unreachable', detail: undefined },
  )
  for (const { start } of set.members) await start()
  clock.advance(10_000)
  await until(() => topology.currentView()?.isPrimary === true)
})

t.test('who knows an older state or another process is answered at once', async t => {
  const { topology } = await watchedSet(t)
  const { processId, counter } = version(known(topology))
  t.equal(await topology.awaitChange({ processId, counter: counter.sub(1) }, 10_000, never()), known(topology))
  const other = { processId: new ObjectId(), counter: Long.fromNumber(99) }
  t.equal(await topology.awaitChange(other, 10_000, never()), known(topology))
})

t.test(
  'who waits is looked at when there is news, not at every hello, of which clients see the last all the same',
  async t => {
    const { topology, a } = await watchedSet(t)
    const { processId, counter } = version(known(topology))
    let looked = 0
    const theirs = {
      processId,
      get counter() {
        looked++
        return counter
      },
    }
    const waiting = topology.awaitChange(theirs, 10_000, never())
    looked = 0
    const first = await topology.freshView(never())
    const second = await topology.freshView(never())
    t.not(second.hello, first.hello)
    t.equal(topology.currentView(), second)
    t.equal(looked, 0)
    a.changeHello({ tags: { dc: 'x' } })
    t.match((await waiting).hello.tags, { dc: 'x' })
    t.equal(looked, 1)
  },
)

t.test('who knows the current state waits for a change; who is ahead waits for theirs', async t => {
  const { topology, a } = await watchedSet(t)
  const { processId, counter } = version(known(topology))
  const equal = topology.awaitChange({ processId, counter }, 10_000, never())
  const ahead = topology.awaitChange({ processId, counter: counter.add(1) }, 10_000, never())
  a.changeHello({ tags: { first: 'x' } })
  t.match((await equal).hello.tags, { first: 'x' })
  a.changeHello({ tags: { second: 'x' } })
  t.match((await ahead).hello.tags, { second: 'x' })
})

t.test('nothing changes: the current state when the time is over, of which a minute is the most', async t => {
  const { topology, clock, a } = await watchedSet(t)
  for (const [ms, passing] of [
    [3_000, 3_000],
    [3_600_000, 60_000],
  ] as const) {
    a.script(() => silence)
    const waiting = topology.awaitChange(version(known(topology)), ms, never())
    const view = known(topology)
    clock.advance(passing)
    t.equal(await waiting, view)
  }
  const { topology: other } = await watchedSet(t)
  const gone = new AbortController()
  const left = other.awaitChange(version(known(other)), 3_000, gone.signal)
  gone.abort(new Error('left'))
  await t.rejects(left, { message: 'left' })
})

t.test('a standalone is shown as it is, and nothing can be awaited of one without a version', async t => {
  const set = ['hosts', 'setName', 'setVersion', 'secondary', 'primary', 'me', 'electionId', 'lastWrite']
  const alone = memberHello(Object.fromEntries([...set, 'topologyVersion'].map(name => [name, undefined])))
  const upstream = await startScriptedUpstream(t, () => alone)
  const { topology } = inFront(t, upstream.uri)
  t.match(await topology.freshView(never()), { isPrimary: true, isReplicaSet: false })
  t.equal(primaryOf(topology), upstream.target.address)
  const asked = upstream.received.length
  const other = { processId: new ObjectId(), counter: Long.fromNumber(1) }
  t.match(await topology.awaitChange(other, 10_000, never()), { isReplicaSet: false })
  t.equal(upstream.received.length, asked + 1)
  await upstream.stop()
  t.match(await faultOfAsync(() => topology.freshView(never())), {
    kind: 'upstream/unreachable',
    facts: { code: 'ECONNREFUSED' },
  })
})

t.test('directConnection: the one member, primary or not, and its own words', async t => {
  const set = await startScriptedReplicaSet(t)
  const [, b] = set.members as [ScriptedMember, ScriptedMember]
  const { topology } = inFront(t, `mongodb://${b.address}/?directConnection=true`, { single: true })
  t.equal(primaryOf(topology), b.address, 'logins go there before anything is known')
  t.match(await topology.freshView(never()), { isReplicaSet: false, hello: { secondary: true, hosts: set.hosts } })
  const { term } = topology.selectPrimary()
  b.changeHello(set.primary(2))
  await until(() => known(topology).hello.isWritablePrimary === true)
  b.changeHello(set.secondary)
  await until(() => known(topology).hello.isWritablePrimary === false)
  t.equal(term.endReason, undefined)
  t.equal(topology.dataBearingMembers().length, 1)
})

t.test('a hostile member is as good as away, and the others serve', async t => {
  const { set, topology, a, b } = await watchedSet(t)
  const endless = Array.from({ length: 5_000 }, (_, at) => `h${at}.example.com:1`)
  a.changeHello({ hosts: endless })
  await until(() => !known(topology).isPrimary)
  b.changeHello(set.primary(2))
  await until(() => known(topology).isPrimary)
  t.same(
    topology
      .dataBearingMembers()
      .map(({ target }) => target.address)
      .sort(),
    [...set.hosts].sort(),
  )
})

t.test('a primary that changes its members over and over is followed five times, then twice a second', async t => {
  const { topology, clock, a } = await watchedSet(t)
  clock.advance(500)
  const others = (await startScriptedReplicaSet(t, 20)).members
  const addresses = () => topology.dataBearingMembers().map(({ target }) => target.address)
  const name = (nth: number) => a.changeHello({ hosts: [a.address, (others[nth] as ScriptedMember).address] })
  let nth = 0
  let followed = 0
  for (; nth < 10; nth++) {
    name(nth)
    await until(() => topology.currentView()?.hello.hosts.includes(others[nth]?.address))
    if (addresses().length > 1) followed++
  }
  t.ok(followed > 0 && followed <= 5, `${followed} of 10`)
  t.same(addresses(), [a.address], 'who is none any more is left alone at once')
  clock.advance(500)
  t.same(addresses(), [a.address, others[9]?.address], 'the last one is not forgotten')
  t.same(
    others.slice(5, 9).filter(({ received: asked }) => asked.length > 0),
    [],
  )
})

t.test('a member that is new is told of, since other things have to be asked of it', async t => {
  let told = 0
  const { a, b, topology, clock } = await watchedSet(t, { onServerRestart: () => told++ })
  const before = told // members that answered after the first view
  await b.stop()
  await until(() => topology.dataBearingMembers().some(({ isReachable }) => !isReachable))
  await b.start()
  clock.advance(10_000)
  await until(() => topology.dataBearingMembers().every(({ isReachable }) => isReachable))
  t.equal(told, before, 'the same process as before')
  const added = (await startScriptedReplicaSet(t, 1)).members[0] as ScriptedMember
  added.changeHello({ isWritablePrimary: false, secondary: true })
  a.changeHello({ hosts: [a.address, b.address, added.address] })
  await watched({ members: [added] })
  t.equal(told, before + 1)
})

t.test('the addresses are looked up until DNS gives some', async t => {
  let answers = false
  let asked = 0
  const resolver: DnsResolver = {
    resolveSrv: async () => {
      asked++
      if (!answers) throw Object.assign(new Error('no'), { code: 'ESERVFAIL' })
      return [{ name: 'a.rs.example.com', port: 1 }]
    },
    resolveTxt: async () => [['replicaSet=rs7']],
  }
  const { topology, clock } = inFront(t, 'mongodb+srv://rs.example.com/?tls=false', { resolver })
  await until(() => asked === 1)
  t.match(await faultOfAsync(() => topology.freshView(never())), {
    kind: 'upstream/unreachable',
    facts: { code: 'ESERVFAIL' },
  })
  answers = true
  await until(() => clock.waiting() > 0)
  t.equal(asked, 1)
  clock.advance(500)
  await until(() => topology.dataBearingMembers().length > 0)
  t.match(topology.dataBearingMembers(), [{ target: { address: 'a.rs.example.com:1', replicaSet: 'rs7' } }])
})

t.test('closing ends every socket and whoever waits', async t => {
  const { topology, set } = await watchedSet(t)
  const waiting = faultOfAsync(() => topology.awaitChange(version(known(topology)), 10_000, never()))
  topology.close()
  t.equal((await waiting)?.kind, 'proxy/shutdown')
  t.equal((await faultOfAsync(() => topology.freshView(never())))?.kind, 'proxy/shutdown')
  t.equal(faultOf(() => topology.selectPrimary())?.kind, 'proxy/shutdown')
  await until(() => set.members.every(({ sockets }) => sockets.size === 0))
})
