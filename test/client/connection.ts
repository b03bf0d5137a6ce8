import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import { setImmediate as nextIteration } from 'node:timers/promises'
import { Binary, type Document, serialize } from 'bson'
import t from 'tap'
import type { LoginRequest } from '../../src/client/login.js'
import { Fault } from '../../src/errors.js'
import type { LiveConnection } from '../../src/revocation/liveConnections.js'
import { createTermController } from '../../src/upstream/primaryTerm.js'
import { readReply, writeMessage } from '../../src/wire/message.js'
import {
  ALICE,
  clientFirst,
  driver,
  failWith,
  find,
  hello,
  helloOf,
  type Login,
  message,
  ping,
  STS_HOST,
  saslContinue,
  saslStart,
  serveConnection,
  settle,
  startConnection,
  succeedWith,
  until,
} from '../support/connection.js'
import { signClientFinal } from '../support/signingClient.js'
import { createFrameReceiver, socketPair } from '../support/sockets.js'

t.test('a connection goes from hello to the relay', async t => {
  const upstream = await socketPair(t)
  const { client, nextReply, closedLine, stages, logins, clock, countActivities } = await startConnection(t, {
    login: succeedWith(upstream.near),
  })
  const nextUpstreamRequest = createFrameReceiver(upstream.far)
  client.write(hello)
  t.match(readReply(await nextReply()).document, { ismaster: true, ok: 1 })
  client.write(saslStart)
  t.match(readReply(await nextReply()).document, { conversationId: 1, done: false, ok: 1 })
  client.write(saslContinue)
  t.match(readReply(await nextReply()).document, { conversationId: 1, done: true, ok: 1 })
  client.write(find)
  t.same((await nextUpstreamRequest()).bytes, find)
  upstream.far.write(writeMessage({ ok: 1 }, 50, 4))
  t.equal((await nextReply()).requestID, 50)
  clock.advance(2000)
  client.end()
  const line = await closedLine()
  t.match(line, {
    level: 'info',
    id: 5,
    peer: '192.0.2.7:50000',
    stage: 'authenticated',
    by: 'client',
    ...ALICE,
    ms: { sts: 12, open: 2000 },
    bytes: { fromClient: hello.length + saslStart.length + saslContinue.length + find.length },
  })
  t.ok(line.bytes.toClient > 300)
  t.notOk('fault' in line)
  t.same(stages, ['unauthenticated', 'authenticating', 'authenticated'])
  t.same(logins, ['success'])
  t.equal(countActivities(), 3)
  t.equal(clock.waiting() <= 2, true, 'only the timers of the closing sockets remain')
})

t.test('any split of the bytes gives the same replies and the same bytes upstream', async t => {
  const conversation = Buffer.concat([message(1, { hello: 1 }), ping(7), saslStart, saslContinue, find])
  const run = async (chunks: Buffer[]) => {
    const [near, far] = duplexPair()
    const [upstreamNear, upstreamFar] = duplexPair()
    serveConnection(near as Duplex, { login: succeedWith(upstreamNear as Duplex) })
    const received = { client: '', upstream: '' }
    far.on('data', chunk => (received.client += chunk.toString('latin1')))
    upstreamFar.on('data', chunk => (received.upstream += chunk.toString('latin1')))
    for (const chunk of chunks) {
      far.write(chunk)
      await Promise.resolve()
    }
    for (let i = 0; i < 2000 && received.upstream.length < find.length; i++) await nextIteration()
    near.destroy()
    upstreamNear.destroy()
    return received
  }
  const whole = await run([conversation])
  t.equal(whole.upstream, find.toString('latin1'))
  t.ok(whole.client.length > 300)
  t.same(await run([...conversation].map(byte => Buffer.of(byte))), whole, 'one byte at a time')
  let wrong: number[][] = []
  for (let i = 0; i < conversation.length; i++) {
    // Every single cut, and pairs of cuts whose positions add up to a multiple of a prime: each position meets many others.
    for (let j = i; j < conversation.length; j++) {
      if (j !== i && (i + j) % 101 !== 0) continue
      const split = await run([conversation.subarray(0, i), conversation.subarray(i, j), conversation.subarray(j)])
      if (split.client !== whole.client || split.upstream !== whole.upstream) wrong = [...wrong, [i, j]]
    }
  }
  t.same(wrong, [])
})

t.test('challenge and login get the address of the client and its verified certificate', async t => {
  for (const [peer, address] of [
    ['192.0.2.7:50000', '192.0.2.7'],
    ['2001:db8::1:50000', '2001:db8::1'],
  ] as const) {
    const requests: LoginRequest[] = []
    const login: Login = async request => {
      requests.push(request)
      request.record.cached = true
      throw new Fault('sts/refused')
    }
    const { client, closedLine, addresses } = await startConnection(t, {
      login,
      client: { peer, certificate: 'AA:BB' },
    })
    client.write(Buffer.concat([saslStart, saslContinue]))
    t.match(await closedLine(), { peer, cached: true }, 'the line says that STS was not asked')
    t.match(requests, [{ address, certificate: 'AA:BB' }])
    t.same([...new Set(addresses)], [address])
  }
})

t.test('while a proof is verified no frame is handled; afterwards the upstream gets the frames', async t => {
  const upstream = await socketPair(t)
  const nextUpstreamRequest = createFrameReceiver(upstream.far)
  let finishLogin = (): void => {}
  const { client, nextReply, socket } = await startConnection(t, {
    login: async (request, abort) => {
      await new Promise<void>(resolve => {
        finishLogin = resolve
      })
      return succeedWith(upstream.near)(request, abort)
    },
  })
  client.write(Buffer.concat([saslStart, saslContinue, ping(8), find]))
  await nextReply()
  await until(() => socket.bytesRead >= saslStart.length + saslContinue.length + find.length)
  const written = socket.bytesWritten
  await settle()
  t.equal(socket.bytesWritten, written, 'only saslStart was answered')
  finishLogin()
  t.match(await nextReply(), { responseTo: 3 })
  t.equal((await nextUpstreamRequest()).requestID, 8)
  t.equal((await nextUpstreamRequest()).requestID, 4)
})

t.test('bytes behind a proof start no frame timeout', async t => {
  const upstream = await socketPair(t)
  let finishLogin = (): void => {}
  const { client, nextReply, clock } = await startConnection(t, {
    login: async (request, abort) => {
      await new Promise<void>(resolve => {
        finishLogin = resolve
      })
      return succeedWith(upstream.near)(request, abort)
    },
  })
  client.write(Buffer.concat([saslStart, saslContinue, find.subarray(0, 20)]))
  await nextReply()
  await settle()
  clock.advance(7000)
  finishLogin()
  t.match(await nextReply(), { responseTo: 3 })
})

t.test('after the login a hello is answered by the proxy, and a second client document is refused', async t => {
  const upstream = await socketPair(t)
  upstream.far.on('data', () => t.fail('nothing goes upstream'))
  const { client, nextReply } = await startConnection(t, { login: succeedWith(upstream.near) })
  client.write(
    Buffer.concat([saslStart, saslContinue, message(10, { hello: 1 }), message(11, { hello: 1, client: driver })]),
  )
  await nextReply()
  await nextReply()
  t.match(readReply(await nextReply()).document, { isWritablePrimary: true })
  t.match(readReply(await nextReply()).document, { ok: 0, code: 186 })
  client.write(message(12, { hello: 1, maxAwaitTimeMS: 1 }))
  t.match(readReply(await nextReply()).document, { ok: 0, code: 51760 })
})

t.test('draining waits for the answer to a hello and to a login', async t => {
  let answer = (_: Document): void => {}
  const greeting = await startConnection(t, {
    answerHello: () =>
      new Promise(resolve => {
        answer = resolve
      }),
  })
  greeting.client.write(hello)
  await until(() => greeting.countActivities() === 1)
  greeting.connection.drain()
  answer({ isAnswer: true, ok: 1 })
  t.match(readReply(await greeting.nextReply()).document, { isAnswer: true })
  t.match(await greeting.closedLine(), { by: 'proxy' })

  const upstream = await socketPair(t)
  let finishLogin = (): void => {}
  const loggingIn = await startConnection(t, {
    login: async (request, abort) => {
      await new Promise<void>(resolve => {
        finishLogin = resolve
      })
      return succeedWith(upstream.near)(request, abort)
    },
  })
  loggingIn.client.write(Buffer.concat([saslStart, saslContinue]))
  await loggingIn.nextReply()
  await until(() => loggingIn.stages.includes('authenticating'))
  loggingIn.connection.drain()
  finishLogin()
  t.match(readReply(await loggingIn.nextReply()).document, { done: true })
  t.match(await loggingIn.closedLine(), { by: 'proxy', ...ALICE })
})

t.test('a connection that is destroyed from outside logs the reason, at every stage', async t => {
  const fault = new Fault('listener/connection-limit')
  const connecting = await startConnection(t)
  connecting.connection.destroy(fault)
  t.match(await connecting.closedLine(), { by: 'proxy', fault: 'listener/connection-limit', stage: 'connecting' })

  const authenticating = await startConnection(t, {
    login: (_, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new Fault('login/abandoned')))
      }),
  })
  authenticating.client.write(Buffer.concat([saslStart, saslContinue, ping(1)]))
  await until(() => authenticating.stages.includes('authenticating'))
  authenticating.connection.destroy(fault)
  t.match(await authenticating.closedLine(), {
    by: 'proxy',
    fault: 'listener/connection-limit',
    stage: 'authenticating',
  })

  const upstream = await socketPair(t)
  const authenticated = await startConnection(t, { login: succeedWith(upstream.near) })
  authenticated.client.write(Buffer.concat([saslStart, saslContinue]))
  await until(() => authenticated.stages.includes('authenticated'))
  authenticated.connection.destroy(fault)
  t.match(await authenticated.closedLine(), {
    by: 'proxy',
    fault: 'listener/connection-limit',
    stage: 'authenticated',
    ...ALICE,
  })
  t.equal(upstream.near.destroyed, true)
})

t.test('an idle relay ends at once when the sessions of its term are closed', async t => {
  const upstream = await socketPair(t)
  const { term, end, closeSessions } = createTermController()
  const login = succeedWith(upstream.near, { term })
  const { client, clock, closedLine, stages } = await startConnection(t, { login })
  client.on('data', () => {})
  client.write(Buffer.concat([saslStart, saslContinue]))
  await until(() => stages.includes('authenticated'))
  clock.advance(60_000) // the client has received everything
  end(new Fault('upstream/stepped-down', undefined, { upstream: 'a:1' }))
  t.equal(upstream.near.destroyed, false)
  t.equal(closeSessions(), undefined)
  t.equal(upstream.near.destroyed, true, 'it closes at once')
  t.match(await closedLine(), { level: 'info', by: 'proxy', fault: 'upstream/stepped-down', upstream: 'a:1' })
})

t.test('an unreachable upstream is not an error for every monitor', async t => {
  const { client, closedLine } = await startConnection(t, {
    answerHello: async () => Promise.reject(new Fault('upstream/unreachable')),
  })
  client.write(hello)
  t.match(await closedLine(), { level: 'info', fault: 'upstream/unreachable' })
  const login = await startConnection(t, { login: failWith('upstream/unreachable') })
  login.client.write(Buffer.concat([saslStart, saslContinue]))
  t.match(await login.closedLine(), { level: 'error', fault: 'upstream/unreachable' })
})

t.test('refusals are counted in the log line, whose level is then info', async t => {
  const { client, nextReply, closedLine } = await startConnection(t)
  const scram = { saslStart: 1, mechanism: 'SCRAM-SHA-256', payload: clientFirst, $db: 'admin' }
  for (const id of [2, 3]) {
    client.write(message(id, scram))
    await nextReply()
  }
  client.end()
  t.match(await closedLine(), { level: 'info', stage: 'connecting', refused: { 'sasl/mechanism-unavailable': 2 } })

  const upstream = await socketPair(t)
  const authenticated = await startConnection(t, { login: succeedWith(upstream.near) })
  authenticated.client.write(Buffer.concat([hello, saslStart, saslContinue]))
  for (let replies = 0; replies < 3; replies++) await authenticated.nextReply()
  const many = Array.from({ length: 12 }, (_, index) =>
    [...'logout'].map((letter, at) => ((index >> at) & 1 ? letter.toUpperCase() : letter)).join(''),
  )
  for (const [index, name] of many.entries()) {
    authenticated.client.write(message(10 + index, { [name]: 1 }))
    await authenticated.nextReply()
  }
  authenticated.client.end()
  const { refused } = await authenticated.closedLine()
  t.match(refused, { logout: 1, Logout: 1 })
  t.equal(Object.keys(refused).length, 8, 'many spellings do not make the line longer')
})

t.test('an expired login is renewed over the same relay', async t => {
  const upstream = await socketPair(t)
  const live = { match: { maxAgeMS: 60_000 } } as LiveConnection
  const login = succeedWith(upstream.near, { live })
  const { client, nextReply, clock, stages, connection } = await startConnection(t, { login })
  client.write(Buffer.concat([helloOf('PyMongo|c|Motor', '4.10.1|3.7.1'), saslStart, saslContinue]))
  for (let replies = 0; replies < 3; replies++) await nextReply()
  await until(() => stages.includes('authenticated'))
  clock.advance(60_000)
  client.write(find)
  t.match(readReply(await nextReply()).document, { ok: 0, code: 391 })
  client.write(saslStart)
  t.match(readReply(await nextReply()).document, { ok: 1, done: false })
  client.write(saslContinue)
  t.match(readReply(await nextReply()).document, { ok: 1, done: true })
  client.write(find)
  t.equal((await createFrameReceiver(upstream.far)()).requestID, 4)
  connection.destroy(new Fault('proxy/shutdown'))
  await connection.closed
  t.equal(clock.waiting(), 0)
})

t.test('a driver that answers 391 with another command is closed without an answer', async t => {
  const upstream = await socketPair(t)
  const live = { match: { maxAgeMS: 60_000 } } as LiveConnection
  const login = succeedWith(upstream.near, { live })
  const { client, nextReply, clock, stages, closedLine } = await startConnection(t, { login })
  client.write(Buffer.concat([helloOf('nodejs', '7.9.0'), saslStart, saslContinue]))
  for (let replies = 0; replies < 3; replies++) await nextReply()
  await until(() => stages.includes('authenticated'))
  clock.advance(60_000)
  client.write(find)
  t.match(readReply(await nextReply()).document, { ok: 0, code: 391 })
  client.write(hello)
  t.match(readReply(await nextReply()).document, { ok: 0, code: 186 }, 'a hello is answered')
  client.write(find)
  await once(client, 'end')
  t.match(await closedLine(), { fault: 'login/expired', by: 'proxy' })
})

t.test(
  'a driver that would report 391 to its application gets no 391: its connection closes behind a command',
  async t => {
    for (const [name, version] of [
      ['mongo-go-driver', '2.9.0'],
      ['mongo-csharp-driver', '3.5.0'],
      ['nodejs-core', '3.7.4'],
      ['nodejs', '5.0.1'],
      ['PyMongo', '4.3.3'],
      ['mongo-java-driver|sync', '5.0.1'],
    ] as const) {
      const upstream = await socketPair(t)
      const live = { match: { maxAgeMS: 60_000 } } as LiveConnection
      const login = succeedWith(upstream.near, { live })
      const { client, nextReply, clock, stages, closedLine } = await startConnection(t, { login })
      client.write(Buffer.concat([helloOf(name, version), saslStart, saslContinue]))
      for (let replies = 0; replies < 3; replies++) await nextReply()
      await until(() => stages.includes('authenticated'))
      clock.advance(60_000)
      client.write(find)
      t.equal((await createFrameReceiver(upstream.far)()).requestID, 4)
      upstream.far.write(writeMessage({ ok: 1 }, 9, 4))
      t.match(readReply(await nextReply()).document, { ok: 1 })
      t.match(await closedLine(), { fault: 'login/expired' }, `${name} ${version}`)
    }
  },
)

t.test('a step-down during a login makes the upstream unreachable', async t => {
  const upstream = await socketPair(t)
  const { term, end } = createTermController()
  const login: Login = async (request, abort) => {
    end(new Fault('upstream/stepped-down'))
    return succeedWith(upstream.near, { term })(request, abort)
  }
  const { client, nextReply, closedLine, logins } = await startConnection(t, { login })
  client.write(Buffer.concat([saslStart, saslContinue]))
  await nextReply()
  t.match(readReply(await nextReply()).document, { ok: 0, code: 6, errorLabels: ['RetryableWriteError'] })
  t.match(await closedLine(), { fault: 'upstream/unreachable' })
  t.same(logins, ['upstream/unreachable'])
  t.equal(upstream.near.destroyed, true)
})

t.test('a reset by the client is an end by the client', async t => {
  const { client, nextReply, closedLine } = await startConnection(t)
  client.write(hello)
  await nextReply()
  client.resetAndDestroy()
  t.match(await closedLine(), { by: 'client', stage: 'unauthenticated' })
})

t.test('an internal error is answered without details, which the log has', async t => {
  const { client, nextReply, closedLine } = await startConnection(t, {
    login: async () => {
      throw new TypeError('cannot read x of undefined')
    },
  })
  client.write(Buffer.concat([saslStart, saslContinue]))
  await nextReply()
  t.match(readReply(await nextReply()).document, {
    ok: 0,
    code: 8,
    errmsg: 'internal error of the proxy (connection 5)',
  })
  t.match(await closedLine(), { level: 'error', fault: 'internal', stack: /TypeError: cannot read x/ })
})

t.test('no log line of any level contains the proof, the token or the nonce', async t => {
  const credentials = { accessKeyId: 'ASIAY34FZKBOKMUTVV7A', secretAccessKey: 's', sessionToken: 'FwoGZXIvYXdzEA//t' }
  const nonce = Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32, 0xee)])
  const proof = await signClientFinal(credentials, { nonce, host: STS_HOST })
  for (const login of [failWith('sts/refused', 'ExpiredToken'), failWith('internal'), failWith('login/abandoned')]) {
    const { client, text, connection } = await startConnection(t, { login })
    client.on('data', () => {})
    client.write(saslStart)
    client.write(
      message(3, { saslContinue: 1, conversationId: 1, payload: new Binary(serialize(proof)), $db: '$external' }),
    )
    await connection.closed
    const signature = proof.a.slice(-64)
    for (const secret of [signature, credentials.sessionToken, nonce.toString('base64'), nonce.toString('hex')]) {
      t.notOk(text().includes(secret))
    }
    t.match(text(), /"connection closed"/)
  }
})

t.test('a connection is live until it is closed, and may be revoked at any time', async t => {
  for (const by of ['client', 'revoked'] as const) {
    const upstream = await socketPair(t)
    let removals = 0
    let revoke: LoginRequest['destroy'] = () => {}
    const { client, nextReply, closedLine } = await startConnection(t, {
      login: (request, abort) => {
        revoke = request.destroy
        return succeedWith(upstream.near, { unregister: () => void removals++ })(request, abort)
      },
    })
    for (const message of [hello, saslStart, saslContinue]) {
      client.write(message)
      await nextReply()
    }
    t.equal(removals, 0)
    if (by === 'client') client.destroy()
    else revoke(new Fault('login/revoked', undefined, { why: 'denied' }))
    const line = await closedLine()
    t.equal(removals, 1, by)
    if (by === 'revoked') t.match(line, { fault: 'login/revoked', level: 'warn' })
  }
})

t.test('over TLS a client that closes before its first byte has a fault with the likely cause', async t => {
  const explainSilence = () => 'the certificate of the proxy expired'
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    const { client, closedLine, faults } = await startConnection(t, { client: { explainSilence } })
    client[leave]()
    t.match(await closedLine(), {
      level: 'info',
      by: 'client',
      stage: 'connecting',
      fault: 'tls/no-message',
      why: 'the certificate of the proxy expired',
    })
    t.same(faults, ['tls/no-message'])
  }
})

t.test('a client that has sent something, a plain one and one that the proxy closes are not silent', async t => {
  const explainSilence = () => 'the certificate of the proxy expired'
  const spoken = await startConnection(t, { client: { explainSilence } })
  spoken.client.write(hello)
  await spoken.nextReply()
  spoken.client.end()
  t.notHas(await spoken.closedLine(), { fault: 'tls/no-message' })
  const plain = await startConnection(t)
  plain.client.end()
  t.notHas(await plain.closedLine(), { fault: 'tls/no-message' })
  const slow = await startConnection(t, { client: { explainSilence } })
  slow.clock.advance(5_000)
  t.match(await slow.closedLine(), { fault: 'connection/frame-timeout' })
})
