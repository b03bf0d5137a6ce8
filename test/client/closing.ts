import { once } from 'node:events'
import { setImmediate as nextIteration } from 'node:timers/promises'
import t from 'tap'
import {
  addCloseRequest,
  type CloseRequest,
  findDue,
  type Pending,
  type Requester,
  relayEndings,
} from '../../src/client/closing.js'
import { Fault } from '../../src/errors.js'
import { readReply, writeMessage } from '../../src/wire/message.js'
import { request, startRelay } from '../support/relay.js'
import { createFrameReceiver } from '../support/sockets.js'

const requesters = Object.keys(relayEndings) as Requester[]
const createRequest = (requester: Requester): CloseRequest => ({ requester, by: 'proxy', fault: undefined })
const addAll = (...added: Requester[]) =>
  added.reduce<CloseRequest[]>((requests, requester) => addCloseRequest(requests, createRequest(requester)), [])

t.test('close requests keep their order of precedence, however they arrive', async t => {
  t.same(addAll(...requesters), requesters.map(createRequest))
  t.same(addAll(...[...requesters].reverse()), requesters.map(createRequest))
  t.same(
    addAll('clientEnd', 'newPrimary'),
    ['newPrimary', 'clientEnd'].map(name => createRequest(name as Requester)),
  )
})

t.test('the first request that does not have to wait decides', async t => {
  const both = { client: 'end', upstream: 'end' }
  const table: [Requester[], Pending, Requester | undefined, object?][] = [
    [['shutdown'], 'nothing', 'shutdown', both],
    [['shutdown'], 'request', undefined],
    [['shutdown'], 'answer', undefined],
    [['shutdown'], 'reply', undefined],
    [['shutdown', 'loginExpired'], 'nothing', 'loginExpired', both],
    [['shutdown', 'clientEnd'], 'request', 'clientEnd', { client: 'destroy', upstream: 'destroy' }],
    [['shutdown', 'clientEnd', 'newPrimary'], 'answer', 'newPrimary', { client: 'reset', upstream: 'destroy' }],
    [['clientEnd', 'newPrimary'], 'reply', undefined],
    [['upstreamEnd'], 'reply', 'upstreamEnd', both],
    [['loginRejected'], 'reply', 'loginRejected', both],
    [[], 'nothing', undefined],
  ]
  for (const [added, pending, requester, ending = {}] of table) {
    const due = findDue(addAll(...added), pending)
    t.equal(due?.request.requester, requester, `${added} while ${pending} is pending`)
    if (requester) t.match(due?.ending, ending)
  }
})

t.test('a relay releases its session once, however it ends', async t => {
  for (const end of ['drain', 'closeAfterReply', 'destroy'] as const) {
    const { relay, countReleases } = await startRelay(t)
    t.equal(countReleases(), 0)
    if (end === 'drain') relay.drain('shutdown')
    else if (end === 'closeAfterReply') relay.closeAfterReply(new Fault('upstream/stepped-down'))
    else relay.destroy('proxy')
    t.equal(countReleases(), 1, end)
    relay.destroy('proxy')
    await relay.ended
    t.equal(countReleases(), 1)
  }
})

t.test('a relay whose login has expired is destroyed after a minute of waiting', async t => {
  const { client, upstream, relay, clock, clientSocket } = await startRelay(t)
  const nextRequest = createFrameReceiver(upstream)
  client.write(request(1, { find: 'c' }))
  await nextRequest()
  const fault = new Fault('login/expired')
  relay.drain('loginExpired', fault)
  clock.advance(59_999)
  t.equal(clientSocket.destroyed, false)
  clock.advance(1)
  t.equal(clientSocket.destroyed, true)
  t.same(await relay.ended, { by: 'proxy', fault })
  t.equal(clock.waiting(), 0)
})

t.test('draining closes an idle relay at once and a busy one after its reply', async t => {
  const idle = await startRelay(t)
  idle.relay.drain('shutdown')
  t.same(await idle.relay.ended, { by: 'proxy' })
  const { client, upstream, relay } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { find: 'c' }))
  await nextRequest()
  relay.drain('shutdown')
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.equal((await nextReply()).responseTo, 1)
  t.same(await relay.ended, { by: 'proxy' })
})

t.test('draining loses no bytes of a client that reads slowly', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const nextRequest = createFrameReceiver(upstream)
  const why = new Fault('login/expired')
  const reply = writeMessage({ text: 'x'.repeat(200_000), ok: 1 }, 50, 1)
  client.pause()
  client.write(request(1, { find: 'c' }))
  await nextRequest()
  relay.drain('loginExpired', why)
  upstream.write(reply)
  t.same(await relay.ended, { by: 'proxy', fault: why })
  const nextReply = createFrameReceiver(client)
  client.resume()
  t.equal((await nextReply()).bytes.length, reply.length)
})

t.test('a client that ends its side after its last request gets the reply', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.end(request(1, { find: 'c' }))
  await nextRequest()
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.equal((await nextReply()).responseTo, 1)
  t.same(await relay.ended, { by: 'client' })
  await Promise.all([once(upstream, 'end'), once(client, 'end')])
  upstream.end()
})

t.test('a relay waits ten seconds for that reply', async t => {
  const { client, upstream, relay, clock } = await startRelay(t)
  const nextRequest = createFrameReceiver(upstream)
  client.end(request(1, { find: 'c' }))
  await nextRequest()
  while (clock.waiting() === 0) await nextIteration()
  clock.advance(9_999)
  t.equal(relay.countPendingReplies(), 1)
  clock.advance(1)
  t.same(await relay.ended, { by: 'client' })
})

t.test('a client that ends its side behind many refused commands gets the replies to all its requests', async t => {
  for (const count of [7, 8, 9, 20]) {
    const refusals = Array.from({ length: count }, (_, index) => request(index + 1, { logout: 1 }))
    const { client, upstream, relay } = await startRelay(t)
    const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
    client.end(Buffer.concat([...refusals, request(100, { ping: 1 })]))
    for (let id = 1; id <= count; id++) t.equal((await nextReply()).responseTo, id)
    t.equal((await nextRequest()).requestID, 100, `behind ${count}`)
    upstream.write(writeMessage({ ok: 1 }, 50, 100))
    t.equal((await nextReply()).responseTo, 100)
    t.match(await relay.ended, { by: 'client', fault: undefined })
  }
})

t.test('when the upstream ends, the client gets the bytes before it', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { find: 'c' }))
  await nextRequest()
  upstream.end(writeMessage({ text: 'x'.repeat(1_000_000), ok: 1 }, 50, 1))
  t.equal((await nextReply()).responseTo, 1)
  await once(client, 'end')
  t.same(await relay.ended, { by: 'upstream' })
  client.end()
})

t.test('a client that ends within a message closes the upstream, and nothing executes', async t => {
  const { client, upstream, relay } = await startRelay(t)
  upstream.on('data', () => {})
  client.end(request(1, { insert: 'c', documents: [{ text: 'x'.repeat(1000) }] }).subarray(0, -1))
  t.match(await relay.ended, { by: 'client', fault: { kind: 'connection/reset' } })
  if (!upstream.readableEnded) await once(upstream, 'end')
})

t.test('destroying one side destroys the other', async t => {
  const { client, upstream, relay } = await startRelay(t)
  client.resetAndDestroy()
  t.match(await relay.ended, { by: 'client' })
  upstream.resume()
  if (!upstream.readableEnded) await once(upstream, 'end')
  t.pass()
})

t.test('a client that leaves during an answer of the proxy is noticed at once, and the answer is aborted', async t => {
  for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
    let began = () => {}
    const answering = new Promise<void>(resolve => {
      began = resolve
    })
    const aborted: boolean[] = []
    const { client, relay, clock } = await startRelay(t, {
      answerHello: (_, signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            aborted.push(true)
            reject(signal.reason)
          })
          began()
        }),
    })
    client.write(request(1, { hello: 1 }))
    await answering
    client[how]()
    t.match(await relay.ended, { by: 'client' })
    t.same(aborted, [true], how)
    t.equal(clock.now(), 0)
  }
})

t.test('a fault that an interceptor throws is answered, and then both sides end', async t => {
  const { client, upstream, relay } = await startRelay(t)
  const reply = createFrameReceiver(client)
  relay.setInterceptor({
    check: () => undefined,
    authenticate: async () => {
      throw new Fault('login/principal-changed')
    },
    onForwarded() {},
  })
  upstream.resume()
  client.write(request(2, { saslContinue: 1 }))
  t.match(readReply(await reply()).document, { ok: 0, code: 18 })
  t.match(await relay.ended, { by: 'proxy', fault: { kind: 'login/principal-changed' } })
  await Promise.all([once(client, 'end'), once(upstream, 'end')])
})

t.test('after a step-down an idle relay closes at once, a busy one behind its reply, a stuck one in time', async t => {
  const why = new Fault('upstream/stepped-down')
  const idle = await startRelay(t)
  idle.clock.advance(1_000)
  t.equal(idle.relay.closeAfterReply(why), undefined)
  t.equal(idle.clientSocket.destroyed, true)
  t.match(await idle.relay.ended, { by: 'proxy', fault: why })

  const busy = await startRelay(t)
  const [nextRequest, nextReply] = [createFrameReceiver(busy.upstream), createFrameReceiver(busy.client)]
  busy.client.write(request(1, { insert: 'c' }))
  await nextRequest()
  const closed = busy.relay.closeAfterReply(why)
  t.type(closed, Promise)
  busy.upstream.write(writeMessage({ ok: 0, code: 11602 }, 50, 1))
  t.match(readReply(await nextReply()).document, { code: 11602 })
  busy.clock.advance(20)
  await closed
  t.match(await busy.relay.ended, { by: 'proxy', fault: why })
  t.equal(busy.relay.closeAfterReply(why), undefined, 'it has ended')

  const stuck = await startRelay(t)
  const stuckRequest = createFrameReceiver(stuck.upstream)
  stuck.client.write(request(1, { insert: 'c' }))
  await stuckRequest()
  const late = stuck.relay.closeAfterReply(why)
  stuck.clock.advance(100)
  await late
  t.equal(stuck.clientSocket.destroyed, true)
})

t.test('after a step-down an idle client is reset, and one that may still receive a reply is not', async t => {
  const why = new Fault('upstream/stepped-down')
  for (const { ms, stuck, code } of [
    { ms: 1_000, stuck: false, code: 'ECONNRESET' },
    { ms: 999, stuck: false, code: undefined },
    { ms: 1_000, stuck: true, code: undefined },
  ]) {
    const { client, upstream, relay, clock, clientSocket, upstreamSocket } = await startRelay(t)
    const [nextRequest, nextReply] = [createFrameReceiver(upstream), createFrameReceiver(client)]
    const end = new Promise(resolve => {
      client.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)).once('end', () => resolve(undefined))
    })
    client.write(request(1, { find: 'c' }))
    await nextRequest()
    if (stuck) clientSocket.cork()
    upstream.write(writeMessage({ ok: 1 }, 50, 1))
    while (relay.countPendingReplies() > 0) await nextIteration()
    if (!stuck) await nextReply()
    clock.advance(ms)
    relay.closeAfterReply(why)
    t.equal(upstreamSocket.destroyed, true, 'the upstream is destroyed at once')
    t.match(await relay.ended, { by: 'proxy', fault: why })
    if (stuck) t.match(await nextReply(), { responseTo: 1 }, 'the buffered reply')
    t.equal(await end, code)
  }
})
