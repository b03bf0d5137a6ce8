import { once } from 'node:events'
import { type Duplex, duplexPair } from 'node:stream'
import { type Document, Double, Int32, Long, ObjectId } from 'bson'
import t from 'tap'
import type { ConnectionOptions } from '../../src/client/connection.js'
import { Fault } from '../../src/errors.js'
import { EXHAUST_ALLOWED, readReply } from '../../src/wire/message.js'
import {
  driver,
  hello,
  message,
  ping,
  query,
  saslContinue,
  saslStart,
  serveConnection,
  settle,
  startConnection,
  streamingHello,
  succeedWith,
  topologyVersion,
  until,
} from '../support/connection.js'
import { socketPair } from '../support/sockets.js'

t.test('a monitor stays open while it sends hello, and for ten minutes afterwards', async t => {
  const { client, nextReply, closedLine, clock, socket } = await startConnection(t)
  for (let seconds = 0; seconds < 3600; seconds += 10) {
    client.write(seconds === 0 ? hello : message(seconds, { hello: 1 }))
    await nextReply()
    clock.advance(10_000)
  }
  clock.advance(589_999)
  await settle()
  t.equal(socket.destroyed, false)
  clock.advance(1)
  t.match(await closedLine(), { fault: 'connection/idle-timeout', level: 'debug', ms: { open: 3600_000 + 590_000 } })
})

t.test('a client that never reads its replies gets no more of them, and is disconnected after a minute', async t => {
  const text = 'x'.repeat(100_000)
  let answers = 0
  const { client, socket, clock, closedLine } = await startConnection(t, {
    answerHello: async () => {
      answers++
      return { text, ok: 1 }
    },
  })
  client.pause()
  client.write(Buffer.concat(Array.from({ length: 1000 }, (_, id) => message(id, { hello: 1 }))))
  let before = -1
  while (answers !== before || answers === 0) {
    before = answers
    await settle()
  }
  t.ok(answers < 200, `${answers} of 1000`)
  t.ok(socket.writableLength < 1_000_000, `${socket.writableLength} bytes buffered`)
  clock.advance(60_000)
  t.match(await closedLine(), { fault: 'connection/write-timeout', by: 'proxy' })
})

t.test('a client that reads late gets every reply', async t => {
  const text = 'x'.repeat(100_000)
  const { client, nextReply, socket } = await startConnection(t, { answerHello: async () => ({ text, ok: 1 }) })
  client.pause()
  client.write(Buffer.concat(Array.from({ length: 200 }, (_, id) => message(id, { hello: 1 }))))
  await until(() => socket.writableNeedDrain)
  client.resume()
  for (let id = 0; id < 200; id++) {
    const { responseTo } = await nextReply()
    if (responseTo !== id) t.fail(`${responseTo} instead of ${id}`)
  }
})

t.test('a fault of a hello is answered', async t => {
  const { client, nextReply, closedLine } = await startConnection(t, {
    answerHello: async () => {
      throw new Fault('upstream/unreachable')
    },
  })
  client.write(hello)
  t.match(readReply(await nextReply()).document, { ok: 0, code: 6, errorLabels: ['RetryableWriteError'] })
  t.match(await closedLine(), { fault: 'upstream/unreachable', by: 'proxy' })
})

t.test('draining closes idle connections at once, and monitors that await a change too', async t => {
  const topologyVersion = { processId: new ObjectId(), counter: Long.fromNumber(1) }
  for (const awaiting of [undefined, message(2, { hello: 1, topologyVersion, maxAwaitTimeMS: 10_000 })]) {
    const { client, nextReply, connection, closedLine, socket } = await startConnection(t, {
      answerHello: async ({ awaiting }, _, signal) => {
        if (awaiting) await once(signal, 'abort').then(() => signal.throwIfAborted())
        return { ok: 1 }
      },
    })
    client.write(hello)
    await nextReply()
    if (awaiting) client.write(awaiting)
    await until(() => socket.bytesRead === hello.length + (awaiting?.length ?? 0))
    await settle()
    connection.drain()
    t.match(await closedLine(), { fault: 'proxy/shutdown', by: 'proxy' })
  }
})

/** Answers to hello that the test provides one by one, a document or a fault, and the requests. */
function createHelloAnswers() {
  const requests: Parameters<ConnectionOptions['answerHello']>[0][] = []
  let pending: { resolve(document: Document): void; reject(thrown: unknown): void } | undefined
  const answerHello: ConnectionOptions['answerHello'] = (request, _, signal) => {
    requests.push({ ...request })
    return new Promise<Document>((resolve, reject) => {
      const onAbort = () => reject(signal.reason)
      const settle = (act: () => void) => {
        signal.removeEventListener('abort', onAbort) // all hellos of a connection have one signal
        act()
      }
      pending = {
        resolve: document => settle(() => resolve(document)),
        reject: thrown => settle(() => reject(thrown)),
      }
      signal.addEventListener('abort', onAbort)
    })
  }
  const takePending = async () => {
    await until(() => pending !== undefined)
    const taken = pending
    pending = undefined
    return taken
  }
  return {
    requests,
    answerHello,
    answer: async (document: Document) => (await takePending())?.resolve(document),
    fail: async (thrown: unknown) => (await takePending())?.reject(thrown),
  }
}

t.test('a streaming hello gets a reply for each change, each in response to the one before', async t => {
  const { requests, answerHello, answer, fail } = createHelloAnswers()
  const { client, nextReply, countActivities, closedLine } = await startConnection(t, { answerHello })
  client.write(streamingHello)
  for (const [counter, responseTo] of [
    [7, 1],
    [8, 900],
    [8, 900],
  ] as const) {
    await answer({ topologyVersion: topologyVersion(counter), ok: 1 })
    const frame = await nextReply()
    t.equal(frame.responseTo, responseTo)
    const { document, moreToCome } = readReply(frame, { exact: true })
    t.equal(moreToCome, true)
    t.equal(Number(document.topologyVersion.counter), counter)
  }
  await until(() => requests.length === 4)
  t.same(
    requests.map(({ awaiting }) => [Number(awaiting?.topologyVersion.counter), awaiting?.maxAwaitTimeMS]),
    [
      [6, 10_000],
      [7, 10_000],
      [8, 10_000],
      [8, 10_000],
    ],
  )
  t.equal(countActivities(), 4, 'each answer counts as activity')
  await fail(new Fault('upstream/unreachable'))
  const last = await nextReply()
  t.equal(last.responseTo, 900)
  t.match(readReply(last), { moreToCome: false, document: { ok: 0, code: 6 } })
  t.match(await closedLine(), { by: 'proxy', fault: 'upstream/unreachable' })
})

t.test('a stream ends when a reply has no topology version, and the connection continues', async t => {
  const { answerHello, answer } = createHelloAnswers()
  const { client, nextReply } = await startConnection(t, { answerHello })
  client.write(Buffer.concat([streamingHello, ping(2)]))
  await answer({ topologyVersion: topologyVersion(7), ok: 1 })
  t.match(readReply(await nextReply()), { moreToCome: true })
  await answer({ ok: 1 })
  const last = await nextReply()
  t.equal(last.responseTo, 900)
  t.equal(readReply(last).moreToCome, false)
  t.equal((await nextReply()).responseTo, 2)
})

t.test('a hello that allows no stream, or awaits nothing, gets one reply', async t => {
  const awaited = { hello: 1, topologyVersion: topologyVersion(6), maxAwaitTimeMS: new Int32(0) }
  for (const bytes of [message(1, awaited), message(1, { hello: 1 }, EXHAUST_ALLOWED)]) {
    const { answerHello, answer } = createHelloAnswers()
    const { client, nextReply } = await startConnection(t, { answerHello })
    client.write(Buffer.concat([bytes, ping(2)]))
    await answer({ topologyVersion: topologyVersion(7), ok: 1 })
    t.equal(readReply(await nextReply()).moreToCome, false)
    t.equal((await nextReply()).responseTo, 2)
  }
})

t.test('a stream is not faster than drivers request', async t => {
  const { requests, answerHello, answer } = createHelloAnswers()
  const { client, nextReply } = await startConnection(t, { answerHello })
  client.write(
    message(1, { hello: 1, topologyVersion: topologyVersion(6), maxAwaitTimeMS: new Int32(0) }, EXHAUST_ALLOWED),
  )
  await answer({ topologyVersion: topologyVersion(6), ok: 1 })
  await nextReply()
  await until(() => requests.length === 2)
  t.equal(requests[1]?.awaiting?.maxAwaitTimeMS, 500)
})

t.test('a streaming client has no idle timeout, and ends at once when it leaves or the proxy drains', async t => {
  for (const [leave, by] of [
    ['client', 'client'],
    ['proxy', 'proxy'],
  ] as const) {
    const { answerHello, answer } = createHelloAnswers()
    const { client, nextReply, clock, closedLine, connection } = await startConnection(t, { answerHello })
    client.write(streamingHello)
    await answer({ topologyVersion: topologyVersion(7), ok: 1 })
    await nextReply()
    clock.advance(3_600_000)
    await answer({ topologyVersion: topologyVersion(8), ok: 1 })
    await nextReply()
    if (leave === 'client') client.end()
    else connection.drain()
    t.match(await closedLine(), { by, stage: 'unauthenticated' })
  }
})

t.test('a monitor survives an hour without changes, streaming or polling', async t => {
  for (const flags of [EXHAUST_ALLOWED, 0]) {
    const { requests, answerHello, answer } = createHelloAnswers()
    const { client, nextReply, socket, clock } = await startConnection(t, { answerHello })
    const createHello = (id: number) =>
      message(id, { hello: 1, topologyVersion: topologyVersion(6), maxAwaitTimeMS: new Int32(10_000) }, flags)
    for (let id = 1; id <= 360; id++) {
      if (flags === 0 || id === 1) client.write(createHello(id))
      // Without a change, the answer comes after ten seconds and is the same.
      await until(() => requests.length === id)
      clock.advance(10_000)
      await answer({ topologyVersion: topologyVersion(6), ok: 1 })
      await nextReply()
    }
    t.equal(clock.now(), 3_600_000)
    t.equal(socket.destroyed, false)
  }
})

t.test('a client that does not read its stream gets no more replies', async t => {
  const [near, far] = duplexPair()
  let answers = 0
  const filler = 'x'.repeat(4000)
  const answerHello: ConnectionOptions['answerHello'] = async () => {
    answers++
    return { topologyVersion: topologyVersion(answers), filler, ok: 1 }
  }
  const { clock, connection } = serveConnection(near as Duplex, { answerHello })
  far.write(streamingHello)
  await settle()
  const stuck = answers
  t.ok(stuck < 20)
  await settle()
  t.equal(answers, stuck)
  clock.advance(60_000)
  await connection.closed
  far.destroy()
})

t.test('a new primary closes the monitors whose drivers must learn of it', async t => {
  const why = new Fault('upstream/stepped-down')
  const metadata = (name: string) => ({ ...driver, driver: { name, version: '1' } })
  const firstHello = (name: string) => query(1, { isMaster: 1, helloOk: true, client: metadata(name) })
  const topologyVersion = { processId: new ObjectId(), counter: Long.fromNumber(1) }
  const awaitableHello = message(2, { hello: 1, topologyVersion, maxAwaitTimeMS: new Int32(10_000) })
  const answerHello: ConnectionOptions['answerHello'] = async ({ awaiting }, _, signal) =>
    awaiting
      ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      : { ok: new Double(1) }
  for (const [name, secondHello, closes] of [
    ['PyMongo', awaitableHello, true],
    ['mongo-go-driver', message(2, { hello: 1 }), true],
    ['PyMongo', undefined, false],
    ['nodejs', awaitableHello, false],
    ['nodejs|Mongoose', awaitableHello, false],
    ['nodejs-core', awaitableHello, true],
  ] as const) {
    const { client, nextReply, connection, closedLine, socket } = await startConnection(t, { answerHello })
    client.write(firstHello(name))
    await nextReply()
    if (secondHello) client.write(secondHello)
    await settle()
    connection.closeIfMonitor(why)
    t.equal(socket.destroyed, closes, `${name}, ${secondHello ? 'two hellos' : 'one hello'}`)
    if (closes) t.match(await closedLine(), { stage: 'unauthenticated', by: 'proxy', fault: 'upstream/stepped-down' })
    else client.destroy()
    await connection.closed
  }
})

t.test('a connection that logs in or is authenticated is not a monitor', async t => {
  const upstream = await socketPair(t)
  const { client, nextReply, connection, stages, socket } = await startConnection(t, {
    login: succeedWith(upstream.near),
  })
  const unknownDriver = { ...driver, driver: { name: 'x', version: '1' } }
  client.write(Buffer.concat([message(1, { hello: 1, client: unknownDriver }), message(2, { hello: 1 }), saslStart]))
  for (let replies = 0; replies < 3; replies++) await nextReply()
  connection.closeIfMonitor(new Fault('upstream/stepped-down'))
  t.equal(socket.destroyed, false)
  client.write(saslContinue)
  await until(() => stages.includes('authenticated'))
  connection.closeIfMonitor(new Fault('upstream/stepped-down'))
  t.equal(socket.destroyed, false)
  client.destroy()
  await connection.closed
})
