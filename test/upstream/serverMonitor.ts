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

/** An upstream that holds awaited hellos until the test changes it. */
async function heldUpstream(t: T, hello: Document = at(6)) {
  let current = hello
  let held: ((answer: Answer) => void)[] = []
  const script = ({ body }: ReceivedCommand): Answer | Promise<Answer> =>
    body.topologyVersion ? new Promise<Answer>(resolve => held.push(resolve)) : current
  const upstream = await startScriptedUpstream(t, script)
  return {
    ...upstream,
    normal: () => upstream.script(script),
    change: (next: Document) => {
      current = next
      const waiting = held
      held = []
      for (const release of waiting) release(next)
    },
    awaited: () => upstream.received.filter(({ body }) => body.topologyVersion),
    /** Resolves once this many awaited hellos have arrived. */
    watched: async (count: number) => {
      while (upstream.received.filter(({ body }) => body.topologyVersion).length < count) {
        await upstream.waitForCommands(upstream.received.length + 1)
      }
    },
  }
}

function mirrored(
  t: T,
  { target }: Pick<ScriptedUpstream, 'target'>,
  changes: { log?: Log; onServerRestart?: () => void; target?: Partial<Target>; paced?: boolean } = {},
) {
  const clock = createManualClock()
  const seen: (Document | undefined)[] = []
  // Plain hellos are paced, of which one test tells; to the others no time passes.
  const after: typeof clock.after = (ms, run) => {
    if (ms !== 5 || changes.paced) return clock.after(ms, run)
    queueMicrotask(run)
    return () => {}
  }
  const mirror = new ServerMonitor({
    log: silentLog,
    random: () => 0,
    after,
    onHello: hello => seen.push(hello),
    ...changes,
    target: { ...target, ...changes.target },
  })
  t.teardown(() => mirror.close(new Fault('proxy/shutdown')))
  return { mirror, clock, seen }
}

/** A log that tells when an event is written. */
function heard() {
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

t.test('a plain hello is answered from a reply that was asked for afterwards, types unchanged', async t => {
  const upstream = await heldUpstream(t)
  const { mirror } = mirrored(t, upstream)
  await upstream.watched(1)
  const hello = await mirror.freshHello()
  t.ok(Long.isLong(hello.topologyVersion.counter))
  t.equal(upstream.received.filter(({ body }) => !body.topologyVersion).length, 2, 'one to watch, one for who asked')
  await mirror.freshHello()
  t.equal(upstream.accepted(), 2, 'the second socket is kept')
  t.match(upstream.received[0]?.body, { client: { driver: { name: 'mongo-iam-proxy' } } })
  t.same([...new Set(upstream.received.map(({ name }) => name))], ['hello'], 'it never logs in')
})

t.test('who asks while a reply is underway shares the one after it', async t => {
  const upstream = await heldUpstream(t)
  const { mirror } = mirrored(t, upstream)
  await upstream.watched(1)
  await mirror.freshHello()
  await new Promise(resolve => setImmediate(resolve)) // its run is over then
  const before = upstream.received.length
  const replies = [mirror.freshHello(), ...Array.from({ length: 50 }, () => mirror.freshHello())]
  await Promise.all(replies)
  t.equal(upstream.received.length - before, 2)
})

t.test('plain hellos begin five milliseconds apart, and at once where there was none', async t => {
  const upstream = await heldUpstream(t)
  const { mirror, clock } = mirrored(t, upstream, { paced: true })
  await upstream.watched(1)
  const before = upstream.received.length
  await mirror.freshHello()
  const shared = [mirror.freshHello(), mirror.freshHello()]
  clock.advance(4)
  await new Promise(resolve => setImmediate(resolve))
  t.equal(upstream.received.length - before, 1)
  clock.advance(1)
  await Promise.all(shared)
  t.equal(upstream.received.length - before, 2)
  clock.advance(5)
  await new Promise(resolve => setImmediate(resolve))
  await mirror.freshHello()
  t.equal(upstream.received.length - before, 3)
})

t.test('each hello is told before anybody else has it, and that the member is away', async t => {
  const upstream = await heldUpstream(t)
  const { mirror, seen } = mirrored(t, upstream)
  await upstream.watched(1)
  const fresh = mirror.freshHello().then(() => seen.length)
  t.equal(await fresh, 2)
  upstream.change(at(7, { isWritablePrimary: false, secondary: true }))
  while (seen.length < 3) await new Promise(resolve => setImmediate(resolve))
  t.match(seen[2], { isWritablePrimary: false })
  t.equal(mirror.cachedHello(), seen[2])
  t.equal(mirror.lastError(), undefined)
  await upstream.stop()
  await faultOfAsync(() => mirror.freshHello())
  t.equal(seen.at(-1), undefined)
  t.equal(mirror.lastError()?.kind, 'upstream/unreachable')
})

t.test('a hello out of form is as good as none', async t => {
  const upstream = await startScriptedUpstream(t, () =>
    at(6, { hosts: Array.from({ length: 101 }, (_, at) => `h${at}:1`) }),
  )
  const { mirror, seen } = mirrored(t, upstream)
  t.match(await faultOfAsync(() => mirror.freshHello()), { kind: 'upstream/protocol-error', facts: { field: 'hosts' } })
  t.equal(mirror.cachedHello(), undefined)
  t.same(seen.filter(Boolean), [])
})

t.test('awaited hellos are paced, however fast they come back', async t => {
  const upstream = await startScriptedUpstream(t, () => at(6))
  const { mirror, clock } = mirrored(t, upstream)
  await upstream.waitForCommands(2)
  await mirror.freshHello()
  await mirror.freshHello()
  t.equal(upstream.received.filter(({ body }) => body.topologyVersion).length, 1)
  clock.advance(50)
  await upstream.waitForCommands(5)
  t.equal(upstream.received.filter(({ body }) => body.topologyVersion).length, 2)
})

t.test('an upstream without a topology version is only asked on demand', async t => {
  const upstream = await startScriptedUpstream(t, () => memberHello({ topologyVersion: undefined }))
  const { mirror } = mirrored(t, upstream)
  await upstream.waitForCommands(1)
  t.notOk((await mirror.freshHello()).topologyVersion)
  t.equal(upstream.received.length, 2)
  upstream.script(({ body }) => (body.topologyVersion ? silence : at(1)))
  await mirror.freshHello()
  await upstream.waitForCommands(5)
  t.ok(
    upstream.received.some(({ body }) => body.topologyVersion),
    'it can be watched from now on',
  )
})

t.test('down at start: who asks is told, and once it is up the mirror finds it by itself', async t => {
  const upstream = await heldUpstream(t)
  await upstream.stop()
  const { log, events, until } = heard()
  const { mirror, clock } = mirrored(t, upstream, { log })
  await until('upstream unreachable')
  t.match(await faultOfAsync(() => mirror.freshHello()), {
    kind: 'upstream/unreachable',
    facts: { code: 'ECONNREFUSED' },
  })
  t.equal(mirror.cachedHello(), undefined)
  await upstream.start()
  clock.advance(10_000)
  await upstream.watched(1)
  t.equal(counter(mirror.cachedHello()), 6)
  t.same(
    events.map(({ event }) => event),
    ['upstream unreachable', 'upstream state changed'],
    'an outage is one line',
  )
})

t.test('a question that gets through wakes a watch that was waiting to try again', async t => {
  const upstream = await heldUpstream(t)
  await upstream.stop()
  const { log, until } = heard()
  const { mirror } = mirrored(t, upstream, { log })
  await until('upstream unreachable')
  await upstream.start()
  await mirror.freshHello()
  await upstream.watched(1)
})

t.test('when the member dies that is told; when its socket just ends nobody is the wiser', async t => {
  const upstream = await heldUpstream(t)
  const { log, until } = heard()
  const { mirror, seen } = mirrored(t, upstream, { log })
  await upstream.watched(1)
  upstream.closeSockets()
  await upstream.watched(2)
  t.equal(counter(mirror.cachedHello()), 6, 'watching again')
  t.notOk(seen.includes(undefined))
  await upstream.stop()
  await until('upstream unreachable')
  t.equal(seen.at(-1), undefined)
  t.equal(mirror.cachedHello(), undefined)
})

t.test('an idle socket that was closed meanwhile is replaced without anybody noticing', async t => {
  const upstream = await heldUpstream(t)
  const { mirror } = mirrored(t, upstream)
  await upstream.watched(1)
  await mirror.freshHello()
  let hungUp = false
  upstream.script(() => {
    if (hungUp) return at(6)
    hungUp = true
    return hangUp
  })
  t.equal(counter(await mirror.freshHello()), 6)
})

t.test('who takes no more connections goes on with those that it has', async t => {
  const upstream = await heldUpstream(t)
  const { log, until } = heard()
  const { mirror, seen } = mirrored(t, upstream, { log })
  await upstream.watched(1)
  await mirror.freshHello()
  upstream.script(() => hangUp)
  t.match(await faultOfAsync(() => mirror.freshHello()), { kind: 'upstream/unreachable' })
  t.equal(counter(mirror.cachedHello()), 6, 'what it said is still so')
  t.notOk(seen.includes(undefined))
  upstream.change(at(7))
  await until('upstream state changed', 2)
  t.equal(counter(mirror.cachedHello()), 7, 'and what it says next is heard')
})

t.test('one hello that takes too long is asked for once more, and nobody else notices', async t => {
  const upstream = await heldUpstream(t)
  const { mirror, clock, seen } = mirrored(t, upstream)
  await upstream.watched(1)
  await mirror.freshHello()
  upstream.script(() => silence)
  const asked = upstream.received.length
  const question = mirror.freshHello()
  await upstream.waitForCommands(asked + 1)
  upstream.normal()
  clock.advance(2_000)
  t.equal(counter(await question), 6)
  t.equal(upstream.accepted(), 3, 'on a socket of its own')
  t.notOk(seen.includes(undefined))
  t.equal(upstream.awaited().length, 1, 'it is still watched by the same socket')
})

t.test('an upstream that no longer answers is away within four seconds', async t => {
  const upstream = await heldUpstream(t)
  const { mirror, clock } = mirrored(t, upstream)
  await upstream.watched(1)
  await mirror.freshHello()
  upstream.script(() => silence)
  const asked = upstream.received.length
  const question = mirror.freshHello()
  await upstream.waitForCommands(asked + 1)
  clock.advance(2_000)
  await upstream.waitForCommands(asked + 2)
  t.equal(counter(mirror.cachedHello()), 6, 'not yet')
  clock.advance(2_000)
  t.match(await faultOfAsync(() => question), { kind: 'upstream/unreachable', facts: { code: 'ETIMEDOUT' } })
  t.equal(mirror.cachedHello(), undefined)
})

t.test('a member of another set, and a hello that fails, are away', async t => {
  const upstream = await heldUpstream(t)
  const { mirror } = mirrored(t, upstream, { target: { replicaSet: 'other' } })
  t.equal((await faultOfAsync(() => mirror.freshHello()))?.kind, 'upstream/unreachable')
  const failing = await startScriptedUpstream(t, () => ({ ok: 0, code: 13, errmsg: 'no' }))
  const second = mirrored(t, failing).mirror
  t.match(await faultOfAsync(() => second.freshHello()), { kind: 'upstream/unreachable', facts: { code: 13 } })
})

t.test('another process at the same address is reported, also after an outage', async t => {
  const upstream = await heldUpstream(t)
  let restarts = 0
  const { mirror } = mirrored(t, upstream, { onServerRestart: () => restarts++ })
  await upstream.watched(1)
  await mirror.freshHello()
  t.equal(restarts, 0)
  await upstream.stop()
  await faultOfAsync(() => mirror.freshHello())
  upstream.change({ ...at(1), topologyVersion: { processId: new ObjectId(), counter: Long.fromNumber(1) } })
  await upstream.start()
  await mirror.freshHello()
  t.equal(restarts, 1)
})

t.test('closing ends its sockets and whoever waits', async t => {
  const upstream = await heldUpstream(t)
  const { mirror } = mirrored(t, upstream)
  await upstream.watched(1)
  await mirror.freshHello()
  const closed = [...upstream.sockets].map(socket => new Promise(resolve => socket.once('close', resolve)))
  upstream.script(() => silence)
  const waiting = mirror.freshHello()
  mirror.close(new Fault('proxy/shutdown'))
  t.equal((await faultOfAsync(() => waiting))?.kind, 'proxy/shutdown')
  t.equal((await faultOfAsync(() => mirror.freshHello()))?.kind, 'proxy/shutdown')
  await Promise.all(closed)
})
