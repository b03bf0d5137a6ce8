import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Int32, Long } from 'bson'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { openChannel } from '../../src/upstream/channel.js'
import { createTarget, parseUpstreamUri } from '../../src/upstream/target.js'
import { MORE_TO_COME, writeMessage } from '../../src/wire/message.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { hangUp, type Script, silence, startScriptedUpstream } from '../support/scriptedUpstream.js'

const readFile = (path: string) => readFileSync(new URL(`../support/tls/${path}`, import.meta.url))
/** The target of a connection string with one address. */
const targetOf = (uri: string) => {
  const { connectionOptions, seeds } = parseUpstreamUri(new Secret(uri), readFile)
  return createTarget(connectionOptions, seeds.join())
}
const never = new AbortController().signal
const ping = { ping: 1, $db: 'admin' }

t.test('a reply keeps the BSON types of its numbers', async t => {
  const upstream = await startScriptedUpstream(t, () => ({ n: Long.fromNumber(5), i: new Int32(1), ok: 1 }))
  const channel = await openChannel(upstream.target, never)
  t.match(await channel.request(ping, never), { n: { _bsontype: 'Long' }, i: { _bsontype: 'Int32' } })
  await channel.request({ hello: 1, $db: 'admin' }, never)
  t.match(upstream.received, [{ name: 'ping' }, { name: 'hello' }])
  t.equal(channel.isOpen, true)
  channel.destroy()
  t.equal((await faultOfAsync(() => channel.request(ping, never)))?.kind, 'upstream/unreachable')
})

t.test('a channel that is closed builds no further error', async t => {
  const upstream = await startScriptedUpstream(t, () => ({ ok: 1 }))
  let errors = 0
  const { target } = upstream
  const counting = Object.defineProperty({ ...target }, 'host', {
    get: () => {
      errors += 1
      return target.host
    },
  })
  const channel = await openChannel(counting, never)
  errors = 0 // the connection has read the host, too
  channel.destroy()
  t.equal(errors, 1)
  channel.destroy()
  channel.destroy()
  upstream.closeSockets()
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  t.equal(errors, 1, 'neither for another destroy nor for the close of the socket')
})

const reply = (responseTo: number, flagBits = 0) => writeMessage({ ok: 1 }, 9, responseTo, flagBits)
const length = (value: number) => {
  const bytes = reply(1)
  bytes.writeInt32LE(value)
  return bytes
}
const violations: Record<string, Script> = {
  'a length of zero': () => length(0),
  'a length below a header': () => length(15),
  'a negative length': () => length(-1),
  'the largest length': () => length(2 ** 31 - 1),
  'a length above the limit': () => length(256 * 1024 + 1),
  'a document that lies about its size': () => {
    const bytes = reply(1)
    bytes.writeInt32LE(5000, 21)
    return bytes
  },
  'a reply to another request': () => reply(2),
  'a reply to no request': () => reply(0),
  'an exhaust stream': () => reply(1, MORE_TO_COME),
  'unknown flag bits': () => reply(1, 1 << 5),
  'an HTTP response': () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
  'a duplicate key': () => {
    const bytes = writeMessage({ ok: 1, xx: 2, xy: 3 }, 9, 1)
    bytes.write('xx', bytes.indexOf('xy'))
    return bytes
  },
}
for (const [name, script] of Object.entries(violations)) {
  t.test(`${name} throws upstream/protocol-error and destroys the socket`, async t => {
    const upstream = await startScriptedUpstream(t, script)
    const channel = await openChannel(upstream.target, never)
    t.equal((await faultOfAsync(() => channel.request(ping, never)))?.kind, 'upstream/protocol-error')
    t.equal(channel.isOpen, false)
  })
}

t.test('a message that was not requested throws upstream/protocol-error', async t => {
  const upstream = await startScriptedUpstream(t, () => Buffer.concat([reply(1), reply(2).subarray(0, 20)]))
  const channel = await openChannel(upstream.target, never)
  await channel.request(ping, never)
  const fault = await faultOfAsync(() => channel.request(ping, never))
  t.match(fault, { kind: 'upstream/protocol-error', facts: { why: 'a message that was not requested' } })
})

t.test('an upstream that closes the connection throws upstream/unreachable', async t => {
  const upstream = await startScriptedUpstream(t, () => hangUp)
  const channel = await openChannel(upstream.target, never)
  t.equal((await faultOfAsync(() => channel.request(ping, never)))?.kind, 'upstream/unreachable')
})

t.test('an abort rejects the pending request and closes the socket', async t => {
  const upstream = await startScriptedUpstream(t, () => silence)
  const channel = await openChannel(upstream.target, never)
  const stop = new AbortController()
  const pending = channel.request(ping, stop.signal)
  await upstream.waitForCommands(1)
  const [socket] = upstream.sockets
  if (!socket) throw new Error('no connection')
  const closed = once(socket, 'close')
  stop.abort(new Error('aborted'))
  await t.rejects(pending, { message: 'aborted' })
  await closed
  await t.rejects(openChannel(upstream.target, stop.signal), { message: 'aborted' })
})

t.test('a refused connection throws upstream/unreachable with host, port and code', async t => {
  const upstream = await startScriptedUpstream(t, () => silence)
  await upstream.stop()
  const fault = await faultOfAsync(() => openChannel(upstream.target, never))
  t.match(fault, {
    kind: 'upstream/unreachable',
    facts: { host: '127.0.0.1', port: upstream.port, code: 'ECONNREFUSED' },
  })
})

t.test('the socket is handed over with the bytes beyond the last reply', async t => {
  const upstream = await startScriptedUpstream(t, () => Buffer.concat([reply(1), Buffer.from('beyond')]))
  const channel = await openChannel(upstream.target, never)
  await channel.request(ping, never)
  const { socket, rest } = channel.handOver()
  t.equal(rest.toString(), 'beyond')
  t.equal(socket.isPaused(), true)
  t.equal(socket.allowHalfOpen, true)
  t.equal(faultOf(() => channel.handOver())?.kind, 'internal')
  socket.destroy()
})

t.test('a chunk that arrives while the socket has no consumer destroys the socket', async t => {
  for (const pem of [undefined, 'upstream.pem']) {
    let raw: Socket | undefined
    const upstream = await startScriptedUpstream(
      t,
      command => {
        raw = command.raw
        return { ok: 1 }
      },
      pem,
    )
    const channel = await openChannel(targetOf(`${upstream.uri}${pem ? 'tls=true&tlsInsecure=true' : ''}`), never)
    await channel.request(ping, never)
    const { socket } = channel.handOver()
    raw?.write('more')
    socket.resume() // a TLS socket resumes by itself while it has decrypted bytes
    await once(socket, 'close')
  }
})

t.test('TLS verifies chain and name unless the options say otherwise', async t => {
  const isAccepted = async (pem: string, options: string) => {
    const upstream = await startScriptedUpstream(t, () => ({ ok: 1 }), pem)
    const target = targetOf(`${upstream.uri}tls=true&${options}`)
    const channel = await openChannel(target, never)
    const { ok } = await channel.request(ping, never)
    channel.destroy()
    return Number(ok) === 1
  }
  const codeOf = async (pem: string, options: string) =>
    (await faultOfAsync(() => isAccepted(pem, options)))?.facts.code
  t.ok(await isAccepted('upstream.pem', 'tlsCAFile=ca.pem'))
  t.ok(await isAccepted('upstream.pem', 'tlsCAFile=ca.pem&servername=upstream.test'))
  t.ok(await isAccepted('misnamed.pem', 'tlsCAFile=ca.pem&tlsAllowInvalidHostnames=true'))
  t.ok(await isAccepted('misnamed.pem', 'tlsInsecure=true'))
  t.equal(await codeOf('misnamed.pem', 'tlsCAFile=ca.pem'), 'ERR_TLS_CERT_ALTNAME_INVALID')
  t.equal(await codeOf('upstream.pem', 'tlsAllowInvalidHostnames=true'), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
})

t.test('a TLS handshake without an answer ends with connectTimeoutMS', async t => {
  const silentServer = createServer().listen(0, '127.0.0.1')
  t.teardown(() => silentServer.close())
  await once(silentServer, 'listening')
  const { port } = silentServer.address() as AddressInfo
  const target = targetOf(`mongodb://127.0.0.1:${port}/?tls=true&connectTimeoutMS=20`)
  t.match(await faultOfAsync(() => openChannel(target, never)), {
    kind: 'upstream/unreachable',
    facts: { code: 'ETIMEDOUT' },
  })
})
