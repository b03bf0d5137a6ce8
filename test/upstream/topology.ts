import { getEventListeners } from 'node:events'
import { Long, ObjectId } from 'bson'
import t from 'tap'
import { type Log, Secret, silentLog } from '../../src/log.js'
import type { DnsResolver } from '../../src/upstream/srv.js'
import { parseUpstreamUri } from '../../src/upstream/target.js'
import { Topology } from '../../src/upstream/topology.js'
import { readTopologyVersion, type TopologyVersion } from '../../src/upstream/topologyVersion.js'
import type { TopologyView } from '../../src/upstream/topologyView.js'
import { createManualClock } from '../support/clock.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { type ScriptedMember, type ScriptedReplicaSet, startScriptedReplicaSet } from '../support/scriptedReplicaSet.js'
import { memberHello, silence, startScriptedUpstream } from '../support/scriptedUpstream.js'

const never = () => new AbortController().signal
type T = { teardown(run: () => unknown): unknown }
type Options = {
  single?: boolean
  resolver?: DnsResolver
  log?: Log
  onServerRestart?: () => void
  onUpdate?: () => void
  onTermClosed?: () => void
  /** The pauses around the end of a term wait for the clock, too. */
  hasTermPauses?: boolean
}

const nowhere: DnsResolver = { resolveSrv: async () => [], resolveTxt: async () => [] }

/** The pauses between hellos and around the end of a term take no time. All others wait for the clock. */
function createTopologyFor(
  t: T,
  uri: string,
  { single = false, resolver = nowhere, log = silentLog, hasTermPauses, ...callbacks }: Options = {},
) {
  const clock = createManualClock()
  const after = (ms: number, run: () => void) => {
    if (ms !== 50 && ms !== 5 && (ms !== 20 || hasTermPauses)) return clock.after(ms, run)
    const soon = setImmediate(run)
    return () => clearImmediate(soon)
  }
  const upstream = parseUpstreamUri(new Secret(uri), () => Buffer.alloc(0))
  const topology = new Topology({ upstream, single, resolver, log, random: () => 0, after, ...callbacks })
  t.teardown(() => topology.close())
  return { topology, clock }
}

/** A replica set with a topology that knows the primary and streams from every member. */
async function startMonitoredSet(t: T, options: Options = {}) {
  const set = await startScriptedReplicaSet(t)
  const { topology, clock } = createTopologyFor(t, `mongodb://${set.hosts[0]}/`, options)
  await topology.freshView(never())
  await waitForStreaming(set)
  const [a, b, c] = set.members as [ScriptedMember, ScriptedMember, ScriptedMember]
  return { set, topology, clock, a, b, c }
}

const waitForStreaming = async ({ members }: Pick<ScriptedReplicaSet, 'members'>) => {
  for (const { received } of members) await until(() => received.some(({ body }) => body.topologyVersion))
}
const until = async (so: () => boolean) => {
  while (!so()) await new Promise(resolve => setImmediate(resolve))
}
const version = ({ hello }: TopologyView): TopologyVersion => {
  const found = readTopologyVersion(hello)
  if (!found) throw new Error('a hello without a topology version')
  return found
}
const viewOf = (topology: Topology): TopologyView => {
  const view = topology.currentView()
  if (!view) throw new Error('no member answers')
  return view
}
const primaryOf = (topology: Topology) => topology.selectPrimary().target.address

t.test('one seed is enough to discover all members and the primary', async t => {
  const set = await startScriptedReplicaSet(t)
  const { topology } = createTopologyFor(t, `mongodb://${set.hosts[1]}/`)
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

t.test('a seed under another name leads to the replica set and is then no longer monitored', async t => {
  const set = await startScriptedReplicaSet(t)
  const { topology } = createTopologyFor(t, `mongodb://localhost:${set.members[0]?.port}/`)
  t.match(await topology.freshView(never()), { isPrimary: true, isReplicaSet: true })
  t.equal(primaryOf(topology), set.hosts[0])
  await waitForStreaming(set)
  await topology.freshView(never())
  await until(() => set.members.every(({ sockets }) => sockets.size <= 2))
  t.equal(topology.dataBearingMembers().length, 3)
})

t.test('freshView checks the primary alone, after the call', async t => {
  const { topology, a, b } = await startMonitoredSet(t)
  const [before, others] = [a.received.length, b.received.length]
  await topology.freshView(never())
  t.equal(a.received.length, before + 1)
  t.equal(b.received.length, others)
  const [first, second] = [topology.freshView(never()), topology.freshView(never())]
  a.changeHello({ tags: { dc: 'x' } })
  t.match((await second).hello.tags, { dc: 'x' }, 'a check that began before the call is not used')
  await first
})

t.test(
  'after a step down clients learn of no primary, then sessions close, then clients learn of the next primary',
  async t => {
    const order: string[] = []
    const { set, topology, a, b, clock } = await startMonitoredSet(t, {
      hasTermPauses: true,
      onTermClosed: () => order.push('term closed'),
    })
    const old = topology.selectPrimary()
    let close = () => {}
    old.term.onEnd(({ kind }) => order.push(kind))
    old.term.onCloseSessions(() => {
      order.push('sessions close')
      return new Promise<void>(resolve => (close = resolve))
    })
    const first = viewOf(topology)
    const waiting = topology.awaitChange(version(first), 10_000, never()).then(view => {
      order.push(`answered, primary ${view.isPrimary}`)
      return view
    })
    a.changeHello(set.secondary)
    const between = await waiting
    t.same(order.splice(0), ['upstream/stepped-down', 'answered, primary false'])
    t.match(between, { isReplicaSet: true, isPrimary: false, hello: { me: a.address } })
    t.match(
      faultOf(() => topology.selectPrimary()),
      { kind: 'upstream/unreachable', detail: 'there is no primary now' },
    )
    const next = topology.awaitChange(version(between), 10_000, never())
    b.changeHello(set.primary(2))
    await until(() => topology.currentView()?.isPrimary === true)
    const record = (what: string) => () => order.push(what)
    const all = [next.then(record('answered')), topology.freshView(never()).then(record('fresh'))]
    const late = topology.awaitChange(version(between), 10_000, never()).then(record('answered late'))
    t.equal(topology.selectPrimary().term.endReason, undefined, 'logins go to the new primary already')
    clock.advance(20)
    await until(() => order.includes('sessions close'))
    clock.advance(20)
    close()
    await until(() => order.includes('term closed'))
    t.same(order.splice(0), ['sessions close', 'term closed'], 'no client is answered before all sessions are closed')
    await until(() => clock.waiting() > 0)
    clock.advance(20)
    await Promise.all([...all, late])
    t.same(order.sort(), ['answered', 'answered late', 'fresh'])
    t.match(await next, { isPrimary: true, hello: { me: b.address } })
    t.equal(primaryOf(topology), b.address)
  },
)

t.test('every change of the primary is reported', async t => {
  const reported: boolean[] = []
  let check = () => false
  const { set, topology, a, b } = await startMonitoredSet(t, { onUpdate: () => reported.push(check()) })
  check = () => topology.hasPrimary()
  reported.length = 0
  t.equal(topology.hasPrimary(), true)
  a.changeHello(set.secondary)
  await until(() => reported.at(-1) === false)
  t.equal(topology.hasPrimary(), false)
  b.changeHello(set.primary(2))
  await until(() => reported.at(-1) === true)
  t.equal(topology.hasPrimary(), true)
  topology.close()
  t.equal(topology.hasPrimary(), false)
})

t.test('a recheck finds out at once that the primary has crashed', async t => {
  const { topology, a } = await startMonitoredSet(t)
  await a.stop()
  await topology.recheck(never())
  t.equal(topology.hasPrimary(), false)
})

t.test('a wait that times out during a failover ends after the sessions have closed', async t => {
  const { set, topology, clock, b } = await startMonitoredSet(t, { hasTermPauses: true })
  const waiting = topology.awaitChange(version(viewOf(topology)), 30, never())
  const { term } = topology.selectPrimary()
  let close = () => {}
  term.onCloseSessions(() => new Promise<void>(resolve => (close = resolve)))
  b.changeHello(set.primary(2))
  await until(() => term.endReason !== undefined)
  let isAnswered = false
  const answered = waiting.then(() => (isAnswered = true))
  clock.advance(30)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(isAnswered, false)
  const pauses = clock.waiting()
  close()
  await until(() => clock.waiting() > pauses)
  clock.advance(20)
  t.equal(await answered, true)
})

t.test('an election ends the term of a primary that has not noticed it', async t => {
  const { set, topology, a, b, c } = await startMonitoredSet(t)
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
  t.equal(second.endReason, undefined, 'an unreachable primary keeps its term')
  const view = viewOf(topology)
  t.match(view, { isPrimary: false, hello: { me: a.address } })
  t.equal(view.hello.topologyVersion, undefined, 'clients have seen this version with a primary')
})

t.test('an unreachable primary keeps its term until another member is elected', async t => {
  const { set, topology, a, b, c } = await startMonitoredSet(t)
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

t.test('a second election of the same member is another term', async t => {
  const { set, topology, a } = await startMonitoredSet(t)
  const { term } = topology.selectPrimary()
  a.changeHello(set.primary(5))
  await until(() => term.endReason !== undefined)
  t.equal(primaryOf(topology), a.address)
  t.not(topology.selectPrimary().term, term)
})

t.test('added members are monitored and removed ones are not', async t => {
  const { set, topology, a, b, c } = await startMonitoredSet(t)
  const added = (await startScriptedReplicaSet(t, 1)).members[0] as ScriptedMember
  added.changeHello(set.secondary)
  a.changeHello({ hosts: [a.address, b.address, added.address] })
  await waitForStreaming({ members: [added] })
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
  t.pass('a primary that no longer lists itself is stale')
})

t.test('freshView does not wait for a member that is viewOf to be unreachable while others answer', async t => {
  const { set, topology, a, b, clock } = await startMonitoredSet(t)
  await b.stop()
  await until(() => topology.dataBearingMembers().some(({ isReachable }) => !isReachable))
  await b.start()
  b.script(() => silence)
  a.changeHello(set.secondary)
  await until(() => !viewOf(topology).isPrimary)
  t.match(await topology.freshView(never()), { isPrimary: false })
  t.equal(clock.now(), 0)
})

t.test('freshView adds one abort listener, however many members it checks', async t => {
  const { set, topology, a } = await startMonitoredSet(t)
  a.changeHello(set.secondary)
  await until(() => !viewOf(topology).isPrimary)
  for (const member of set.members) member.script(() => silence)
  const caller = new AbortController()
  const view = topology.freshView(caller.signal)
  for (let iteration = 0; iteration < 10; iteration++) await new Promise(resolve => setImmediate(resolve))
  t.equal(getEventListeners(caller.signal, 'abort').length, 1)
  caller.abort(new Error('client disconnected'))
  await t.rejects(view, { message: 'client disconnected' })
})

t.test('an outage of all members rejects waiting clients, and its end is detected without a request', async t => {
  const { topology, clock, set, a, b, c } = await startMonitoredSet(t)
  await a.stop()
  await b.stop()
  await until(() => viewOf(topology).hello.me === c.address)
  const waiting = faultOfAsync(() => topology.awaitChange(version(viewOf(topology)), 10_000, never()))
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

t.test('a client with an older version or that of another process is answered at once', async t => {
  const { topology } = await startMonitoredSet(t)
  const { processId, counter } = version(viewOf(topology))
  t.equal(await topology.awaitChange({ processId, counter: counter.sub(1) }, 10_000, never()), viewOf(topology))
  const other = { processId: new ObjectId(), counter: Long.fromNumber(99) }
  t.equal(await topology.awaitChange(other, 10_000, never()), viewOf(topology))
})

t.test('a waiting client is compared with each new version, not with every hello', async t => {
  const { topology, a } = await startMonitoredSet(t)
  const { processId, counter } = version(viewOf(topology))
  let reads = 0
  const theirs = {
    processId,
    get counter() {
      reads++
      return counter
    },
  }
  const waiting = topology.awaitChange(theirs, 10_000, never())
  reads = 0
  const first = await topology.freshView(never())
  const second = await topology.freshView(never())
  t.not(second.hello, first.hello)
  t.equal(topology.currentView(), second)
  t.equal(reads, 0)
  a.changeHello({ tags: { dc: 'x' } })
  t.match((await waiting).hello.tags, { dc: 'x' })
  t.equal(reads, 1)
})

t.test('a client with the current version waits for a change, and one ahead of it for a later version', async t => {
  const { topology, a } = await startMonitoredSet(t)
  const { processId, counter } = version(viewOf(topology))
  const equal = topology.awaitChange({ processId, counter }, 10_000, never())
  const ahead = topology.awaitChange({ processId, counter: counter.add(1) }, 10_000, never())
  a.changeHello({ tags: { first: 'x' } })
  t.match((await equal).hello.tags, { first: 'x' })
  a.changeHello({ tags: { second: 'x' } })
  t.match((await ahead).hello.tags, { second: 'x' })
})

t.test('without a change the current view is returned after maxAwaitTimeMS, at most one minute', async t => {
  const { topology, clock, a } = await startMonitoredSet(t)
  for (const [ms, passing] of [
    [3_000, 3_000],
    [3_600_000, 60_000],
  ] as const) {
    a.script(() => silence)
    const waiting = topology.awaitChange(version(viewOf(topology)), ms, never())
    const view = viewOf(topology)
    clock.advance(passing)
    t.equal(await waiting, view)
  }
  const { topology: other } = await startMonitoredSet(t)
  const client = new AbortController()
  const aborted = other.awaitChange(version(viewOf(other)), 3_000, client.signal)
  client.abort(new Error('client disconnected'))
  await t.rejects(aborted, { message: 'client disconnected' })
})

t.test('a standalone is shown as it is, and one without a topologyVersion is polled', async t => {
  const set = ['hosts', 'setName', 'setVersion', 'secondary', 'primary', 'me', 'electionId', 'lastWrite']
  const alone = memberHello(Object.fromEntries([...set, 'topologyVersion'].map(name => [name, undefined])))
  const upstream = await startScriptedUpstream(t, () => alone)
  const { topology } = createTopologyFor(t, upstream.uri)
  t.match(await topology.freshView(never()), { isPrimary: true, isReplicaSet: false })
  t.equal(primaryOf(topology), upstream.target.address)
  const before = upstream.received.length
  const other = { processId: new ObjectId(), counter: Long.fromNumber(1) }
  t.match(await topology.awaitChange(other, 10_000, never()), { isReplicaSet: false })
  t.equal(upstream.received.length, before + 1)
  await upstream.stop()
  t.match(await faultOfAsync(() => topology.freshView(never())), {
    kind: 'upstream/unreachable',
    facts: { code: 'ECONNREFUSED' },
  })
})

t.test('directConnection uses the one member, whether it is primary or not, and shows its own hello', async t => {
  const set = await startScriptedReplicaSet(t)
  const [, b] = set.members as [ScriptedMember, ScriptedMember]
  const { topology } = createTopologyFor(t, `mongodb://${b.address}/?directConnection=true`, { single: true })
  t.equal(primaryOf(topology), b.address, 'logins need no hello')
  t.match(await topology.freshView(never()), { isReplicaSet: false, hello: { secondary: true, hosts: set.hosts } })
  const { term } = topology.selectPrimary()
  b.changeHello(set.primary(2))
  await until(() => viewOf(topology).hello.isWritablePrimary === true)
  b.changeHello(set.secondary)
  await until(() => viewOf(topology).hello.isWritablePrimary === false)
  t.equal(term.endReason, undefined)
  t.equal(topology.dataBearingMembers().length, 1)
})

t.test('a member with an invalid hello is unreachable, and the others serve', async t => {
  const { set, topology, a, b } = await startMonitoredSet(t)
  const endless = Array.from({ length: 5_000 }, (_, at) => `h${at}.example.com:1`)
  a.changeHello({ hosts: endless })
  await until(() => !viewOf(topology).isPrimary)
  b.changeHello(set.primary(2))
  await until(() => viewOf(topology).isPrimary)
  t.same(
    topology
      .dataBearingMembers()
      .map(({ target }) => target.address)
      .sort(),
    [...set.hosts].sort(),
  )
})

t.test('a primary that keeps changing its members is followed five times, then twice a second', async t => {
  const { topology, clock, a } = await startMonitoredSet(t)
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
  t.same(addresses(), [a.address], 'a removed member is dropped at once')
  clock.advance(500)
  t.same(addresses(), [a.address, others[9]?.address], 'the last change is applied later')
  t.same(
    others.slice(5, 9).filter(({ received }) => received.length > 0),
    [],
  )
})

t.test('a member that answers for the first time is reported as a restart', async t => {
  let restarts = 0
  const { a, b, topology, clock } = await startMonitoredSet(t, { onServerRestart: () => restarts++ })
  const before = restarts // of members that answered after the first view
  await b.stop()
  await until(() => topology.dataBearingMembers().some(({ isReachable }) => !isReachable))
  await b.start()
  clock.advance(10_000)
  await until(() => topology.dataBearingMembers().every(({ isReachable }) => isReachable))
  t.equal(restarts, before, 'the process is the same')
  const added = (await startScriptedReplicaSet(t, 1)).members[0] as ScriptedMember
  added.changeHello({ isWritablePrimary: false, secondary: true })
  a.changeHello({ hosts: [a.address, b.address, added.address] })
  await waitForStreaming({ members: [added] })
  t.equal(restarts, before + 1)
})

t.test('the seedlist lookup is repeated until DNS answers', async t => {
  let hasRecords = false
  let queries = 0
  const resolver: DnsResolver = {
    resolveSrv: async () => {
      queries++
      if (!hasRecords) throw Object.assign(new Error('no'), { code: 'ESERVFAIL' })
      return [{ name: 'a.rs.example.com', port: 1 }]
    },
    resolveTxt: async () => [['replicaSet=rs7']],
  }
  const { topology, clock } = createTopologyFor(t, 'mongodb+srv://rs.example.com/?tls=false', { resolver })
  await until(() => queries === 1)
  t.match(await faultOfAsync(() => topology.freshView(never())), {
    kind: 'upstream/unreachable',
    facts: { code: 'ESERVFAIL' },
  })
  hasRecords = true
  await until(() => clock.waiting() > 0)
  t.equal(queries, 1)
  clock.advance(500)
  await until(() => topology.dataBearingMembers().length > 0)
  t.match(topology.dataBearingMembers(), [{ target: { address: 'a.rs.example.com:1', replicaSet: 'rs7' } }])
})

t.test('close ends all sockets and rejects waiting clients', async t => {
  const { topology, set } = await startMonitoredSet(t)
  const waiting = faultOfAsync(() => topology.awaitChange(version(viewOf(topology)), 10_000, never()))
  topology.close()
  t.equal((await waiting)?.kind, 'proxy/shutdown')
  t.equal((await faultOfAsync(() => topology.freshView(never())))?.kind, 'proxy/shutdown')
  t.equal(faultOf(() => topology.selectPrimary())?.kind, 'proxy/shutdown')
  await until(() => set.members.every(({ sockets }) => sockets.size === 0))
})

t.test('members and the current primary follow an election and a member that goes away', async t => {
  const { topology, set, a, b, c } = await startMonitoredSet(t)
  const states = () => Object.fromEntries(topology.members().map(({ address, state }) => [address, state]))
  t.same(states(), { [a.address]: 'primary', [b.address]: 'secondary', [c.address]: 'secondary' })
  t.match(topology.currentPrimary(), { address: a.address })
  const { term } = topology.currentPrimary() ?? {}
  a.changeHello(set.secondary)
  await until(() => topology.currentPrimary() === undefined)
  b.changeHello(set.primary(2))
  await until(() => topology.currentPrimary()?.address === b.address)
  t.not(topology.currentPrimary()?.term, term)
  await c.stop()
  await until(() => states()[c.address] === 'unreachable')
  t.match(
    topology.members().filter(({ why }) => why !== undefined),
    [{ address: c.address, why: /unreachable/ }],
  )
  topology.close()
  t.equal(topology.currentPrimary(), undefined)
})

t.test('a single member is the primary while it answers', async t => {
  const upstream = await startScriptedUpstream(t, () => memberHello({ isWritablePrimary: false, secondary: true }))
  const { topology } = createTopologyFor(t, `mongodb://${upstream.target.address}/`, { single: true })
  t.equal(topology.currentPrimary(), undefined)
  await topology.freshView(never())
  t.match(topology.currentPrimary(), { address: upstream.target.address })
})
