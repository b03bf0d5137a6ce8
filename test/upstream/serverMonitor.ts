import { type Document, Long, ObjectId } from 'bson'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import { type Log, silentLog } from '../../src/log.js'
import { ServerMonitor } from '../../src/upstream/serverMonitor.js'
import type { Target } from '../../src/upstream/target.js'
import { createManualClock } from '../support/clock.js'
import { faultOfAsync } from '../support/faults.js'
import {
  type Answer,
  hangUp,
  memberHello,
  type ReceivedCommand,
  type ScriptedUpstream,
  silence,
  startScriptedUpstream,
} from '../support/scriptedUpstream.js'

type T = { teardown(run: () => unknown): unknown }

function at(counter: number, changes: Document = {}): Document {
  const { topologyVersion, ...rest } = memberHello(changes)
  return { topologyVersion: { ...topologyVersion, counter: Long.fromNumber(counter) }, ...rest }
}
const counter = (hello: Document | undefined) => Number(hello?.topologyVersion?.counter)

/** An upstream that holds awaitable hellos until the test changes its state. */
async function startHoldingUpstream(t: T, hello: Document = at(6)) {
  let current = hello
  let holding: ((answer: Answer) => void)[] = []
  const script = ({ body }: ReceivedCommand): Answer | Promise<Answer> =>
    body.topologyVersion ? new Promise<Answer>(resolve => holding.push(resolve)) : current
  const upstream = await startScriptedUpstream(t, script)
  return {
    ...upstream,
    normal: () => upstream.script(script),
    change: (next: Document) => {
      current = next
      const waiting = holding
      holding = []
      for (const release of waiting) release(next)
    },
    awaited: () => upstream.received.filter(({ body }) => body.topologyVersion),
    /** Resolves once this many awaitable hellos have arrived. */
    streaming: async (count: number) => {
      while (upstream.received.filter(({ body }) => body.topologyVersion).length < count) {
        await upstream.waitForCommands(upstream.received.length + 1)
      }
    },
  }
}

function createMonitor(
  t: T,
  { target }: Pick<ScriptedUpstream, 'target'>,
  changes: { log?: Log; onServerRestart?: () => void; target?: Partial<Target>; hasInterval?: boolean } = {},
) {
  const clock = createManualClock()
  const reported: (Document | undefined)[] = []
  // The interval between plain hellos concerns one test. In the others it takes no time.
  const after: typeof clock.after = (ms, run) => {
    if (ms !== 5 || changes.hasInterval) return clock.after(ms, run)
    queueMicrotask(run)
    return () => {}
  }
  const monitor = new ServerMonitor({
    log: silentLog,
    random: () => 0,
    after,
    onHello: hello => reported.push(hello),
    ...changes,
    target: { ...target, ...changes.target },
  })
  t.teardown(() => monitor.close(new Fault('proxy/shutdown')))
  return { monitor, clock, reported }
}

/** A log that resolves a promise when an event is written. */
function createObservedLog() {
  const events: { event: string; facts: unknown }[] = []
  let wake = () => {}
  const log: Log = (_level, event, facts) => {
    events.push({ event, facts })
    wake()
  }
  const until = async (event: string, count = 1) => {
    while (events.filter(one => one.event === event).length < count) {
      await new Promise<void>(resolve => {
        wake = resolve
      })
    }
  }
  return { log, events, until }
}

t.test('freshHello returns a hello that was requested after the call, with its BSON types', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor } = createMonitor(t, upstream)
  await upstream.streaming(1)
  const hello = await monitor.freshHello()
  t.ok(Long.isLong(hello.topologyVersion.counter))
  t.equal(
    upstream.received.filter(({ body }) => !body.topologyVersion).length,
    2,
    'one of the streaming socket, one of the caller',
  )
  await monitor.freshHello()
  t.equal(upstream.accepted(), 2, 'the polling socket is reused')
  t.match(upstream.received[0]?.body, { client: { driver: { name: 'mongo-iam-proxy' } } })
  t.same([...new Set(upstream.received.map(({ name }) => name))], ['hello'], 'a monitor never logs in')
})

t.test('callers during a check share the next check', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor } = createMonitor(t, upstream)
  await upstream.streaming(1)
  await monitor.freshHello()
  await new Promise(resolve => setImmediate(resolve)) // the check has ended by now
  const before = upstream.received.length
  const replies = [monitor.freshHello(), ...Array.from({ length: 50 }, () => monitor.freshHello())]
  await Promise.all(replies)
  t.equal(upstream.received.length - before, 2)
})

t.test('checks start five milliseconds apart, and at once after an idle time', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor, clock } = createMonitor(t, upstream, { hasInterval: true })
  await upstream.streaming(1)
  const before = upstream.received.length
  await monitor.freshHello()
  const shared = [monitor.freshHello(), monitor.freshHello()]
  clock.advance(4)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(upstream.received.length - before, 1)
  clock.advance(1)
  await Promise.all(shared)
  t.equal(upstream.received.length - before, 2)
  clock.advance(5)
  await new Promise(resolve => setImmediate(resolve))
  await monitor.freshHello()
  t.equal(upstream.received.length - before, 3)
})

t.test('onHello gets each hello before its caller, and undefined when the member is unreachable', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor, reported } = createMonitor(t, upstream)
  await upstream.streaming(1)
  const fresh = monitor.freshHello().then(() => reported.length)
  t.equal(await fresh, 2)
  upstream.change(at(7, { isWritablePrimary: false, secondary: true }))
  while (reported.length < 3) await new Promise(resolve => setImmediate(resolve))
  t.match(reported[2], { isWritablePrimary: false })
  t.equal(monitor.cachedHello(), reported[2])
  t.equal(monitor.lastError(), undefined)
  await upstream.stop()
  await faultOfAsync(() => monitor.freshHello())
  t.equal(reported.at(-1), undefined)
  t.equal(monitor.lastError()?.kind, 'upstream/unreachable')
})

t.test('an invalid hello makes the member unreachable', async t => {
  const upstream = await startScriptedUpstream(t, () =>
    at(6, { hosts: Array.from({ length: 101 }, (_, at) => `h${at}:1`) }),
  )
  const { monitor, reported } = createMonitor(t, upstream)
  t.match(await faultOfAsync(() => monitor.freshHello()), {
    kind: 'upstream/protocol-error',
    facts: { field: 'hosts' },
  })
  t.equal(monitor.cachedHello(), undefined)
  t.same(reported.filter(Boolean), [])
})

t.test('awaitable hellos keep an interval, however fast the member replies', async t => {
  const upstream = await startScriptedUpstream(t, () => at(6))
  const { monitor, clock } = createMonitor(t, upstream)
  await upstream.waitForCommands(2)
  await monitor.freshHello()
  await monitor.freshHello()
  t.equal(upstream.received.filter(({ body }) => body.topologyVersion).length, 1)
  clock.advance(50)
  await upstream.waitForCommands(5)
  t.equal(upstream.received.filter(({ body }) => body.topologyVersion).length, 2)
})

t.test('a member without a topologyVersion is only polled', async t => {
  const upstream = await startScriptedUpstream(t, () => memberHello({ topologyVersion: undefined }))
  const { monitor } = createMonitor(t, upstream)
  await upstream.waitForCommands(1)
  t.notOk((await monitor.freshHello()).topologyVersion)
  t.equal(upstream.received.length, 2)
  upstream.script(({ body }) => (body.topologyVersion ? silence : at(1)))
  await monitor.freshHello()
  await upstream.waitForCommands(5)
  t.ok(
    upstream.received.some(({ body }) => body.topologyVersion),
    'streaming starts with the first topologyVersion',
  )
})

t.test('a member that is down at start throws upstream/unreachable, and is found once it is up', async t => {
  const upstream = await startHoldingUpstream(t)
  await upstream.stop()
  const { log, events, until } = createObservedLog()
  const { monitor, clock } = createMonitor(t, upstream, { log })
  await until('upstream unreachable')
  t.match(await faultOfAsync(() => monitor.freshHello()), {
    kind: 'upstream/unreachable',
    facts: { code: 'ECONNREFUSED' },
  })
  t.equal(monitor.cachedHello(), undefined)
  await upstream.start()
  clock.advance(10_000)
  await upstream.streaming(1)
  t.equal(counter(monitor.cachedHello()), 6)
  t.same(
    events.map(({ event }) => event),
    ['upstream unreachable', 'upstream state changed'],
    'an outage is one log line',
  )
})

t.test('a successful check ends the pause before the streaming socket reconnects', async t => {
  const upstream = await startHoldingUpstream(t)
  await upstream.stop()
  const { log, until } = createObservedLog()
  const { monitor } = createMonitor(t, upstream, { log })
  await until('upstream unreachable')
  await upstream.start()
  await monitor.freshHello()
  await upstream.streaming(1)
})

t.test('a member that dies is reported, and a closed streaming socket is replaced without a report', async t => {
  const upstream = await startHoldingUpstream(t)
  const { log, until } = createObservedLog()
  const { monitor, reported } = createMonitor(t, upstream, { log })
  await upstream.streaming(1)
  upstream.closeSockets()
  await upstream.streaming(2)
  t.equal(counter(monitor.cachedHello()), 6, 'streaming again')
  t.notOk(reported.includes(undefined))
  await upstream.stop()
  await until('upstream unreachable')
  t.equal(reported.at(-1), undefined)
  t.equal(monitor.cachedHello(), undefined)
})

t.test('an idle polling socket that the member closed is replaced', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor } = createMonitor(t, upstream)
  await upstream.streaming(1)
  await monitor.freshHello()
  let hungUp = false
  upstream.script(() => {
    if (hungUp) return at(6)
    hungUp = true
    return hangUp
  })
  t.equal(counter(await monitor.freshHello()), 6)
})

t.test('a member that refuses new connections keeps its state from the streaming socket', async t => {
  const upstream = await startHoldingUpstream(t)
  const { log, until } = createObservedLog()
  const { monitor, reported } = createMonitor(t, upstream, { log })
  await upstream.streaming(1)
  await monitor.freshHello()
  upstream.script(() => hangUp)
  t.match(await faultOfAsync(() => monitor.freshHello()), { kind: 'upstream/unreachable' })
  t.equal(counter(monitor.cachedHello()), 6, 'the cached hello is still valid')
  t.notOk(reported.includes(undefined))
  upstream.change(at(7))
  await until('upstream state changed', 2)
  t.equal(counter(monitor.cachedHello()), 7, 'the next hello is received')
})

t.test('a check that times out is repeated once, without a report', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor, clock, reported } = createMonitor(t, upstream)
  await upstream.streaming(1)
  await monitor.freshHello()
  upstream.script(() => silence)
  const before = upstream.received.length
  const check = monitor.freshHello()
  await upstream.waitForCommands(before + 1)
  upstream.normal()
  clock.advance(2_000)
  t.equal(counter(await check), 6)
  t.equal(upstream.accepted(), 3, 'over a new socket')
  t.notOk(reported.includes(undefined))
  t.equal(upstream.awaited().length, 1, 'the streaming socket stays')
})

t.test('a member that no longer answers is unreachable within four seconds', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor, clock } = createMonitor(t, upstream)
  await upstream.streaming(1)
  await monitor.freshHello()
  upstream.script(() => silence)
  const before = upstream.received.length
  const check = monitor.freshHello()
  await upstream.waitForCommands(before + 1)
  clock.advance(2_000)
  await upstream.waitForCommands(before + 2)
  t.equal(counter(monitor.cachedHello()), 6, 'not yet')
  clock.advance(2_000)
  t.match(await faultOfAsync(() => check), { kind: 'upstream/unreachable', facts: { code: 'ETIMEDOUT' } })
  t.equal(monitor.cachedHello(), undefined)
})

t.test('a member of another replica set and a failing hello throw upstream/unreachable', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor } = createMonitor(t, upstream, { target: { replicaSet: 'other' } })
  t.equal((await faultOfAsync(() => monitor.freshHello()))?.kind, 'upstream/unreachable')
  const failing = await startScriptedUpstream(t, () => ({ ok: 0, code: 13, errmsg: 'no' }))
  const second = createMonitor(t, failing).monitor
  t.match(await faultOfAsync(() => second.freshHello()), { kind: 'upstream/unreachable', facts: { code: 13 } })
})

t.test('another process at the same address is reported, also after an outage', async t => {
  const upstream = await startHoldingUpstream(t)
  let restarts = 0
  const { monitor } = createMonitor(t, upstream, { onServerRestart: () => restarts++ })
  await upstream.streaming(1)
  await monitor.freshHello()
  t.equal(restarts, 0)
  await upstream.stop()
  await faultOfAsync(() => monitor.freshHello())
  upstream.change({ ...at(1), topologyVersion: { processId: new ObjectId(), counter: Long.fromNumber(1) } })
  await upstream.start()
  await monitor.freshHello()
  t.equal(restarts, 1)
})

t.test('close ends the sockets and rejects pending callers', async t => {
  const upstream = await startHoldingUpstream(t)
  const { monitor } = createMonitor(t, upstream)
  await upstream.streaming(1)
  await monitor.freshHello()
  const closed = [...upstream.sockets].map(socket => new Promise(resolve => socket.once('close', resolve)))
  upstream.script(() => silence)
  const waiting = monitor.freshHello()
  monitor.close(new Fault('proxy/shutdown'))
  t.equal((await faultOfAsync(() => waiting))?.kind, 'proxy/shutdown')
  t.equal((await faultOfAsync(() => monitor.freshHello()))?.kind, 'proxy/shutdown')
  await Promise.all(closed)
})
