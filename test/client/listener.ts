import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { setImmediate as turn } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTLS, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import type { AcceptQueue } from '../../src/client/acceptQueue.js'
import { Connection } from '../../src/client/connection.js'
import { type ListenerOptions, listen } from '../../src/client/listener.js'
import type { AcceptedClient } from '../../src/client/preauth.js'
import { Fault, type FaultKind } from '../../src/errors.js'
import { createLog, silentLog } from '../../src/log.js'
import { writeMessage } from '../../src/wire/message.js'
import { createManualClock } from '../support/clock.js'
import { faultOfAsync } from '../support/faults.js'
import { createFrameReceiver, waitForClose } from '../support/sockets.js'

const pem = readFileSync(new URL('support/tls/listener.pem', import.meta.url), 'utf8')
const tls = { cert: pem, key: pem }
const ipv6 = Object.values(networkInterfaces()).some(addresses => addresses?.some(({ family }) => family === 'IPv6'))
const alone = process.platform !== 'linux' && 'one loopback address only'
const hello = (id = 1) => writeMessage({ hello: 1, $db: 'admin' }, id)

/** A lobby in which everybody is served as he comes. */
const nobodyWaits: AcceptQueue = { enqueue: (_, serve) => serve(), schedule: (_, serve) => serve() }

type Served = {
  socket: Socket
  client: AcceptedClient
  fault?: Fault
  turned?: Fault
  drained: boolean
}

/** A listener on a free port of loopback whose connections do what the test wants. */
async function listening(t: Test, wanted: Partial<ListenerOptions> = {}) {
  const clock = createManualClock()
  const served: Served[] = []
  const turnedAway: FaultKind[] = []
  const lines: Record<string, unknown>[] = []
  const clients: Socket[] = []
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    backlog: 100,
    connections: 100,
    perAddress: 50,
    log: createLog('debug', { write: line => lines.push(JSON.parse(line)) }),
    after: clock.after,
    acceptQueue: nobodyWaits,
    shouldLog: () => true,
    createConnection(socket, client) {
      const entry: Served = { socket, client, drained: false }
      served.push(entry)
      socket.on('error', () => {})
      socket.resume()
      return {
        drain() {
          entry.drained = true
        },
        closeIfMonitor(fault) {
          entry.turned = fault
        },
        destroy(fault) {
          entry.fault = fault
          socket.destroy()
        },
      }
    },
    onRejected: fault => turnedAway.push(fault.kind),
    ...wanted,
  })
  const dial = async (from = '127.0.0.1'): Promise<Socket> => {
    const client = connect({ host: '127.0.0.1', port: listener.port, localAddress: from })
    clients.push(client)
    client.on('error', () => {})
    client.resume()
    await once(client, 'connect')
    return client
  }
  /** A client, once it is served. */
  const join = async (from?: string): Promise<Served> => {
    const before = served.length
    await dial(from)
    await until(() => served.length > before)
    return served[before] as Served
  }
  t.teardown(() => {
    listener.destroy()
    for (const client of clients) client.destroy()
  })
  return { listener, clock, served, turnedAway, lines, dial, join }
}

const until = async (so: () => boolean) => {
  while (!so()) await turn()
}
const total = (sizes: Record<string, number>) => Object.values(sizes).reduce((sum, size) => sum + size, 0)

t.test('a connection is in one stage at a time, and in none once it closed', async t => {
  const { listener, join } = await listening(t)
  const one = await join()
  await join()
  t.same(listener.countByStage(), { connecting: 2, unauthenticated: 0, authenticating: 0, authenticated: 0 })
  one.client.setStage('unauthenticated')
  t.same(listener.countByStage(), { connecting: 1, unauthenticated: 1, authenticating: 0, authenticated: 0 })
  one.client.setStage('authenticating')
  one.client.recordActivity()
  t.same(listener.countByStage(), { connecting: 1, unauthenticated: 0, authenticating: 1, authenticated: 0 })
  one.client.setStage('authenticated')
  t.same(listener.countByStage(), { connecting: 1, unauthenticated: 0, authenticating: 0, authenticated: 1 })
  one.socket.destroy()
  await until(() => total(listener.countByStage()) === 1)
  one.client.setStage('unauthenticated')
  one.client.recordActivity()
  t.same(
    listener.countByStage(),
    { connecting: 1, unauthenticated: 0, authenticating: 0, authenticated: 0 },
    'the closed are not moved',
  )
})

t.test('connections are numbered and named by the address of their client', { skip: alone }, async t => {
  const { join } = await listening(t)
  const [one, two] = [await join(), await join('127.0.0.2')]
  t.same([one.client.id, two.client.id], [1, 2])
  t.match(one.client.peer, /^127\.0\.0\.1:\d+$/)
  t.match(two.client.peer, /^127\.0\.0\.2:\d+$/)
})

t.test('an address that was mapped to IPv6 is the same address', { skip: !ipv6 && 'no IPv6' }, async t => {
  const { listener, join, turnedAway } = await listening(t, { host: '::', perAddress: 1 })
  t.match((await join()).client.peer, /^127\.0\.0\.1:\d+$/)
  t.equal(total(listener.countByStage()), 1)
  t.same(turnedAway, [])
})

t.test('an IPv6 client is its /64, all of which one machine owns', { skip: !ipv6 && 'no IPv6' }, async t => {
  const { listener, lines } = await listening(t, { host: '::1', perAddress: 1 })
  const dial = () =>
    connect({ host: '::1', port: listener.port })
      .on('error', () => {})
      .resume()
  t.teardown(() => clients.map(client => client.destroy()))
  const clients = [dial()]
  await until(() => total(listener.countByStage()) === 1)
  clients.push(dial())
  await until(() => lines.length === 1)
  t.match(lines, [{ event: 'connection shed', address: '0:0:0:0::/64', why: 'this address' }])
})

t.test('one address has its share until it logs in, and others are not affected', { skip: alone }, async t => {
  const { listener, join, dial, turnedAway, lines } = await listening(t, { perAddress: 2 })
  const one = await join()
  await join()
  const refused = await dial()
  await waitForClose(refused)
  t.same(turnedAway, ['listener/connection-limit'])
  t.match(lines, [{ event: 'connection shed', level: 'debug', address: '127.0.0.1', why: 'this address' }])
  await join('127.0.0.2')
  one.client.setStage('authenticating')
  one.client.setStage('authenticated')
  const three = await join()
  await waitForClose(await dial())
  three.socket.destroy()
  await until(() => total(listener.countByStage()) === 3)
  await join()
  one.socket.destroy()
  await until(() => total(listener.countByStage()) === 3)
  await waitForClose(await dial())
  t.equal(turnedAway.length, 3, 'who is logged in does not count twice when it leaves')
})

t.test('those not yet logged in take half of the slots, whoever has logged in the rest', async t => {
  const { listener, join } = await listening(t, { connections: 8 })
  for (let i = 0; i < 4; i++) (await join()).client.setStage('authenticated')
  const strangers = [await join(), await join(), await join(), await join()]
  t.same(listener.countByStage(), { connecting: 4, unauthenticated: 0, authenticating: 0, authenticated: 4 })
  await join()
  t.same(
    listener.countByStage(),
    { connecting: 4, unauthenticated: 0, authenticating: 0, authenticated: 4 },
    'room was made',
  )
  t.match(strangers[0]?.fault, { kind: 'listener/connection-limit' })
  const { listener: idle, join: enter } = await listening(t, { connections: 8 })
  for (let i = 0; i < 6; i++) await enter()
  t.equal(idle.countByStage().connecting, 4, 'though four slots are free')
})

t.test('when all slots are taken, the one longest without a whole message goes first', async t => {
  const { join, turnedAway } = await listening(t, { connections: 8 })
  const [a, b, c, d] = [await join(), await join(), await join(), await join()]
  a.client.setStage('unauthenticated') // silent for longest: b, then c, then d, then a
  d.client.setStage('unauthenticated')
  a.client.recordActivity()
  const gone: Served[] = []
  for (const _ of [1, 2, 3, 4]) {
    await join()
    for (const entry of [a, b, c, d]) if (entry.fault && !gone.includes(entry)) gone.push(entry)
  }
  t.same(
    gone.map(({ client }) => client.id),
    [b, c, d, a].map(({ client }) => client.id),
  )
  t.same(turnedAway, [], 'connections tell of their ends themselves')
})

t.test('silent ones that greeted once do not keep others from greeting', async t => {
  const { join } = await listening(t, { connections: 8 })
  const squatters = [await join(), await join(), await join()]
  for (const { client } of squatters) client.setStage('unauthenticated')
  const slow = await join()
  const second = await join()
  t.notOk(slow.fault, 'who came a moment ago is not the one to go')
  t.ok(squatters[0]?.fault)
  second.client.setStage('unauthenticated')
  slow.client.setStage('unauthenticated')
})

t.test('a login under way is not closed to make room; the newcomer is', async t => {
  const { join, dial, turnedAway, lines } = await listening(t, { connections: 4 })
  const entering = [await join(), await join()]
  for (const { client } of entering) client.setStage('authenticating')
  await waitForClose(await dial())
  t.same(turnedAway, ['listener/connection-limit'])
  t.match(lines, [{ event: 'connection shed', why: 'all slots' }])
  for (const { fault } of entering) t.equal(fault, undefined)
})

t.test('relays fill the slots and are never closed for others', async t => {
  const { listener, join, dial, turnedAway } = await listening(t, { connections: 2 })
  const relays = [await join()]
  relays[0]?.client.setStage('authenticated')
  relays.push(await join())
  relays[1]?.client.setStage('authenticated')
  await waitForClose(await dial())
  t.same(turnedAway, ['listener/connection-limit'])
  t.equal(listener.countByStage().authenticated, 2)
  for (const { fault } of relays) t.equal(fault, undefined)
})

t.test(
  'who is accepted waits in the lobby, known by its address and with what it says, until it is let in',
  async t => {
    const lobby: { address: string; serve(): void }[] = []
    const { listener, served, dial } = await listening(t, {
      acceptQueue: { ...nobodyWaits, enqueue: (address, serve) => lobby.push({ address, serve }) },
    })
    const client = await dial()
    client.write('hello')
    await until(() => lobby.length === 1)
    for (let turns = 0; turns < 10; turns++) await turn()
    t.equal(lobby[0]?.address, '127.0.0.1')
    t.equal(served.length, 0)
    t.equal(listener.countByStage().connecting, 1, 'it has its slot')
    lobby[0]?.serve()
    const [chunk] = await once((served[0] as Served).socket, 'data')
    t.equal(String(chunk), 'hello')
  },
)

t.test('who is closed in the lobby, for its slot or at a drain, is never served', async t => {
  const lobby: (() => void)[] = []
  const { listener, served, dial, turnedAway } = await listening(t, {
    connections: 2,
    acceptQueue: { ...nobodyWaits, enqueue: (_, serve) => lobby.push(serve) },
  })
  const [first, second] = [await dial(), await dial()]
  await until(() => lobby.length === 2)
  t.same(turnedAway, ['listener/connection-limit'])
  await waitForClose(first)
  const drained = listener.drain()
  await Promise.all([waitForClose(second), drained])
  for (const serve of lobby) serve()
  t.equal(served.length, 0)
})

t.test('that a client has left the lobby is noticed when it is let in', async t => {
  const lobby: (() => void)[] = []
  const { served, dial } = await listening(t, {
    acceptQueue: { ...nobodyWaits, enqueue: (_, serve) => lobby.push(serve) },
  })
  const client = await dial()
  await until(() => lobby.length === 1)
  client.end()
  await turn()
  lobby[0]?.()
  await once((served[0] as Served).socket, 'end')
})

t.test('that a client has left the lobby before its TLS handshake ends the connection when it is let in', async t => {
  const lobby: (() => void)[] = []
  const { listener, served, dial } = await listening(t, {
    acceptQueue: { ...nobodyWaits, enqueue: (_, serve) => lobby.push(serve) },
    tls,
  })
  const client = await dial()
  await until(() => lobby.length === 1)
  client.end()
  await turn()
  lobby[0]?.()
  await until(() => total(listener.countByStage()) === 0)
  t.equal(served.length, 0)
})

t.test('over TLS the connection gets the plain text and begins with the handshake done', async t => {
  const { listener, served } = await listening(t, { tls })
  const client = connectTLS({ port: listener.port, host: '127.0.0.1', ca: pem, servername: 'proxy.test' })
  await once(client, 'secureConnect')
  t.ok(client.authorized)
  await until(() => served.length === 1)
  const {
    socket,
    client: { peer },
  } = served[0] as Served
  t.match(peer, /^127\.0\.0\.1:\d+$/)
  client.write('hello')
  const [chunk] = await once(socket, 'data')
  t.equal(String(chunk), 'hello')
  client.end()
  await once(socket, 'end')
  t.equal(socket.destroyed, false, 'it may be half-closed')
  socket.end()
  await until(() => total(listener.countByStage()) === 0)
  client.destroy()
})

t.test('a record that is no TLS ends the connection at once, with what was wrong', async t => {
  const { listener, served, dial } = await listening(t, { tls })
  const raw = await dial()
  const client = connectTLS({ socket: raw, ca: pem, servername: 'proxy.test' })
  client.on('error', () => {})
  await once(client, 'secureConnect')
  await until(() => served.length === 1)
  const { socket } = served[0] as Served
  raw.write(Buffer.from(`1703030020${'ab'.repeat(32)}`, 'hex'))
  const [error] = await once(socket, 'error')
  t.match(error.code, /^ERR_SSL/)
  await until(() => total(listener.countByStage()) === 0)
})

t.test(
  'another certificate is shown from the next connection on, and no session of the old one is resumed',
  async t => {
    const { listener, served } = await listening(t, { tls })
    const upstream = readFileSync(new URL('support/tls/upstream.pem', import.meta.url), 'utf8')
    const { port } = listener
    let session: Buffer | undefined
    const visit = async (maxVersion: 'TLSv1.2' | 'TLSv1.3') => {
      const options = { port, host: '127.0.0.1', rejectUnauthorized: false, servername: 'proxy.test', maxVersion }
      const client = connectTLS({ ...options, ...(session && { session }) })
      const issued = once(client, 'session').catch(() => {})
      await once(client, 'secureConnect')
      if (!client.isSessionReused()) {
        served.at(-1)?.socket.write('x') // tickets of 1.3 come with the first bytes
        ;[session] = (await issued) as [Buffer]
      }
      const { subject } = client.getPeerX509Certificate() ?? {}
      const seen = { reused: client.isSessionReused(), subject }
      client.destroy()
      return seen
    }
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      session = undefined
      listener.reconfigure({ connections: 10, perAddress: 10, tls })
      const first = await visit(maxVersion)
      t.equal((await visit(maxVersion)).reused, true, `${maxVersion} resumes`)
      listener.reconfigure({ connections: 10, perAddress: 10, tls: { cert: upstream, key: upstream } })
      const after = await visit(maxVersion)
      t.equal(after.reused, false)
      t.not(after.subject, first.subject)
      listener.reconfigure({ connections: 10, perAddress: 10, tls })
      t.equal((await visit(maxVersion)).reused, false, 'not even with the same certificate')
    }
  },
)

t.test('other bounds count from the next connection on, and plain stays plain', async t => {
  const { listener, join, dial, turnedAway } = await listening(t, { perAddress: 10 })
  await join()
  listener.reconfigure({ connections: 10, perAddress: 1, tls })
  await waitForClose(await dial())
  t.same(turnedAway, ['listener/connection-limit'])
  listener.reconfigure({ connections: 10, perAddress: 2 })
  const { socket } = await join()
  t.notOk('encrypted' in socket)
})

t.test('one connection is one handshake: nobody renegotiates', async t => {
  const { listener, served } = await listening(t, { tls })
  const { port } = listener
  const client = connectTLS({ port, host: '127.0.0.1', ca: pem, servername: 'proxy.test', maxVersion: 'TLSv1.2' })
  client.on('error', () => {})
  await once(client, 'secureConnect')
  await until(() => served.length === 1)
  const refused = once(client, 'error')
  client.renegotiate({}, () => t.fail('a second handshake'))
  const [error] = await refused
  t.equal(error.code, 'ERR_SSL_NO_RENEGOTIATION')
  client.destroy()
})

t.test('TLS of before 1.2 is refused', async t => {
  const { listener, turnedAway } = await listening(t, { tls })
  const client = connectTLS({
    port: listener.port,
    host: '127.0.0.1',
    ca: pem,
    minVersion: 'TLSv1.1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  })
  await once(client, 'error')
  await until(() => turnedAway.length === 1)
  t.same(turnedAway, ['tls/handshake-failed'])
})

/** A listener that verifies clients, and a client that shows a certificate of test/support/tls, or none. */
async function mutual(t: Test) {
  const text = (name: string) => readFileSync(new URL(`support/tls/${name}.pem`, import.meta.url), 'utf8')
  const set = await listening(t, { tls: { ...tls, clientCA: text('clientCA') } })
  const show = async (name?: string, more: ConnectionOptions = {}) => {
    const shown = name && { cert: text(name), key: text(name) }
    const { port } = set.listener
    const client = connectTLS({ port, host: '127.0.0.1', ca: pem, servername: 'proxy.test', ...shown, ...more })
    t.teardown(() => client.destroy())
    client.on('error', () => {})
    client.resume()
    const [before, refused] = [set.served.length, set.turnedAway.length]
    await until(() => set.served.length > before || set.turnedAway.length > refused)
    return { client, served: set.served[before] }
  }
  return { ...set, show }
}
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const

t.test('who shows a certificate of the client CA is served, and known by its fingerprint', async t => {
  const { show } = await mutual(t)
  for (const maxVersion of VERSIONS) {
    for (const name of ['workload', 'workload2']) {
      const { served } = await show(name, { maxVersion })
      const { fingerprint256 } = new X509Certificate(readFileSync(new URL(`support/tls/${name}.pem`, import.meta.url)))
      t.equal(served?.client.certificate, fingerprint256, `${name}, ${maxVersion}`)
    }
  }
})

t.test('no certificate, one of nobody, one of the past: none is served, and the line says why', async t => {
  const { show, served, turnedAway, lines } = await mutual(t)
  const cases: [string | undefined, RegExp][] = [
    [undefined, /PEER_DID_NOT_RETURN_A_CERTIFICATE/],
    ['selfSigned', /DEPTH_ZERO_SELF_SIGNED_CERT/],
    ['expired', /CERT_HAS_EXPIRED/],
    ['upstream', /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY/],
  ]
  for (const maxVersion of VERSIONS) {
    for (const [name, why] of cases) {
      const { client } = await show(name, { maxVersion })
      t.match(lines.at(-1), { fault: 'tls/handshake-failed', why }, `${name}, ${maxVersion}`)
      await waitForClose(client)
    }
  }
  t.equal(turnedAway.length, 8)
  t.equal(served.length, 0)
})

t.test('who was let in by a client CA of before and has not logged in begins anew', async t => {
  const { listener, show } = await mutual(t)
  const clientCA = readFileSync(new URL('support/tls/clientCA.pem', import.meta.url), 'utf8')
  const [greeted, relay] = [await show('workload'), await show('workload')]
  greeted.served?.client.setStage('unauthenticated')
  relay.served?.client.setStage('authenticating')
  relay.served?.client.setStage('authenticated')
  listener.reconfigure({ connections: 100, perAddress: 50, tls: { ...tls, clientCA } })
  t.notOk(greeted.served?.fault, 'it is the same one')
  listener.reconfigure({ connections: 100, perAddress: 50, tls: { ...tls, clientCA: pem } })
  t.equal(greeted.served?.fault?.kind, 'tls/handshake-failed')
  await waitForClose(greeted.client)
  t.notOk(relay.served?.fault)
  t.equal((await show('workload')).served, undefined, 'which the new one does not let in')
})

t.test('where clients are verified no session is resumed', async t => {
  const { show, served } = await mutual(t)
  for (const maxVersion of VERSIONS) {
    const { client, served: first } = await show('workload', { maxVersion })
    let ticket = client.getSession()
    client.on('session', session => {
      ticket = session
    })
    first?.socket.write('after the tickets')
    await once(client, 'data')
    const { client: again, served: second } = await show('workload', { maxVersion, session: ticket })
    t.equal(again.isSessionReused(), false, maxVersion)
    t.equal(second?.client.certificate, first?.client.certificate, maxVersion)
    const { client: without } = await show(undefined, { maxVersion, session: ticket })
    await waitForClose(without)
  }
  t.equal(served.length, 4, 'a ticket is no certificate')
})

t.test('where clients are not verified nobody has a fingerprint', async t => {
  const { listener, served } = await listening(t, { tls })
  const shown = readFileSync(new URL('support/tls/workload.pem', import.meta.url))
  const { port } = listener
  const client = connectTLS({ port, host: '127.0.0.1', ca: pem, servername: 'proxy.test', cert: shown, key: shown })
  t.teardown(() => client.destroy())
  await until(() => served.length === 1)
  t.equal(served[0]?.client.certificate, undefined)
})

t.test('plain text on the TLS port ends with a line that says so', async t => {
  for (const bytes of [hello(), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(100)]) {
    const { listener, dial, turnedAway, lines, served, clock } = await listening(t, { tls })
    const client = await dial()
    client.write(bytes)
    await waitForClose(client)
    await until(() => total(listener.countByStage()) === 0)
    t.same(turnedAway, ['tls/handshake-failed'])
    t.match(lines, [
      {
        event: 'tls handshake failed',
        level: 'info',
        fault: 'tls/handshake-failed',
        peer: '127.0.0.1',
        why: /^ERR_SSL/,
      },
    ])
    t.equal(served.length, 0)
    t.equal(clock.waiting(), 0)
  }
})

t.test('a TLS handshake has five seconds', async t => {
  const { listener, dial, turnedAway, lines, clock } = await listening(t, { tls })
  const client = await dial()
  await until(() => listener.countByStage().connecting === 1)
  client.write(Buffer.from('16030100f501', 'hex'))
  clock.advance(4999)
  await turn()
  t.same(turnedAway, [])
  clock.advance(1)
  await waitForClose(client)
  t.same(turnedAway, ['tls/handshake-failed'], 'told once')
  t.match(lines, [{ why: 'took too long' }])
  await until(() => total(listener.countByStage()) === 0)
  t.equal(clock.waiting(), 0)
})

t.test('a client that leaves within the TLS handshake leaves nothing', async t => {
  const { listener, dial, served, clock } = await listening(t, { tls })
  for (const leave of ['destroy', 'resetAndDestroy'] as const) {
    const client = await dial()
    await until(() => listener.countByStage().connecting === 1)
    client[leave]()
    await until(() => listener.countByStage().connecting === 0)
    t.equal(clock.waiting(), 0)
  }
  t.equal(served.length, 0)
})

t.test('who is within the TLS handshake makes room, too', async t => {
  const { listener, dial, turnedAway } = await listening(t, { tls, connections: 2 })
  const first = await dial()
  await until(() => listener.countByStage().connecting === 1)
  await dial()
  await waitForClose(first)
  t.equal(listener.countByStage().connecting, 1)
  t.same(turnedAway, ['listener/connection-limit'])
})

t.test('an address that is taken, or not ours, is a fault with exit code 69', async t => {
  const { listener } = await listening(t)
  const parts = { backlog: 1, connections: 1, perAddress: 1, log: silentLog, after: createManualClock().after }
  const acceptQueue = nobodyWaits
  const rest = {
    ...parts,
    acceptQueue,
    createConnection: () => ({}) as Connection,
    onRejected: () => {},
    shouldLog: () => true,
  }
  for (const [host, port] of [
    ['127.0.0.1', listener.port],
    ['192.0.2.1', 0],
  ] as const) {
    const fault = await faultOfAsync(() => listen({ ...rest, host, port }))
    t.match(fault, { kind: 'listener/address-unavailable', definition: { exit: 69 } })
    t.match(fault?.message, `${host}:${port}`)
  }
})

t.test('a stopped listener accepts nobody and keeps who is there', async t => {
  const { listener, join } = await listening(t)
  const { socket } = await join()
  listener.stopAccepting()
  const late = connect({ port: listener.port, host: '127.0.0.1' })
  const [error] = await once(late, 'error')
  t.equal(error.code, 'ECONNREFUSED')
  t.equal(socket.destroyed, false)
})

t.test('draining asks each connection, and is over when all have closed', async t => {
  const { listener, join } = await listening(t)
  const [one, two] = [await join(), await join()]
  two.client.setStage('authenticated')
  listener.stopAccepting()
  let over = false
  const drained = listener.drain().then(() => {
    over = true
  })
  t.ok(one.drained && two.drained)
  one.socket.destroy()
  await until(() => total(listener.countByStage()) === 1)
  t.equal(over, false)
  two.socket.destroy()
  await drained
})

t.test('draining an empty listener is over at once', async t => {
  const { listener } = await listening(t)
  listener.stopAccepting()
  await listener.drain()
})

t.test('draining closes TLS handshakes', async t => {
  const { listener, dial } = await listening(t, { tls })
  const client = await dial()
  await until(() => listener.countByStage().connecting === 1)
  listener.stopAccepting()
  await listener.drain()
  await waitForClose(client)
})

t.test('destroying closes all with a reason', async t => {
  const { listener, join } = await listening(t)
  const { socket } = await join()
  const served = await join()
  listener.destroy()
  t.match(served.fault, { kind: 'proxy/shutdown' })
  await waitForClose(socket)
  await until(() => total(listener.countByStage()) === 0)
})

t.test('a crowd from one address that speaks all the time pushes out nobody of another', { skip: alone }, async t => {
  const { listener, join } = await listening(t, { connections: 12, perAddress: 4 })
  const monitor = await join('127.0.0.9')
  monitor.client.setStage('unauthenticated')
  const crowd: Served[] = []
  for (const from of ['127.0.0.2', '127.0.0.3', '127.0.0.2', '127.0.0.3', '127.0.0.2']) crowd.push(await join(from))
  for (const { client } of crowd) client.recordActivity() // the monitor has been silent for longest now
  const newcomer = await join('127.0.0.4')
  t.notOk(monitor.fault)
  t.match(crowd[0]?.fault, { kind: 'listener/connection-limit' }, 'it goes who is of those that are most')
  for (const { client } of crowd) client.recordActivity()
  await join('127.0.0.3')
  t.notOk(monitor.fault)
  t.notOk(newcomer.fault)
  t.match(crowd[1]?.fault, { kind: 'listener/connection-limit' }, 'and of its own where it has most itself')
  t.equal(total(listener.countByStage()), 6)
})

t.test('logins under way of a crowd give way to somebody of another address', { skip: alone }, async t => {
  const { listener, join, dial } = await listening(t, { connections: 8, perAddress: 4 })
  const crowd: Served[] = []
  for (const from of ['127.0.0.2', '127.0.0.2', '127.0.0.2', '127.0.0.3']) crowd.push(await join(from))
  for (const { client } of crowd) client.setStage('authenticating')
  const newcomer = await join('127.0.0.4')
  newcomer.client.setStage('authenticating')
  t.match(crowd[0]?.fault, { kind: 'listener/connection-limit' })
  await waitForClose(await dial('127.0.0.3'))
  t.notOk(
    crowd.slice(1).some(({ fault }) => fault),
    'one that has as many is sent away itself',
  )
  t.equal(total(listener.countByStage()), 4)
})

/** A listener whose connections are those of the proxy. */
async function proxying(t: Test, wanted: Partial<ListenerOptions> = {}) {
  const clock = createManualClock()
  const faults: FaultKind[] = []
  const heard = await listening(t, {
    ...wanted,
    after: clock.after,
    createConnection: (socket, client) =>
      new Connection(socket, client, {
        log: silentLog,
        handshakeContext: () => ({
          stsHost: () => 'sts.amazonaws.com',
          random: bytes => Buffer.alloc(bytes),
          buildInfo: () => undefined,
        }),
        answerHello: async () => ({ ok: 1 }),
        login: async () => {
          throw new Fault('sts/refused')
        },
        reauthenticate: async () => {},
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
      }),
  })
  return { ...heard, clock, faults }
}

t.test('a connection that greets is a monitor until it logs in, over TLS as well', async t => {
  for (const secure of [false, true]) {
    const { listener, dial } = await proxying(t, secure ? { tls } : undefined)
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
    await until(() => total(listener.countByStage()) === 0)
    client.destroy()
  }
})

/** Handles of sockets that the process holds. */
const handles = () => process.getActiveResourcesInfo().filter(name => /TCP|TLS|Pipe|Timeout/.test(name)).length

t.test('a thousand bad connections leave no handle, no timer and no entry', async t => {
  const bad = [
    Buffer.alloc(16),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from('16030100f501', 'hex'),
    Buffer.concat([Buffer.from('006cdc02', 'hex'), Buffer.alloc(100_000)]),
    hello().subarray(0, 20),
    Buffer.alloc(0),
  ]
  for (const secure of [false, true]) {
    const { listener, clock, faults, dial } = await proxying(t, secure ? { tls } : undefined)
    const before = handles()
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(Array.from({ length: 25 }, () => dial()))
      for (const [i, client] of clients.entries()) {
        client.write(bad[i % bad.length] as Buffer)
        client.end()
      }
      await Promise.all(clients.map(waitForClose))
      await until(() => total(listener.countByStage()) === 0)
    }
    t.same(listener.countByStage(), { connecting: 0, unauthenticated: 0, authenticating: 0, authenticated: 0 })
    t.equal(clock.waiting(), 0, 'timers')
    await until(() => handles() <= before)
    t.ok(secure || faults.length >= 300, 'and most were faults')
    const client = await dial()
    await until(() => listener.countByStage().connecting === 1)
    client.destroy()
  }
})
