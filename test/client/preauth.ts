import { once } from 'node:events'
import { type Document, serialize } from 'bson'
import t from 'tap'
import { Fault, type FaultKind } from '../../src/errors.js'
import { OP_COMPRESSED, writeFrame } from '../../src/wire/frame.js'
import { MORE_TO_COME, readReply } from '../../src/wire/message.js'
import {
  failWith,
  find,
  hello,
  message,
  ping,
  query,
  saslContinue,
  saslStart,
  settle,
  startConnection,
  succeedWith,
  until,
} from '../support/connection.js'
import { createFrameReceiver, socketPair, waitForClose } from '../support/sockets.js'

t.test('malformed input closes the connection with a fault and without a reply', async t => {
  const header = (length: number) => {
    const bytes = Buffer.alloc(16)
    bytes.writeInt32LE(length)
    return bytes
  }
  const body = (bytes: Buffer, flags = 0) => {
    const head = Buffer.alloc(5)
    head.writeUInt32LE(flags)
    return writeFrame(2013, 1, 0, [head, bytes])
  }
  const tooLong = Buffer.from(serialize({ hello: 1, $db: 'admin' }))
  tooLong.writeInt32LE(tooLong.length + 50)
  const inner = Buffer.from(serialize({ hello: { x: 1 }, $db: 'admin' }))
  inner.writeInt32LE(4000, 11)
  const twice = Buffer.from(serialize({ hello: 1, hellp: 1, $db: 'admin' }))
  twice.write('hello', twice.indexOf('hellp'), 'latin1')
  const bad: [string, Buffer, FaultKind, Document?][] = [
    ['length 0', header(0), 'frame/length'],
    ['length 15', header(15), 'frame/length'],
    ['length -1', header(-1), 'frame/length'],
    ['length 2³¹−1', header(2 ** 31 - 1), 'frame/length'],
    ['48 MB', Buffer.concat([header(48_000_000), Buffer.alloc(200_000)]), 'frame/length', { length: 48_000_000 }],
    ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), 'frame/length', { looksLike: 'HTTP' }],
    ['a TLS hello', Buffer.from('16030100f5010000f10303', 'hex'), 'frame/length', { looksLike: 'TLS' }],
    ['a document with a wrong length', body(tooLong), 'message/malformed'],
    ['an inner document with a wrong length', body(inner), 'message/malformed'],
    ['a key twice', body(twice), 'message/malformed'],
    ['no $db', body(Buffer.from(serialize({ hello: 1 }))), 'message/malformed'],
    ['unknown flag bits', message(1, { hello: 1 }, 4), 'message/malformed'],
    ['a wrong checksum', Buffer.concat([body(Buffer.from(serialize({ hello: 1, $db: 'x' })), 1)]), 'message/malformed'],
    ['moreToCome', message(1, { hello: 1 }, MORE_TO_COME), 'message/malformed'],
    ['an old opcode', writeFrame(2002, 1, 0, [Buffer.alloc(20)]), 'frame/opcode'],
    ['a compressed message', writeFrame(OP_COMPRESSED, 1, 0, [Buffer.alloc(20)]), 'message/compressed'],
  ]
  for (const [what, bytes, kind, facts = {}] of bad) {
    const { client, closedLine } = await startConnection(t)
    let receivedBytes = 0
    client.on('data', chunk => (receivedBytes += chunk.length))
    client.on('end', () => client.end())
    client.write(bytes)
    t.match(await closedLine(), { level: 'warn', fault: kind, by: 'proxy', ...facts }, what)
    await waitForClose(client)
    t.equal(receivedBytes, 0, what)
  }
})

t.test('a client that does not close its side is cut off after a second', async t => {
  const { client, socket, clock, connection } = await startConnection(t)
  client.resume()
  client.write(Buffer.alloc(16))
  await connection.closed
  t.equal(socket.destroyed, false)
  clock.advance(1000)
  t.equal(socket.destroyed, true)
  t.equal(clock.waiting(), 0)
})

t.test('a refused login is answered, and then the connection ends', async t => {
  const { client, nextReply, closedLine, logins, faults, stages } = await startConnection(t, {
    login: failWith('sts/refused', 'ExpiredToken: it is over'),
  })
  client.write(Buffer.concat([saslStart, saslContinue]))
  await nextReply()
  t.match(readReply(await nextReply()).document, {
    ok: 0,
    code: 18,
    errmsg: /ExpiredToken: it is over \(connection 5\)/,
  })
  t.match(await closedLine(), { by: 'proxy', fault: 'sts/refused', stage: 'authenticating' })
  t.same(logins, ['sts/refused'])
  t.same(faults, ['sts/refused'])
  t.same(stages, ['authenticating'])
  if (!client.readableEnded) await once(client, 'end')
})

t.test('requests behind a refused login are neither forwarded nor answered', async t => {
  for (const kind of ['sts/refused', 'sts/unavailable', 'login/timeout', 'users/no-rule'] as const) {
    const { client, socket, connection } = await startConnection(t, { login: failWith(kind) })
    let received = 0
    const replies = createFrameReceiver(client)
    client.on('data', () => received++)
    client.write(Buffer.concat([saslStart, saslContinue, find, ping(9)]))
    await replies()
    t.match(readReply(await replies()).document, { ok: 0 })
    await connection.closed
    if (!client.readableEnded) await once(client, 'end')
    await t.rejects(
      Promise.race([replies(), once(client.end(), 'close').then(() => Promise.reject(new Error('closed')))]),
      /closed/,
      `${kind}: ${socket.bytesWritten}`,
    )
  }
})

t.test('a client that leaves during its login aborts the login at once', async t => {
  for (const [leave, behind] of [
    ['end', Buffer.alloc(0)],
    ['destroy', Buffer.alloc(0)],
    ['resetAndDestroy', Buffer.alloc(0)],
    ['end', find],
  ] as const) {
    let start = (): void => {}
    const started = new Promise<void>(resolve => {
      start = resolve
    })
    const { client, closedLine, logins, clock } = await startConnection(t, {
      login: (_, { signal }) => {
        start()
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new Fault('login/abandoned')))
        })
      },
    })
    client.on('data', () => {})
    client.write(Buffer.concat([saslStart, saslContinue, behind]))
    await started
    client[leave]()
    t.match(await closedLine(), { fault: 'login/abandoned', by: 'client', stage: 'authenticating' }, leave)
    t.same(logins, ['login/abandoned'])
    t.equal(clock.now(), 0)
  }
})

t.test('a login that aborts itself is answered with its fault', async t => {
  for (const [kind, code] of [
    ['login/timeout', 262],
    ['upstream/unreachable', 6],
  ] as const) {
    const { client, nextReply, closedLine, logins } = await startConnection(t, {
      login: async (_, abort) => {
        abort.abort(new Fault(kind))
        throw abort.signal.reason
      },
    })
    client.write(Buffer.concat([saslStart, saslContinue, find]))
    await nextReply()
    t.match(readReply(await nextReply()).document, { ok: 0, code }, kind)
    t.match(await closedLine(), { fault: kind, by: 'proxy', stage: 'authenticating' })
    t.same(logins, [kind])
  }
})

t.test('a login that succeeds as its client leaves closes the upstream', async t => {
  const upstream = await socketPair(t)
  const { client, closedLine, logins } = await startConnection(t, {
    login: async (request, abort) => {
      client.end()
      await once(abort.signal, 'abort')
      return succeedWith(upstream.near)(request, abort)
    },
  })
  let received = 0
  upstream.far.on('data', () => received++)
  client.write(Buffer.concat([saslStart, saslContinue, find]))
  t.match(await closedLine(), { fault: 'login/abandoned', by: 'client' })
  t.equal(upstream.near.destroyed, true)
  t.same(logins, ['login/abandoned'], 'it does not count as a success')
  t.equal(received, 0)
})

t.test('the first message must be complete five seconds after the accept', async t => {
  for (const beginning of [Buffer.alloc(0), hello.subarray(0, 3), hello.subarray(0, -1)]) {
    const { client, closedLine, clock, socket } = await startConnection(t)
    client.write(beginning)
    await until(() => socket.bytesRead === beginning.length)
    await settle()
    clock.advance(4999)
    await settle()
    t.equal(socket.destroyed, false)
    clock.advance(1)
    t.match(await closedLine(), { fault: 'connection/frame-timeout', by: 'proxy', stage: 'connecting' })
  }
})

t.test('a message must be complete within five seconds, however slowly its bytes arrive', async t => {
  const { client, nextReply, closedLine, clock, socket } = await startConnection(t)
  client.write(hello)
  await nextReply()
  clock.advance(60_000)
  for (let at = 0; at < 5; at++) {
    client.write(hello.subarray(at, at + 1))
    await until(() => socket.bytesRead === hello.length + at + 1)
    await settle()
    t.equal(socket.destroyed, false)
    clock.advance(1000)
  }
  t.match(await closedLine(), { fault: 'connection/frame-timeout', stage: 'unauthenticated', ms: { open: 65_000 } })
})

t.test('a slow answer of the proxy does not count as time of the client', async t => {
  let answer = (_: Document): void => {}
  const { client, nextReply, clock, socket } = await startConnection(t, {
    answerHello: () =>
      new Promise(resolve => {
        answer = resolve
      }),
  })
  client.write(Buffer.concat([hello, hello.subarray(0, 20)]))
  await until(() => socket.bytesRead === hello.length + 20)
  await settle()
  clock.advance(9000)
  answer({ ok: 1 })
  await nextReply()
  await settle()
  t.equal(socket.destroyed, false)
  clock.advance(5000)
  await settle()
  t.equal(socket.destroyed, true, 'the timeout of the partial message behind it starts after the answer')
})

t.test('a challenge without an answer times out after half a minute', async t => {
  const { client, nextReply, closedLine, clock, socket } = await startConnection(t)
  client.write(saslStart)
  await nextReply()
  await settle()
  clock.advance(29_999)
  await settle()
  t.equal(socket.destroyed, false)
  clock.advance(1)
  t.match(await closedLine(), { fault: 'connection/idle-timeout' })
})

t.test('a refused command is answered in its own opcode, and so is the next one', async t => {
  const { client, nextReply, faults } = await startConnection(t)
  client.write(Buffer.concat([query(1, { find: 'c' }), find, ping(9)]))
  const [legacy, modern, pong] = [await nextReply(), await nextReply(), await nextReply()]
  t.match(legacy, { opCode: 1, responseTo: 1 })
  t.match(modern, { opCode: 2013, responseTo: 4 })
  for (const refused of [legacy, modern]) t.match(readReply(refused).document, { ok: 0, code: 13 })
  t.match(readReply(pong).document, { ok: 1 })
  t.same(faults, ['command/unauthorized', 'command/unauthorized'])
})

t.test('a command between saslStart and saslContinue closes the conversation without a login', async t => {
  const { client, nextReply, closedLine, logins } = await startConnection(t)
  client.write(Buffer.concat([saslStart, find, saslContinue]))
  await nextReply()
  t.match(readReply(await nextReply()).document, { ok: 0, code: 17 })
  t.match(await closedLine(), { fault: 'sasl/out-of-order', by: 'proxy' })
  t.same(logins, [])
})
