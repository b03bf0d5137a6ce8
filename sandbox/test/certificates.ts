import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type TLSSocket } from 'node:tls'
import t from 'tap'
import { createCertificates } from '../src/certificates.js'

t.test('the authority signs both server certificates, which are for this machine', async t => {
  const now = Date.UTC(2026, 0, 2, 3, 4, 5)
  const { ca, server, nextServer } = createCertificates(now)
  const authority = new X509Certificate(ca)
  t.equal(authority.ca, true)
  t.ok(authority.verify(authority.publicKey))
  for (const { cert } of [server, nextServer]) {
    const certificate = new X509Certificate(cert)
    t.equal(certificate.ca, false)
    t.ok(certificate.checkIssued(authority) && certificate.verify(authority.publicKey))
    t.equal(certificate.checkHost('localhost'), 'localhost')
    t.equal(certificate.checkHost('example.com'), undefined)
    t.ok(certificate.checkIP('127.0.0.1') && certificate.checkIP('::1'))
    t.same(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1'])
    t.equal(Date.parse(certificate.validFrom), now - 3_600_000)
    t.equal(Date.parse(certificate.validTo), now + 30 * 86_400_000)
  }
  t.not(new X509Certificate(server.cert).serialNumber, new X509Certificate(nextServer.cert).serialNumber)
})

t.test('a client that trusts the authority completes a handshake, and another one does not', async t => {
  const { ca, server } = createCertificates()
  const listener = createServer(server, socket => socket.end())
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => listener.close())
  const { port } = listener.address() as { port: number }
  const dial = async (options: object) => {
    const socket: TLSSocket = connect({ port, host: '127.0.0.1', ...options })
    t.teardown(() => socket.destroy())
    await once(socket, 'secureConnect')
    return socket.authorized
  }
  t.equal(await dial({ ca }), true)
  await t.rejects(dial({}), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
})
