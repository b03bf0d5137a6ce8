import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { setImmediate as nextIteration } from 'node:timers/promises'
import { connect as connectTLS, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { Connection } from '../../src/client/connection.js'
import { type ListenerOptions, listen } from '../../src/client/listener.js'
import { Fault, type FaultKind } from '../../src/errors.js'
import { silentLog } from '../../src/log.js'
import { writeMessage } from '../../src/wire/message.js'
import { silentAudit } from '../support/audit.js'
import {
  type FakeConnection,
  pem,
  skipWithoutLoopbackNetwork,
  startListener,
  sum,
  tls,
  unqueued,
  until,
} from '../support/clientListener.js'

import { createManualClock } from '../support/clock.js'
import { faultOfAsync } from '../support/faults.js'
import { createFrameReceiver, waitForClose } from '../support/sockets.js'

const ipv6 = Object.values(networkInterfaces()).some(addresses => addresses?.some(({ family }) => family === 'IPv6'))
const hello = (id = 1) => writeMessage({ hello: 1, $db: 'admin' }, id)

t.test('a connection is in one stage at a time, and in none once it has closed', async t => {
  const { listener, dialServed } = await startListener(t)
  const one = await dialServed()
  await dialServed()
  t.same(listener.countByStage(), { connecting: 2, unauthenticated: 0, authenticating: 0, authenticated: 0 })
  one.client.setStage('unauthenticated')
  t.same(listener.countByStage(), { connecting: 1, unauthenticated: 1, authenticating: 0, authenticated: 0 })
  one.client.setStage('authenticating')
  one.client.recordActivity()
  t.same(listener.countByStage(), { connecting: 1, unauthenticated: 0, authenticating: 1, authenticated: 0 })
  one.client.setStage('authenticated')
  t.same(listener.countByStage(), { connecting: 1, unauthenticated: 0, authenticating: 0, authenticated: 1 })
  one.socket.destroy()
  await until(() => sum(listener.countByStage()) === 1)
  one.client.setStage('unauthenticated')
  one.client.recordActivity()
  t.same(
    listener.countByStage(),
    { connecting: 1, unauthenticated: 0, authenticating: 0, authenticated: 0 },
    'closed connections are not moved',
  )
})

t.test(
  'connections are numbered and carry the address of their client',
  { skip: skipWithoutLoopbackNetwork },
  async t => {
    const { dialServed } = await startListener(t)
    const [one, two] = [await dialServed(), await dialServed('127.0.0.2')]
    t.same([one.client.id, two.client.id], [1, 2])
    t.match(one.client.peer, /^127\.0\.0\.1:\d+$/)
    t.match(two.client.peer, /^127\.0\.0\.2:\d+$/)
  },
)

t.test('an IPv4-mapped IPv6 address counts as its IPv4 address', { skip: !ipv6 && 'no IPv6' }, async t => {
  const { listener, dialServed, rejected } = await startListener(t, { host: '::', perAddress: 1 })
  t.match((await dialServed()).client.peer, /^127\.0\.0\.1:\d+$/)
  t.equal(sum(listener.countByStage()), 1)
  t.same(rejected, [])
})

t.test('an IPv6 client counts by its /64, which one machine may own', { skip: !ipv6 && 'no IPv6' }, async t => {
  const { listener, lines } = await startListener(t, { host: '::1', perAddress: 1 })
  const dial = () =>
    connect({ host: '::1', port: listener.port })
      .on('error', () => {})
      .resume()
  t.teardown(() => clients.map(client => client.destroy()))
  const clients = [dial()]
  await until(() => sum(listener.countByStage()) === 1)
  clients.push(dial())
  await until(() => lines.length === 1)
  t.match(lines, [{ event: 'connection shed', address: '0:0:0:0::/64', why: 'limit per address' }])
})

t.test('new limits apply to new connections, and plain text stays plain text', async t => {
  const { listener, dialServed, dial, rejected } = await startListener(t, { perAddress: 10 })
  await dialServed()
  listener.reconfigure({ connections: 10, reserve: 0, perAddress: 1, tls })
  await waitForClose(await dial())
  t.same(rejected, ['listener/connection-limit'])
  listener.reconfigure({ connections: 10, reserve: 0, perAddress: 2 })
  const { socket } = await dialServed()
  t.notOk('encrypted' in socket)
})

t.test('an accepted socket waits in the queue of its address, unread, until it is served', async t => {
  const queued: { address: string; serve(): void }[] = []
  const { listener, connections, dial } = await startListener(t, {
    acceptQueue: { ...unqueued, enqueue: (address, serve) => queued.push({ address, serve }) },
  })
  const client = await dial()
  client.write('hello')
  await until(() => queued.length === 1)
  for (let iterations = 0; iterations < 10; iterations++) await nextIteration()
  t.equal(queued[0]?.address, '127.0.0.1')
  t.equal(connections.length, 0)
  t.equal(listener.countByStage().connecting, 1, 'it occupies a slot')
  queued[0]?.serve()
  const [chunk] = await once((connections[0] as FakeConnection).socket, 'data')
  t.equal(String(chunk), 'hello')
})

t.test('a socket that is evicted or drained while queued is never served', async t => {
  const queued: (() => void)[] = []
  const { listener, connections, dial, rejected } = await startListener(t, {
    connections: 2,
    acceptQueue: { ...unqueued, enqueue: (_, serve) => queued.push(serve) },
  })
  const [first, second] = [await dial(), await dial()]
  await until(() => queued.length === 2)
  t.same(rejected, ['listener/connection-limit'])
  await waitForClose(first)
  const drained = listener.drain()
  await Promise.all([waitForClose(second), drained])
  for (const serve of queued) serve()
  t.equal(connections.length, 0)
})

t.test('a client that left the queue is noticed when its address is due', async t => {
  const queued: (() => void)[] = []
  const { connections, dial } = await startListener(t, {
    acceptQueue: { ...unqueued, enqueue: (_, serve) => queued.push(serve) },
  })
  const client = await dial()
  await until(() => queued.length === 1)
  client.end()
  await nextIteration()
  queued[0]?.()
  await once((connections[0] as FakeConnection).socket, 'end')
})

t.test('a taken or foreign listen address is a fault with exit code 69', async t => {
  const { listener } = await startListener(t)
  const options = {
    backlog: 1,
    connections: 1,
    reserve: 0,
    perAddress: 1,
    log: silentLog,
    acceptQueue: unqueued,
    sockets: { serve: () => ({}) as Connection, reconfigure() {} },
    onRejected: () => {},
    maxDescriptor: () => Number.POSITIVE_INFINITY,
    onAcceptFailed: () => {},
  }
  for (const [host, port] of [
    ['127.0.0.1', listener.port],
    ['192.0.2.1', 0],
  ] as const) {
    const fault = await faultOfAsync(() => listen({ ...options, host, port }))
    t.match(fault, { kind: 'listener/address-unavailable', definition: { exit: 69 } })
    t.match(fault?.message, `${host}:${port}`)
  }
})

t.test('a stopped listener accepts no sockets and keeps its connections', async t => {
  const { listener, dialServed } = await startListener(t)
  const { socket } = await dialServed()
  listener.stopAccepting()
  const late = connect({ port: listener.port, host: '127.0.0.1' })
  const [error] = await once(late, 'error')
  t.equal(error.code, 'ECONNREFUSED')
  t.equal(socket.destroyed, false)
})

t.test('draining drains each connection and resolves when all have closed', async t => {
  const { listener, dialServed } = await startListener(t)
  const [one, two] = [await dialServed(), await dialServed()]
  two.client.setStage('authenticated')
  listener.stopAccepting()
  let isDrained = false
  const drained = listener.drain().then(() => {
    isDrained = true
  })
  t.ok(one.drained && two.drained)
  one.socket.destroy()
  await until(() => sum(listener.countByStage()) === 1)
  t.equal(isDrained, false)
  two.socket.destroy()
  await drained
})

t.test('draining an empty listener resolves at once', async t => {
  const { listener } = await startListener(t)
  listener.stopAccepting()
  await listener.drain()
})

t.test('destroying closes all connections with a reason', async t => {
  const { listener, dialServed } = await startListener(t)
  const { socket } = await dialServed()
  const other = await dialServed()
  listener.destroy()
  t.match(other.destroyedWith, { kind: 'proxy/shutdown' })
  await waitForClose(socket)
  await until(() => sum(listener.countByStage()) === 0)
})

/** A listener with the connections of the proxy. */
async function startProxyListener(t: Test, options: Partial<ListenerOptions> = {}) {
  const clock = createManualClock()
  const faults: FaultKind[] = []
  const sockets: Socket[] = []
  const started = await startListener(t, {
    ...options,
    after: clock.after,
    createConnection: (socket, client) => {
      sockets.push(socket)
      return new Connection(socket, client, {
        log: silentLog,
        handshakeContext: () => ({
          stsHost: () => 'sts.amazonaws.com',
          random: bytes => Buffer.alloc(bytes),
          buildInfo: () => undefined,
          assertSessionSlotFree() {},
        }),
        answerHello: async () => ({ ok: 1 }),
        authenticator: {
          login: async () => {
            throw new Fault('sts/refused')
          },
          reauthenticate: async () => {},
        },
        audit: silentAudit,
        reauthenticationMode: () => 'ask',
        shouldLog: () => true,
        metrics: {
          recordFault: kind => faults.push(kind),
          recordLogin() {},
          recordRefusedCommand() {},
          recordRelayedBytes() {},
        },
        nextRequestID: () => 1,
        now: clock.now,
        after: clock.after,
      })
    },
  })
  return { ...started, clock, faults, sockets }
}

t.test('a connection that sends only hello stays unauthenticated, over TLS as well', async t => {
  for (const secure of [false, true]) {
    const { listener, dial } = await startProxyListener(t, secure ? { tls } : undefined)
    let client: Socket | TLSSocket
    if (secure) {
      client = connectTLS({ port: listener.port, host: '127.0.0.1', ca: pem, servername: 'localhost' })
      await once(client, 'secureConnect')
    } else client = await dial()
    const reply = createFrameReceiver(client)
    for (const id of [1, 2, 3]) {
      client.write(hello(id))
      t.equal((await reply()).responseTo, id)
    }
    t.same(listener.countByStage(), { connecting: 0, unauthenticated: 1, authenticating: 0, authenticated: 0 })
    client.end()
    await until(() => sum(listener.countByStage()) === 0)
    client.destroy()
  }
})

t.test('a thousand bad connections leave no socket, no timer and no entry', async t => {
  const bad = [
    Buffer.alloc(16),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from('16030100f501', 'hex'),
    Buffer.concat([Buffer.from('006cdc02', 'hex'), Buffer.alloc(100_000)]),
    hello().subarray(0, 20),
    Buffer.alloc(0),
  ]
  for (const secure of [false, true]) {
    const { listener, clock, faults, sockets, dial } = await startProxyListener(t, secure ? { tls } : undefined)
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(Array.from({ length: 25 }, () => dial()))
      for (const [i, client] of clients.entries()) {
        client.write(bad[i % bad.length] as Buffer)
        client.end()
      }
      await Promise.all(clients.map(waitForClose))
      await until(() => sum(listener.countByStage()) === 0)
    }
    t.same(listener.countByStage(), { connecting: 0, unauthenticated: 0, authenticating: 0, authenticated: 0 })
    t.equal(clock.waiting(), 0, 'timers')
    await until(() => sockets.every(socket => socket.closed))
    t.ok(secure || faults.length >= 300, 'most of them were faults')
    const client = await dial()
    await until(() => listener.countByStage().connecting === 1)
    client.destroy()
  }
})

t.test('a connection with one of the last file descriptors is closed and counted', async t => {
  let maxDescriptor = Number.POSITIVE_INFINITY
  const { listener, dial, dialServed, failedAccepts, rejected } = await startListener(t, {
    maxDescriptor: () => maxDescriptor,
  })
  await dialServed()
  maxDescriptor = 3 // numbers below are those of stdin, stdout and stderr
  await waitForClose(await dial())
  t.match(failedAccepts, [/file descriptors/])
  t.same(rejected, [])
  t.equal(sum(listener.countByStage()), 1)
  maxDescriptor = Number.POSITIVE_INFINITY
  await dialServed()
})
