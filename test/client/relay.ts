import { setImmediate as nextIteration } from 'node:timers/promises'
import { BSONRegExp, Code, type Document, serialize } from 'bson'
import t from 'tap'
import type { CommandInterceptor } from '../../src/client/relay.js'
import { Fault } from '../../src/errors.js'
import { EXHAUST_ALLOWED, MORE_TO_COME, readReply, writeMessage } from '../../src/wire/message.js'
import { request, startRelay } from '../support/relay.js'
import { createFrameReceiver } from '../support/sockets.js'

t.test('requests and replies are forwarded', async t => {
  const { client, upstream } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { ping: 1 }))
  t.equal((await nextRequest()).requestID, 1)
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await nextReply(), { responseTo: 1, requestID: 50 })
})

t.test('requests that were pipelined behind the login go upstream first', async t => {
  const { upstream } = await startRelay(t, { fromClient: request(3, { ping: 1 }) })
  t.equal((await createFrameReceiver(upstream)()).requestID, 3)
})

t.test('a hello during a reply of 16 MB is answered behind it, not within it', async t => {
  const { client, upstream } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const big = writeMessage({ text: 'x'.repeat(16_000_000), ok: 1 }, 50, 1)
  client.write(request(1, { find: 'c' }))
  await nextRequest()
  upstream.write(big.subarray(0, 8_000_000))
  client.write(request(2, { hello: 1 }))
  client.write(request(3, { ping: 1 }))
  await nextIteration()
  upstream.write(big.subarray(8_000_000))
  t.same((await nextReply()).bytes.length, big.length)
  t.match(await nextReply(), { responseTo: 2, requestID: 900 })
  t.equal((await nextRequest()).requestID, 3, 'the next request is forwarded after it')
})

t.test('each of several hellos in one chunk is answered once', async t => {
  let answers = 0
  const { client } = await startRelay(t, { answerHello: async () => ({ answers: ++answers, ok: 1 }) })
  const nextReply = createFrameReceiver(client)
  client.write(Buffer.concat([1, 2, 3].map(id => request(id, { hello: 1 }))))
  for (const id of [1, 2, 3]) {
    const reply = await nextReply()
    t.equal(reply.responseTo, id)
    t.equal(readReply(reply).document.answers, id)
  }
})

t.test('a refused command is answered in order, named, and never goes upstream', async t => {
  const { client, upstream, refused } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(Buffer.concat([request(1, { find: 'c' }), request(2, { logout: 1 }), request(3, { ping: 1 })]))
  t.equal((await nextRequest()).requestID, 1)
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.equal((await nextReply()).responseTo, 1)
  const refusal = await nextReply()
  t.equal(refusal.responseTo, 2)
  t.match(readReply(refusal).document, { ok: 0, code: 13, errmsg: /logout.*connection 5/ })
  t.equal((await nextRequest()).requestID, 3)
  t.same(refused, ['logout'])
})

t.test('ten thousand refused commands in one chunk are answered, and the request behind them is forwarded', async t => {
  const refusals = Array.from({ length: 10_000 }, (_, index) => request(index + 1, { logout: 1 }))
  const { client, upstream } = await startRelay(t, {
    fromClient: Buffer.concat([...refusals, request(20_000, { ping: 1 })]),
  })
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  for (let id = 1; id <= 10_000; id++) {
    if ((await nextReply()).responseTo !== id) t.fail(`${id} is not answered in order`)
  }
  t.equal((await nextRequest()).requestID, 20_000)
})

t.test('eight answers of the proxy per iteration leave time for other clients', async t => {
  const many = Buffer.concat(Array.from({ length: 20 }, (_, index) => request(index + 1, { logout: 1 })))
  const { refused, client } = await startRelay(t, { fromClient: many })
  t.equal(refused.length, 8)
  const nextReply = createFrameReceiver(client)
  for (let id = 1; id <= 20; id++) t.equal((await nextReply()).responseTo, id)
})

t.test('a fault of a hello is its reply', async t => {
  const { client } = await startRelay(t, {
    answerHello: async () => Promise.reject(new Fault('hello/metadata-repeated')),
  })
  const nextReply = createFrameReceiver(client)
  client.write(request(1, { hello: 1 }))
  t.match(readReply(await nextReply()).document, { ok: 0, code: 186 })
})

t.test('a write that wants no reply leaves none pending', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const nextRequest = createFrameReceiver(upstream)
  client.write(request(1, { insert: 'c', writeConcern: { w: 0 } }, MORE_TO_COME))
  await nextRequest()
  t.equal(relay.countPendingReplies(), 0)
})

t.test('a stream of replies is pending until the one without moreToCome', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { getMore: 1 }, EXHAUST_ALLOWED))
  await nextRequest()
  client.write(request(2, { hello: 1 }))
  upstream.write(writeMessage({ ok: 1 }, 50, 1, MORE_TO_COME))
  upstream.write(writeMessage({ ok: 1 }, 51, 50, MORE_TO_COME))
  t.equal((await nextReply()).requestID, 50)
  t.equal((await nextReply()).requestID, 51)
  t.equal(relay.countPendingReplies(), 2)
  upstream.write(writeMessage({ ok: 1 }, 52, 51))
  t.equal((await nextReply()).requestID, 52)
  t.equal((await nextReply()).responseTo, 2)
  t.equal(relay.countPendingReplies(), 0)
})

t.test('little is read behind an answer of the proxy, and nothing is lost', async t => {
  let answer = (_: Document) => {}
  const { client, upstream, clientSocket } = await startRelay(t, {
    answerHello: () =>
      new Promise(resolve => {
        answer = resolve
      }),
  })
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { hello: 1 }))
  for (let id = 2; id < 102; id++) client.write(request(id, { insert: 'c', text: 'x'.repeat(50_000) }))
  while (!clientSocket.isPaused()) await nextIteration()
  t.ok(clientSocket.bytesRead < 300_000, `${clientSocket.bytesRead} bytes`)
  answer({ ok: 1 })
  t.equal((await nextReply()).responseTo, 1)
  for (let id = 2; id < 102; id++) t.equal((await nextRequest()).requestID, id)
})

t.test('a client that sends more than the upstream takes is paused from the start', async t => {
  const { clientSocket, upstreamSocket } = await startRelay(t, {
    fromClient: request(1, { insert: 'c', text: 'x'.repeat(16_000_000) }),
  })
  t.equal(upstreamSocket.writableNeedDrain, true)
  t.equal(clientSocket.isPaused(), true)
})

t.test('an upstream that sends an unrequested reply is disconnected', async t => {
  for (const reply of [
    writeMessage({ ok: 1 }, 50, 7),
    writeMessage({ ok: 1 }, 50, 1, MORE_TO_COME),
    Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
  ]) {
    const { client, upstream, relay } = await startRelay(t)
    const nextRequest = createFrameReceiver(upstream)
    client.write(request(1, { find: 'c' }))
    await nextRequest()
    upstream.write(reply)
    t.match(await relay.ended, { by: 'upstream', fault: { kind: 'upstream/protocol-error' } })
  }
  const { upstream, relay } = await startRelay(t)
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await relay.ended, { by: 'upstream', fault: { kind: 'upstream/protocol-error' } }, 'with no reply pending')
})

t.test('a reply to the endSessions of a client that leaves is dropped', async t => {
  for (const when of ['before the FIN', 'after it'] as const) {
    const { client, upstream, relay, unexpected } = await startRelay(t)
    const nextRequest = createFrameReceiver(upstream)
    let received = ''
    client.on('data', chunk => {
      received += chunk
    })
    const endSessions = request(2, { endSessions: [] }, MORE_TO_COME)
    if (when === 'after it') {
      client.end(request(1, { find: 'c' }))
      await nextRequest()
    } else {
      client.write(endSessions)
      await nextRequest()
    }
    upstream.write(writeMessage({ ok: 1 }, 50, 2))
    t.strictSame(await relay.ended, { by: 'client' }, when)
    t.match(unexpected, [{ kind: 'upstream/protocol-error', facts: { why: /^a reply / } }])
    if (when === 'before the FIN') t.equal(received, '')
  }
})

t.test('a reply to another request that wants none, and anything that is no reply, is a protocol error', async t => {
  const last = request(1, { endSessions: [] }, MORE_TO_COME)
  for (const [requests, reply] of [
    [[request(1, { insert: 'c' }, MORE_TO_COME)], writeMessage({ ok: 1 }, 50, 1)],
    [[request(1, { endSessionsX: [] }, MORE_TO_COME)], writeMessage({ ok: 1 }, 50, 1)],
    [[last, request(2, { insert: 'c' }, MORE_TO_COME)], writeMessage({ ok: 1 }, 50, 1)],
    [[last], Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ] as const) {
    const { client, upstream, relay, unexpected } = await startRelay(t)
    const nextRequest = createFrameReceiver(upstream)
    for (const each of requests) {
      client.write(each)
      await nextRequest()
    }
    upstream.write(reply)
    t.match(await relay.ended, { by: 'upstream', fault: { kind: 'upstream/protocol-error' } })
    t.same(unexpected, [])
  }
})

t.test('a client that does not read pauses the upstream, and is disconnected after a minute', async t => {
  const { client, upstream, relay, clientSocket, upstreamSocket, clock } = await startRelay(t)
  const nextRequest = createFrameReceiver(upstream)
  client.pause()
  client.write(request(1, { find: 'c' }))
  await nextRequest()
  upstream.write(writeMessage({ text: 'x'.repeat(16_000_000), ok: 1 }, 50, 1))
  while (!upstreamSocket.isPaused()) await nextIteration()
  t.ok(clientSocket.writableLength < 2_000_000, 'little is held in memory')
  clock.advance(60_000)
  t.match(await relay.ended, { by: 'proxy', fault: { kind: 'connection/write-timeout' } })
})

t.test('a client that never reads its hello replies gets no more of them', async t => {
  let answers = 0
  const text = 'x'.repeat(100_000)
  const { client, clientSocket } = await startRelay(t, {
    answerHello: async () => {
      answers++
      return { text, ok: 1 }
    },
  })
  client.pause()
  for (let i = 0; i < 1000; i++) client.write(request(i, { hello: 1 }))
  let before = -1
  while (answers !== before || answers === 0) {
    before = answers
    for (let i = 0; i < 50; i++) await nextIteration()
  }
  t.ok(answers < 200, `${answers} of 1000`)
  t.ok(clientSocket.writableLength < 1_000_000, `${clientSocket.writableLength} bytes held`)
})

t.test('a client that is ten thousand requests ahead of their replies is disconnected', async t => {
  const { client, upstream, relay } = await startRelay(t)
  upstream.on('data', () => {})
  client.write(Buffer.concat(Array.from({ length: 10_001 }, (_, i) => request(i, { ping: 1 }))))
  t.match(await relay.ended, { fault: { kind: 'connection/too-many-pending' } })
})

t.test('a refused command that wants no reply closes both sides', async t => {
  const { client, relay } = await startRelay(t)
  client.write(request(1, { logout: 1 }, MORE_TO_COME))
  t.match(await relay.ended, { by: 'client', fault: { kind: 'command/forbidden' } })
})

t.test('bytes of the upstream behind the login are a protocol error', async t => {
  const { relay } = await startRelay(t, { fromUpstream: Buffer.from(serialize({ ok: 1 })) })
  t.match(await relay.ended, { by: 'upstream', fault: { kind: 'upstream/protocol-error' } })
})

/** An interceptor that answers commands with these faults and records what it sees. */
const createInterceptor = (
  faults: Record<string, Fault>,
  seen: string[] = [],
  authenticate?: CommandInterceptor['authenticate'],
): CommandInterceptor => ({
  check: ({ name }) => {
    seen.push(name)
    return faults[name]
  },
  onForwarded: command => seen.push(`forwarded ${command?.name}`),
  onStreamed: () => seen.push('streamed'),
  ...(authenticate && { authenticate }),
})

t.test('an interceptor answers a command behind the pending replies, or forwards it', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const seen: string[] = []
  client.write(request(1, { ping: 1 }))
  await nextRequest()
  relay.setInterceptor(
    createInterceptor({ find: new Fault('login/expired') }, seen, async ({ name }) => ({ ok: 1, name })),
  )
  client.write(
    Buffer.concat([
      request(2, { find: 'c' }),
      request(3, { saslStart: 1 }),
      request(4, { insert: 'c' }),
      request(5, { hello: 1 }),
    ]),
  )
  await nextIteration()
  t.same(seen, [])
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await nextReply(), { responseTo: 1 })
  const expired = await nextReply()
  t.equal(expired.responseTo, 2)
  t.match(readReply(expired).document, { ok: 0, code: 391, codeName: 'ReauthenticationRequired' })
  t.match(readReply(await nextReply()).document, { name: 'saslStart' })
  t.equal((await nextRequest()).requestID, 4)
  upstream.write(writeMessage({ ok: 1 }, 51, 4))
  t.match(await nextReply(), { responseTo: 4 })
  t.match(await nextReply(), { responseTo: 5 }, 'a hello is answered as before')
  t.same(seen, ['find', 'insert', 'forwarded insert'])
  relay.setInterceptor(undefined)
  client.write(request(6, { find: 'c' }))
  t.equal((await nextRequest()).requestID, 6)
})

t.test('commands that would change the identity stay refused, and so do logins without a handler', async t => {
  const { client, relay, refused } = await startRelay(t)
  const nextReply = createFrameReceiver(client)
  relay.setInterceptor(createInterceptor({}))
  for (const name of ['logout', 'SASLSTART', 'saslStart']) {
    client.write(request(2, { [name]: 1 }))
    t.match(readReply(await nextReply()).document, { code: 13 })
    t.equal(refused.pop(), name)
  }
})

t.test('only the name and the transaction of an intercepted command are parsed', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const filter = { name: new BSONRegExp('(?i)^al'), $where: new Code('1', { a: 1 }) }
  relay.setInterceptor(createInterceptor({ find: new Fault('login/expired') }))
  client.write(request(1, { find: 'c', filter }))
  t.match(readReply(await nextReply()).document, { code: 391 })
  client.write(request(2, { count: 'c', query: filter }))
  t.equal((await nextRequest()).requestID, 2)
})

t.test('a malformed request is the fault of the client, even if it waited for a reply', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const nextRequest = createFrameReceiver(upstream)
  client.write(Buffer.concat([request(1, { find: 'c' }), request(2, { logout: 1 }), Buffer.alloc(16)]))
  await nextRequest()
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await relay.ended, { by: 'client', fault: { kind: 'frame/length' } })
})

t.test('a fault that the interceptor throws closes the connection, and nothing is forwarded or answered', async t => {
  for (const sent of [
    request(1, { find: 'c' }),
    request(1, { insert: 'c' }, MORE_TO_COME),
    request(1, { insert: 'c', documents: ['x'.repeat(100_000)] }),
  ]) {
    const { client, upstream, relay } = await startRelay(t)
    const received = { client: 0, upstream: 0 }
    client.on('data', bytes => (received.client += bytes.length))
    upstream.on('data', bytes => (received.upstream += bytes.length))
    const refuse = () => {
      throw new Fault('login/expired')
    }
    relay.setInterceptor({ check: refuse, onForwarded: refuse })
    const ended = new Promise(resolve => client.once('end', resolve).once('close', resolve))
    client.write(sent)
    t.match(await relay.ended, { fault: { kind: 'login/expired' } })
    await ended
    t.same(received, { client: 0, upstream: 0 })
  }
})

t.test('writes without a reply, long requests and streams are reported, but not checked', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const seen: string[] = []
  client.write(request(1, { getMore: 1 }, EXHAUST_ALLOWED))
  await nextRequest()
  relay.setInterceptor(createInterceptor({ insert: new Fault('login/expired') }, seen))
  client.write(request(2, { insert: 'c' }, MORE_TO_COME))
  t.equal((await nextRequest()).requestID, 2)
  t.same(seen.splice(0), ['forwarded undefined'], 'a write that wants no reply')
  client.write(request(3, { insert: 'c', text: 'x'.repeat(70_000) }))
  t.equal((await nextRequest()).requestID, 3)
  t.same(seen.splice(0), ['forwarded undefined'], 'a long request')
  upstream.write(writeMessage({ ok: 1 }, 50, 1, MORE_TO_COME))
  await nextReply()
  t.same(seen.splice(0), ['streamed'], 'a reply of a stream')
  upstream.write(writeMessage({ ok: 1 }, 51, 50))
  await nextReply()
  t.same(seen, [], 'the last reply')
})
