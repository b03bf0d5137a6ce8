import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { setImmediate as nextIteration } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTLS } from 'node:tls'
import t, { type Test } from 'tap'
import { writeMessage } from '../../src/wire/message.js'
import {
  type FakeConnection,
  pem,
  readPem,
  startListener,
  sum,
  tls,
  unqueued,
  until,
} from '../support/clientListener.js'
import { waitForClose } from '../support/sockets.js'

const hello = (id = 1) => writeMessage({ hello: 1, $db: 'admin' }, id)

t.test('a connection over TLS gets plain text and starts after the handshake', async t => {
  const { listener, connections } = await startListener(t, { tls })
  const client = connectTLS({ port: listener.port, host: '127.0.0.1', ca: pem, servername: 'proxy.test' })
  await once(client, 'secureConnect')
  t.ok(client.authorized)
  await until(() => connections.length === 1)
  const {
    socket,
    client: { peer },
  } = connections[0] as FakeConnection
  t.match(peer, /^127\.0\.0\.1:\d+$/)
  client.write('hello')
  const [chunk] = await once(socket, 'data')
  t.equal(String(chunk), 'hello')
  client.end()
  await once(socket, 'end')
  t.equal(socket.destroyed, false, 'the socket allows half-open')
  socket.end()
  await until(() => sum(listener.countByStage()) === 0)
  client.destroy()
})

t.test('a malformed TLS record closes the connection with the OpenSSL error', async t => {
  const { listener, connections, dial } = await startListener(t, { tls })
  const raw = await dial()
  const client = connectTLS({ socket: raw, ca: pem, servername: 'proxy.test' })
  client.on('error', () => {})
  await once(client, 'secureConnect')
  await until(() => connections.length === 1)
  const { socket } = connections[0] as FakeConnection
  raw.write(Buffer.from(`1703030020${'ab'.repeat(32)}`, 'hex'))
  const [error] = await once(socket, 'error')
  t.match(error.code, /^ERR_SSL/)
  await until(() => sum(listener.countByStage()) === 0)
})

t.test('new connections get a new certificate and cannot resume sessions of the old one', async t => {
  const { listener, connections } = await startListener(t, { tls })
  const upstream = readPem('upstream')
  const { port } = listener
  let session: Buffer | undefined
  const connectOnce = async (maxVersion: 'TLSv1.2' | 'TLSv1.3') => {
    const options = { port, host: '127.0.0.1', rejectUnauthorized: false, servername: 'proxy.test', maxVersion }
    const client = connectTLS({ ...options, ...(session && { session }) })
    const issued = once(client, 'session').catch(() => {})
    await once(client, 'secureConnect')
    if (!client.isSessionReused()) {
      connections.at(-1)?.socket.write('x') // TLS 1.3 tickets arrive with the first bytes
      ;[session] = (await issued) as [Buffer]
    }
    const { subject } = client.getPeerX509Certificate() ?? {}
    const result = { reused: client.isSessionReused(), subject }
    client.destroy()
    return result
  }
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    session = undefined
    listener.reconfigure({ connections: 10, reserve: 0, perAddress: 10, tls })
    const first = await connectOnce(maxVersion)
    t.equal((await connectOnce(maxVersion)).reused, true, `${maxVersion} resumes`)
    listener.reconfigure({ connections: 10, reserve: 0, perAddress: 10, tls: { cert: upstream, key: upstream } })
    const after = await connectOnce(maxVersion)
    t.equal(after.reused, false)
    t.not(after.subject, first.subject)
    listener.reconfigure({ connections: 10, reserve: 0, perAddress: 10, tls })
    t.equal((await connectOnce(maxVersion)).reused, false, 'not even with the same certificate')
  }
})

t.test('renegotiation is refused', async t => {
  const { listener, connections } = await startListener(t, { tls })
  const { port } = listener
  const client = connectTLS({ port, host: '127.0.0.1', ca: pem, servername: 'proxy.test', maxVersion: 'TLSv1.2' })
  client.on('error', () => {})
  await once(client, 'secureConnect')
  await until(() => connections.length === 1)
  const refused = once(client, 'error')
  client.renegotiate({}, () => t.fail('a second handshake'))
  const [error] = await refused
  t.equal(error.code, 'ERR_SSL_NO_RENEGOTIATION')
  client.destroy()
})

t.test('TLS 1.1 is refused', async t => {
  const { listener, rejected } = await startListener(t, { tls })
  const client = connectTLS({
    port: listener.port,
    host: '127.0.0.1',
    ca: pem,
    minVersion: 'TLSv1.1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  })
  await once(client, 'error')
  await until(() => rejected.length === 1)
  t.same(rejected, ['tls/handshake-failed'])
})

/** A listener that verifies clients, and clients with a certificate of test/support/tls, or without one. */
async function startVerifyingListener(t: Test) {
  const started = await startListener(t, { tls: { ...tls, clientCA: readPem('clientCA') } })
  const dialTls = async (name?: string, more: ConnectionOptions = {}) => {
    const certificate = name && { cert: readPem(name), key: readPem(name) }
    const { port } = started.listener
    const client = connectTLS({ port, host: '127.0.0.1', ca: pem, servername: 'proxy.test', ...certificate, ...more })
    t.teardown(() => client.destroy())
    client.on('error', () => {})
    client.resume()
    const [before, refused] = [started.connections.length, started.rejected.length]
    await until(() => started.connections.length > before || started.rejected.length > refused)
    return { client, connection: started.connections[before] }
  }
  return { ...started, dialTls }
}
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const

t.test('a client with a certificate of the client CA is served and identified by its fingerprint', async t => {
  const { dialTls } = await startVerifyingListener(t)
  for (const maxVersion of VERSIONS) {
    for (const name of ['workload', 'workload2']) {
      const { connection } = await dialTls(name, { maxVersion })
      const { fingerprint256 } = new X509Certificate(readPem(name))
      t.equal(connection?.client.certificate, fingerprint256, `${name}, ${maxVersion}`)
    }
  }
})

t.test('a missing, self-signed or expired client certificate is refused, and the log says why', async t => {
  const { dialTls, connections, rejected, refusedCertificates, lines } = await startVerifyingListener(t)
  const cases: [string | undefined, RegExp][] = [
    [undefined, /PEER_DID_NOT_RETURN_A_CERTIFICATE/],
    ['selfSigned', /DEPTH_ZERO_SELF_SIGNED_CERT/],
    ['expired', /CERT_HAS_EXPIRED/],
    ['upstream', /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY/],
  ]
  for (const maxVersion of VERSIONS) {
    for (const [name, why] of cases) {
      const { client } = await dialTls(name, { maxVersion })
      t.match(lines.at(-1), { fault: 'tls/handshake-failed', why }, `${name}, ${maxVersion}`)
      const fingerprint = name && new X509Certificate(readPem(name)).fingerprint256
      t.match(refusedCertificates.at(-1), { peer: /^127\.0\.0\.1:\d+$/, code: why, fingerprint })
      await waitForClose(client)
    }
  }
  t.equal(rejected.length, 8)
  t.equal(refusedCertificates.length, 8)
  t.equal(connections.length, 0)
})

t.test('unauthenticated connections are closed when the client CA changes', async t => {
  const { listener, dialTls } = await startVerifyingListener(t)
  const clientCA = readPem('clientCA')
  const [unauthenticated, authenticated] = [await dialTls('workload'), await dialTls('workload')]
  unauthenticated.connection?.client.setStage('unauthenticated')
  authenticated.connection?.client.setStage('authenticating')
  authenticated.connection?.client.setStage('authenticated')
  listener.reconfigure({ connections: 100, reserve: 0, perAddress: 50, tls: { ...tls, clientCA } })
  t.notOk(unauthenticated.connection?.destroyedWith, 'the CA is the same')
  listener.reconfigure({ connections: 100, reserve: 0, perAddress: 50, tls: { ...tls, clientCA: pem } })
  t.equal(unauthenticated.connection?.destroyedWith?.kind, 'tls/handshake-failed')
  await waitForClose(unauthenticated.client)
  t.notOk(authenticated.connection?.destroyedWith)
  t.equal((await dialTls('workload')).connection, undefined, 'the new CA does not admit it')
})

t.test('no session is resumed where client certificates are verified', async t => {
  const { dialTls, connections } = await startVerifyingListener(t)
  for (const maxVersion of VERSIONS) {
    const { client, connection: first } = await dialTls('workload', { maxVersion })
    let ticket = client.getSession()
    client.on('session', session => {
      ticket = session
    })
    first?.socket.write('after the tickets')
    await once(client, 'data')
    const { client: again, connection: second } = await dialTls('workload', { maxVersion, session: ticket })
    t.equal(again.isSessionReused(), false, maxVersion)
    t.equal(second?.client.certificate, first?.client.certificate, maxVersion)
    const { client: without } = await dialTls(undefined, { maxVersion, session: ticket })
    await waitForClose(without)
  }
  t.equal(connections.length, 4, 'a ticket is not a certificate')
})

t.test('a connection has no fingerprint where client certificates are not verified', async t => {
  const { listener, connections } = await startListener(t, { tls })
  const workload = readPem('workload')
  const { port } = listener
  const client = connectTLS({
    port,
    host: '127.0.0.1',
    ca: pem,
    servername: 'proxy.test',
    cert: workload,
    key: workload,
  })
  t.teardown(() => client.destroy())
  await until(() => connections.length === 1)
  t.equal(connections[0]?.client.certificate, undefined)
})

t.test('plain text on the TLS port closes the connection with a log line', async t => {
  for (const bytes of [hello(), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(100)]) {
    const { listener, dial, rejected, refusedCertificates, lines, connections, clock } = await startListener(t, { tls })
    const client = await dial()
    client.write(bytes)
    await waitForClose(client)
    await until(() => sum(listener.countByStage()) === 0)
    t.same(rejected, ['tls/handshake-failed'])
    t.same(refusedCertificates, [], 'no certificate was refused')
    t.match(lines, [
      {
        event: 'tls handshake failed',
        level: 'info',
        fault: 'tls/handshake-failed',
        peer: '127.0.0.1',
        why: /^ERR_SSL/,
      },
    ])
    t.equal(connections.length, 0)
    t.equal(clock.waiting(), 0)
  }
})

t.test('a TLS handshake times out after five seconds', async t => {
  const { listener, dial, rejected, lines, clock } = await startListener(t, { tls })
  const client = await dial()
  await until(() => listener.countByStage().connecting === 1)
  client.write(Buffer.from('16030100f501', 'hex'))
  clock.advance(4999)
  await nextIteration()
  t.same(rejected, [])
  clock.advance(1)
  await waitForClose(client)
  t.same(rejected, ['tls/handshake-failed'], 'reported once')
  t.match(lines, [{ why: 'timed out' }])
  await until(() => sum(listener.countByStage()) === 0)
  t.equal(clock.waiting(), 0)
})

t.test('a client that leaves within the TLS handshake leaves no timer and no entry', async t => {
  const { listener, dial, connections, clock } = await startListener(t, { tls })
  for (const leave of ['destroy', 'resetAndDestroy'] as const) {
    const client = await dial()
    await until(() => listener.countByStage().connecting === 1)
    client[leave]()
    await until(() => listener.countByStage().connecting === 0)
    t.equal(clock.waiting(), 0)
  }
  t.equal(connections.length, 0)
})

t.test('a client that left the queue before its TLS handshake is closed when its address is due', async t => {
  const queued: (() => void)[] = []
  const { listener, connections, dial } = await startListener(t, {
    acceptQueue: { ...unqueued, enqueue: (_, serve) => queued.push(serve) },
    tls,
  })
  const client = await dial()
  await until(() => queued.length === 1)
  client.end()
  await nextIteration()
  queued[0]?.()
  await until(() => sum(listener.countByStage()) === 0)
  t.equal(connections.length, 0)
})

t.test('draining closes TLS handshakes', async t => {
  const { listener, dial } = await startListener(t, { tls })
  const client = await dial()
  await until(() => listener.countByStage().connecting === 1)
  listener.stopAccepting()
  await listener.drain()
  await waitForClose(client)
})

/** A client of Node.js, which checks the certificate of the server only after its own part of the handshake. */
async function rejectCertificate(port: number, options: ConnectionOptions) {
  const client = connectTLS({ port, host: '127.0.0.1', servername: 'proxy.test', ca: readPem('ca'), ...options })
  const [error] = await once(client, 'error')
  return (error as NodeJS.ErrnoException).code
}

t.test('a client that rejects the certificate of the proxy is reported, and so is the defect', async t => {
  const expired = readPem('expired')
  for (const maxVersion of VERSIONS) {
    const { listener, rejected, lines, connections } = await startListener(t, { tls: { cert: expired, key: expired } })
    t.match(await rejectCertificate(listener.port, { maxVersion }), /CERT/)
    await until(() => rejected.length + connections.length > 0)
    const [line] = lines
    // Where the handshake is complete, the connection reports it.
    const why = line?.why ?? connections[0]?.client.explainSilence?.('proxy.test')
    t.match(why, /the certificate of the proxy expired at 2026-/, maxVersion)
    if (line) t.match(line, { fault: 'tls/handshake-failed', why: /^the client closed the connection/ })
  }
})

t.test('the name that the client asked for is compared with the certificate', async t => {
  const { listener, rejected, lines, connections } = await startListener(t, { tls })
  await rejectCertificate(listener.port, { servername: 'other.test', ca: pem, maxVersion: 'TLSv1.3' })
  await until(() => rejected.length + connections.length > 0)
  const why = lines[0]?.why ?? connections[0]?.client.explainSilence?.('other.test')
  t.match(why, 'the client asked for other.test, and the certificate of the proxy has other names')
})

t.test('a handshake that the proxy ends is not reported as one that the client ended', async t => {
  const { listener, dial, rejected, lines } = await startListener(t, { tls })
  const client = await dial()
  client.write(Buffer.from('16030100f501', 'hex'))
  await until(() => listener.countByStage().connecting === 1)
  await nextIteration()
  listener.destroy()
  await waitForClose(client)
  t.same([rejected, lines], [[], []])
})
