import t from 'tap'
import {
  type FakeConnection,
  skipWithoutLoopbackNetwork,
  startListener,
  sum,
  tls,
  until,
} from '../support/clientListener.js'
import { waitForClose } from '../support/sockets.js'

t.test(
  'an address is limited until its connections are authenticated, and other addresses are not affected',
  { skip: skipWithoutLoopbackNetwork },
  async t => {
    const { listener, dialServed, dial, rejected, lines } = await startListener(t, { perAddress: 2 })
    const one = await dialServed()
    await dialServed()
    const refused = await dial()
    await waitForClose(refused)
    t.same(rejected, ['listener/connection-limit'])
    t.match(lines, [{ event: 'connection shed', level: 'debug', address: '127.0.0.1', why: 'limit per address' }])
    await dialServed('127.0.0.2')
    one.client.setStage('authenticating')
    one.client.setStage('authenticated')
    const three = await dialServed()
    await waitForClose(await dial())
    three.socket.destroy()
    await until(() => sum(listener.countByStage()) === 3)
    await dialServed()
    one.socket.destroy()
    await until(() => sum(listener.countByStage()) === 3)
    await waitForClose(await dial())
    t.equal(rejected.length, 3, 'an authenticated connection is not subtracted twice when it closes')
  },
)

t.test('unauthenticated connections get half of the slots', async t => {
  const { listener, dialServed } = await startListener(t, { connections: 8 })
  for (let i = 0; i < 4; i++) (await dialServed()).client.setStage('authenticated')
  const unauthenticated = [await dialServed(), await dialServed(), await dialServed(), await dialServed()]
  t.same(listener.countByStage(), { connecting: 4, unauthenticated: 0, authenticating: 0, authenticated: 4 })
  await dialServed()
  t.same(
    listener.countByStage(),
    { connecting: 4, unauthenticated: 0, authenticating: 0, authenticated: 4 },
    'one was evicted',
  )
  t.match(unauthenticated[0]?.destroyedWith, { kind: 'listener/connection-limit' })
  const { listener: idle, dialServed: dialIdle } = await startListener(t, { connections: 8 })
  for (let i = 0; i < 6; i++) await dialIdle()
  t.equal(idle.countByStage().connecting, 4, 'although four slots are free')
})

t.test('when all slots are taken, the connection that is silent longest is evicted', async t => {
  const { dialServed, rejected } = await startListener(t, { connections: 8 })
  const [a, b, c, d] = [await dialServed(), await dialServed(), await dialServed(), await dialServed()]
  a.client.setStage('unauthenticated') // silent longest: b, then c, then d, then a
  d.client.setStage('unauthenticated')
  a.client.recordActivity()
  const evicted: FakeConnection[] = []
  for (const _ of [1, 2, 3, 4]) {
    await dialServed()
    for (const each of [a, b, c, d]) if (each.destroyedWith && !evicted.includes(each)) evicted.push(each)
  }
  t.same(
    evicted.map(({ client }) => client.id),
    [b, c, d, a].map(({ client }) => client.id),
  )
  t.same(rejected, [], 'connections report their ends themselves')
})

t.test('silent connections that sent a hello do not keep out new ones', async t => {
  const { dialServed } = await startListener(t, { connections: 8 })
  const silent = [await dialServed(), await dialServed(), await dialServed()]
  for (const { client } of silent) client.setStage('unauthenticated')
  const slow = await dialServed()
  const second = await dialServed()
  t.notOk(slow.destroyedWith, 'a connection that was active a moment ago stays')
  t.ok(silent[0]?.destroyedWith)
  second.client.setStage('unauthenticated')
  slow.client.setStage('unauthenticated')
})

t.test('a login in progress is not evicted; the new connection is closed', async t => {
  const { dialServed, dial, rejected, lines } = await startListener(t, { connections: 4 })
  const loggingIn = [await dialServed(), await dialServed()]
  for (const { client } of loggingIn) client.setStage('authenticating')
  await waitForClose(await dial())
  t.same(rejected, ['listener/connection-limit'])
  t.match(lines, [{ event: 'connection shed', why: 'limit of connections' }])
  for (const { destroyedWith } of loggingIn) t.equal(destroyedWith, undefined)
})

t.test('authenticated connections may fill all slots and are never evicted', async t => {
  const { listener, dialServed, dial, rejected } = await startListener(t, { connections: 2 })
  const authenticated = [await dialServed()]
  authenticated[0]?.client.setStage('authenticated')
  authenticated.push(await dialServed())
  authenticated[1]?.client.setStage('authenticated')
  await waitForClose(await dial())
  t.same(rejected, ['listener/connection-limit'])
  t.equal(listener.countByStage().authenticated, 2)
  for (const { destroyedWith } of authenticated) t.equal(destroyedWith, undefined)
})

t.test('a connection in its TLS handshake can be evicted', async t => {
  const { listener, dial, rejected } = await startListener(t, { tls, connections: 2 })
  const first = await dial()
  await until(() => listener.countByStage().connecting === 1)
  await dial()
  await waitForClose(first)
  t.equal(listener.countByStage().connecting, 1)
  t.same(rejected, ['listener/connection-limit'])
})

t.test(
  'an address with many active connections does not push out those of another',
  { skip: skipWithoutLoopbackNetwork },
  async t => {
    const { listener, dialServed } = await startListener(t, { connections: 12, perAddress: 4 })
    const monitor = await dialServed('127.0.0.9')
    monitor.client.setStage('unauthenticated')
    const active: FakeConnection[] = []
    for (const from of ['127.0.0.2', '127.0.0.3', '127.0.0.2', '127.0.0.3', '127.0.0.2'])
      active.push(await dialServed(from))
    for (const { client } of active) client.recordActivity() // now the monitor is silent longest
    const newcomer = await dialServed('127.0.0.4')
    t.notOk(monitor.destroyedWith)
    t.match(
      active[0]?.destroyedWith,
      { kind: 'listener/connection-limit' },
      'the evicted one belongs to an address with the most',
    )
    for (const { client } of active) client.recordActivity()
    await dialServed('127.0.0.3')
    t.notOk(monitor.destroyedWith)
    t.notOk(newcomer.destroyedWith)
    t.match(
      active[1]?.destroyedWith,
      { kind: 'listener/connection-limit' },
      'an address with the most gives up one of its own',
    )
    t.equal(sum(listener.countByStage()), 6)
  },
)

t.test(
  'logins of an address with many connections yield to another address',
  { skip: skipWithoutLoopbackNetwork },
  async t => {
    const { listener, dialServed, dial } = await startListener(t, { connections: 8, perAddress: 4 })
    const active: FakeConnection[] = []
    for (const from of ['127.0.0.2', '127.0.0.2', '127.0.0.2', '127.0.0.3']) active.push(await dialServed(from))
    for (const { client } of active) client.setStage('authenticating')
    const newcomer = await dialServed('127.0.0.4')
    newcomer.client.setStage('authenticating')
    t.match(active[0]?.destroyedWith, { kind: 'listener/connection-limit' })
    await waitForClose(await dial('127.0.0.3'))
    t.notOk(
      active.slice(1).some(({ destroyedWith }) => destroyedWith),
      'an address that would have as many evicts none',
    )
    t.equal(sum(listener.countByStage()), 4)
  },
)

t.test('sessions do not take the reserve, even if a lower limit has left too many of them', async t => {
  const { listener, dialServed, rejected } = await startListener(t, { connections: 8, reserve: 2 })
  const monitor = await dialServed()
  monitor.client.setStage('unauthenticated')
  for (let i = 0; i < 6; i++) (await dialServed()).client.setStage('authenticated')
  t.notOk(monitor.destroyedWith)
  t.same(listener.countByStage(), { connecting: 0, unauthenticated: 1, authenticating: 0, authenticated: 6 })
  listener.reconfigure({ connections: 4, reserve: 2, perAddress: 50 })
  const second = await dialServed()
  t.notOk(monitor.destroyedWith, 'two unauthenticated connections are the reserve')
  await dialServed()
  t.ok(monitor.destroyedWith)
  t.notOk(second.destroyedWith)
  t.same(rejected, [])
})

t.test('a reserve of more than half of the connections is all for unauthenticated ones', async t => {
  const { listener, dialServed } = await startListener(t, { connections: 8, reserve: 6 })
  for (let i = 0; i < 7; i++) await dialServed()
  t.equal(listener.countByStage().connecting, 6)
})

t.test('a burst of connections does not push out the monitors of its own address', async t => {
  const { dialServed } = await startListener(t, { connections: 12 })
  const monitors = [await dialServed(), await dialServed(), await dialServed()]
  for (const { client } of monitors) {
    client.setStage('unauthenticated')
    client.markMonitor()
  }
  const burst: FakeConnection[] = []
  for (let i = 0; i < 10; i++) burst.push(await dialServed())
  t.same(
    monitors.filter(({ destroyedWith }) => destroyedWith),
    [],
  )
  t.equal(burst.filter(({ destroyedWith }) => destroyedWith).length, 7)
})

t.test('nor the monitors of an address that has more connections', { skip: skipWithoutLoopbackNetwork }, async t => {
  const { dialServed } = await startListener(t, { connections: 16 })
  const monitors: FakeConnection[] = []
  for (let i = 0; i < 4; i++) monitors.push(await dialServed('127.0.0.2'))
  for (const { client } of monitors) {
    client.setStage('unauthenticated')
    client.markMonitor()
  }
  for (let i = 0; i < 10; i++) await dialServed('127.0.0.3')
  t.same(
    monitors.filter(({ destroyedWith }) => destroyedWith),
    [],
  )
})

t.test('connections that pretend to be monitors keep no other out', async t => {
  const { dialServed } = await startListener(t, { connections: 12 })
  const pretenders: FakeConnection[] = []
  for (let i = 0; i < 6; i++) {
    const one = await dialServed()
    one.client.setStage('unauthenticated')
    one.client.markMonitor()
    pretenders.push(one)
  }
  const newcomers = [await dialServed(), await dialServed(), await dialServed()]
  t.equal(pretenders.filter(({ destroyedWith }) => destroyedWith).length, 3)
  await dialServed()
  t.ok(newcomers[0]?.destroyedWith)
  t.equal(pretenders.filter(({ destroyedWith }) => destroyedWith).length, 3)
})

t.test('a monitor that logs in is no monitor any more', async t => {
  const { dialServed } = await startListener(t, { connections: 4 })
  const one = await dialServed()
  one.client.setStage('unauthenticated')
  one.client.markMonitor()
  one.client.setStage('authenticating')
  one.client.setStage('unauthenticated')
  one.client.markMonitor()
  one.client.recordActivity()
  const two = await dialServed()
  await dialServed()
  t.ok(two.destroyedWith)
  t.notOk(one.destroyedWith)
})
