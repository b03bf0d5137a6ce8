import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setImmediate as nextIteration } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { validateProof } from '../../src/identity/proof.js'
import { createStsClient, type StsClientOptions } from '../../src/identity/sts.js'
import { Secret } from '../../src/log.js'
import { faultOf } from '../support/faults.js'
import { type ConnectAnswer, openTunnel, startForwardProxy } from '../support/forwardProxy.js'
import { startHttpServer } from '../support/httpServer.js'
import { alice, challenge, date, signAsDriver } from '../support/proofs.js'
import { errorXML, identityXML } from '../support/stsReplies.js'
import { waitUntil } from '../support/waitUntil.js'

const HOST = 'upstream.test' // the name in the certificate
const offered = { ...challenge, host: HOST }
const proof = validateProof(await signAsDriver(alice, offered), offered, date)
/** A signal that is never aborted. Each call has its own: Node.js warns when many listen to one. */
const never = () => new AbortController().signal
const LONG = 5_000
const pem = (name: string) => readFileSync(new URL(`../support/tls/${name}`, import.meta.url), 'utf8')
const upstreamPem = { key: pem('upstream.pem'), cert: pem('upstream.pem') }

type Setup = {
  answer?: ConnectAnswer
  credentials?: Secret
  proxyTls?: { key: string; cert: string }
  certificate?: string
  options?: Partial<StsClientOptions>
}

/** STS with TLS behind a forward proxy, and a client of both. */
async function createTunneledSts(t: Test, { answer, credentials, proxyTls, certificate, options }: Setup = {}) {
  const name = certificate ?? 'upstream.pem'
  const server = await startHttpServer(
    t,
    response => response.writeHead(200, { 'Content-Type': 'text/xml' }).end(identityXML()),
    { key: pem(name), cert: pem(name) },
  )
  const proxy = await startForwardProxy(t, server.port, answer, proxyTls)
  const sts = createStsClient({
    hosts: [{ host: HOST }],
    timeoutMS: LONG,
    userAgent: 'test',
    now: Date.now,
    ca: pem('ca.pem'),
    proxy: { url: proxy.url, credentials },
    ...options,
  })
  t.teardown(() => sts.close())
  return { server, proxy, sts, ask: (ms = LONG, signal = never()) => sts.getCallerIdentity(proof, ms, signal) }
}

t.test('calls go through a tunnel, in which TLS is verified for the offered host', async t => {
  for (const proxyTls of [undefined, upstreamPem]) {
    const { server, proxy, ask } = await createTunneledSts(t, { ...(proxyTls && { proxyTls }) })
    t.equal((await ask()).is, 'identity')
    await nextIteration() // undici releases the socket behind the answer
    t.equal((await ask()).is, 'identity')
    t.match(server.calls, [{ servername: HOST, headers: { host: HOST } }, { servername: HOST }])
    t.match(proxy.requests, [{ target: `${HOST}:443`, headers: { host: `${HOST}:443` } }])
    t.equal(proxy.requests.length, 1, 'the tunnel is used again')
    t.notOk(JSON.stringify(proxy.requests).includes('AWS4'), 'the proxy sees no signature')
    t.notOk('proxy-authorization' in (proxy.requests[0]?.headers ?? {}))
  }
})

t.test('the tunnel leads to the address in connect, and the certificate still has to name the host', async t => {
  const options = { hosts: [{ host: HOST, connect: { host: 'vpce-1.sts.example', port: 8443 } }] }
  const { proxy, ask } = await createTunneledSts(t, { options })
  t.equal((await ask()).is, 'identity')
  t.match(proxy.requests, [{ target: 'vpce-1.sts.example:8443' }])
  const ipv6 = await createTunneledSts(t, { options: { hosts: [{ host: HOST, connect: { host: '::1', port: 443 } }] } })
  t.equal((await ipv6.ask()).is, 'identity')
  t.match(ipv6.proxy.requests, [{ target: '[::1]:443' }])
  const misnamed = await createTunneledSts(t, { certificate: 'misnamed.pem' })
  t.match(await misnamed.ask(), { is: 'unavailable', why: /ERR_TLS_CERT_ALTNAME_INVALID/ })
  t.equal(misnamed.server.calls.length, 0, 'no proof was sent')
  const plain = await createTunneledSts(t, { proxyTls: { key: pem('misnamed.pem'), cert: pem('misnamed.pem') } })
  t.match(await plain.ask(), { is: 'unavailable', why: /^sts\.proxy: .*altnames/ })
  t.equal(plain.proxy.requests.length, 0, 'nothing was sent to a proxy that is not verified')
})

t.test('credentials are sent to the proxy alone', async t => {
  const { server, proxy, ask } = await createTunneledSts(t, { credentials: new Secret('squid:pässword:1') })
  t.equal((await ask()).is, 'identity')
  const encoded = Buffer.from('squid:pässword:1').toString('base64')
  t.equal(proxy.requests[0]?.headers['proxy-authorization'], `Basic ${encoded}`)
  t.notOk('proxy-authorization' in (server.calls[0]?.headers ?? {}))
})

t.test('an answer of the proxy is never a refusal', async t => {
  const say =
    (text: string | Buffer): ConnectAnswer =>
    client =>
      void client.write(text)
  const respond = (status: string, body = '') =>
    say(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  const refusal = errorXML('InvalidClientTokenId')
  for (const [answer, why] of [
    [
      respond('407 Proxy Authentication Required'),
      'sts.proxy: it answered 407 to CONNECT upstream.test:443; check sts.proxyCredentialsFile',
    ],
    [respond('401 Unauthorized'), /; check sts\.proxyCredentialsFile$/],
    [
      respond('403 Forbidden', refusal),
      'sts.proxy: it answered 403 to CONNECT upstream.test:443; it must allow this target',
    ],
    [respond('502 Bad Gateway'), 'sts.proxy: it answered 502 to CONNECT'],
    [respond('302 Found'), 'sts.proxy: it answered 302 to CONNECT'],
    [respond('400 Bad Request', identityXML()), 'sts.proxy: it answered 400 to CONNECT'],
    [say('SSH-2.0-OpenSSH_9.2\r\n'), /^sts\.proxy: Parse Error/],
    [say(Buffer.alloc(1000, 0x16)), /^sts\.proxy: Parse Error/],
    [say(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`), /^sts\.proxy: Parse Error: Header overflow/],
    [say(`HTTP/1.1 200 OK\r\n\r\n${refusal}`), 'sts.proxy: it sent bytes before TLS'],
    [client => void client.destroy(), /^sts\.proxy: socket hang up|^sts\.proxy: read ECONNRESET/],
    [client => void client.end('HTTP/1.1 200 OK\r\nX: '), /^sts\.proxy: socket hang up/],
    [client => void client.end('HTTP/1.1 200 OK\r\n\r\n'), /disconnected before secure TLS|ECONNRESET|hang up/],
  ] as [ConnectAnswer, string | RegExp][]) {
    const { server, proxy, ask } = await createTunneledSts(t, { answer })
    t.match(await ask(), { is: 'unavailable', next: 'retry', why })
    t.equal(server.calls.length, 0)
    await waitUntil(() => proxy.open() === 0)
  }
})

t.test('the tunnel is part of the time of an attempt', async t => {
  const drip: ConnectAnswer = client => {
    const timer = setInterval(() => client.write('HTTP/1.1 200 OK\r\nX-Drip: 1\r\n'.charAt(0)), 5)
    client.once('close', () => clearInterval(timer))
  }
  const silent: ConnectAnswer = () => {}
  const withoutTls: ConnectAnswer = client => void client.write('HTTP/1.1 200 OK\r\n\r\n')
  for (const answer of [silent, drip, withoutTls]) {
    const { proxy, ask } = await createTunneledSts(t, { answer, options: { timeoutMS: 300 } })
    const { is, why } = (await ask(100)) as { is: string; why: string }
    t.equal(is, 'unavailable')
    t.match(why, /^no answer within 100 ms$|^UND_ERR|^sts\.proxy: /)
    await waitUntil(() => proxy.open() === 0)
  }
})

t.test('a login that is abandoned or a client that closes does not wait for the tunnel', async t => {
  const { sts, proxy, ask } = await createTunneledSts(t, { answer: () => {}, options: { timeoutMS: 300 } })
  const abort = new AbortController()
  const asked = ask(LONG, abort.signal)
  await waitUntil(() => proxy.requests.length === 1)
  abort.abort(new Error('the client left'))
  await t.rejects(asked, /the client left/)
  await sts.close()
  await waitUntil(() => proxy.open() === 0)
})

t.test('many calls at once have a tunnel each, within the limit of sockets', async t => {
  const { proxy, server, ask } = await createTunneledSts(t, { options: { maxSockets: 4 } })
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => ask()))
  t.ok(outcomes.every(({ is }) => is === 'identity'))
  t.equal(server.calls.length, 20)
  t.ok(proxy.requests.length <= 4)
})

t.test('a probe goes through the tunnel, and an unreachable proxy is named', async t => {
  const { proxy, sts } = await createTunneledSts(t)
  t.equal(await sts.probe(HOST, never()), undefined)
  t.equal(proxy.requests.length, 1)
  const closed = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => closed.once('listening', resolve))
  const { port } = closed.address() as { port: number }
  await new Promise(resolve => closed.close(resolve))
  const options = { proxy: { url: `http://127.0.0.1:${port}`, credentials: undefined } }
  const unreachable = await createTunneledSts(t, { options })
  t.match(await unreachable.ask(), { is: 'unavailable', next: 'retry', why: /^sts\.proxy: connect ECONNREFUSED/ })
})

t.test('a proxy that works again is used again', async t => {
  let isBroken = true
  const { ask } = await createTunneledSts(t, {
    answer: (client, open) => (isBroken ? client.end('HTTP/1.1 503 Busy\r\n\r\n') : openTunnel(client, open)),
  })
  t.match(await ask(), { why: 'sts.proxy: it answered 503 to CONNECT' })
  isBroken = false
  t.equal((await ask()).is, 'identity')
})

t.test('a proxy excludes plain http to STS', async t => {
  const create = () =>
    createStsClient({
      hosts: [{ host: HOST, connect: { host: '127.0.0.1', port: 1 }, insecure: true }],
      timeoutMS: 1,
      userAgent: 'test',
      now: Date.now,
      proxy: { url: 'http://127.0.0.1:3128', credentials: undefined },
    })
  t.match(faultOf(create), { kind: 'config/invalid', detail: /sts\.proxy/ })
})
