import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { BSONRegExp, Code, type Document, serialize } from 'bson'
import t, { type Test } from 'tap'
import { Relay, type Watcher } from '../../src/client/relay.js'
import { Fault } from '../../src/errors.js'
import { EXHAUST_ALLOWED, MORE_TO_COME, readReply, writeMessage } from '../../src/wire/message.js'
import { createManualClock } from '../support/clock.js'
import { createFrameReceiver, readBufferOf, socketPair } from '../support/sockets.js'

/** A client and an upstream with a relay between them. */
async function set(
  t: Test,
  {
    fromClient = Buffer.alloc(0) as Buffer,
    hello = (async () => ({ ok: 1 })) as (command: unknown, signal: AbortSignal) => Promise<Document>,
  } = {},
) {
  const clock = createManualClock()
  const client = await socketPair(t)
  const upstream = await socketPair(t)
  const refused: string[] = []
  const running = new Relay({
    client: client.near,
    upstream: upstream.near,
    readBuffer: readBufferOf(upstream.near),
    fromClient,
    fromUpstream: Buffer.alloc(0),
    limit: 48_000_000,
    connectionId: 5,
    hello,
    refused: name => refused.push(name),
    nextRequestID: () => 900,
    after: clock.after,
    now: clock.now,
  })
  return {
    clock,
    relay: running,
    client: client.far,
    upstream: upstream.far,
    near: client.near,
    upNear: upstream.near,
    refused,
  }
}

const request = (id: number, command: Document, flags = 0) => writeMessage({ ...command, $db: 'app' }, id, 0, flags)

t.test('requests and replies pass both ways', async t => {
  const { client, upstream } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { ping: 1 }))
  t.equal((await asked()).requestID, 1)
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await answered(), { responseTo: 1, requestID: 50 })
})

t.test('what was pipelined behind the login is the first to go upstream', async t => {
  const { upstream } = await set(t, { fromClient: request(3, { ping: 1 }) })
  t.equal((await createFrameReceiver(upstream)()).requestID, 3)
})

t.test('a hello asked during a reply of 16 MB is answered behind it, not inside', async t => {
  const { client, upstream } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const big = writeMessage({ text: 'x'.repeat(16_000_000), ok: 1 }, 50, 1)
  client.write(request(1, { find: 'c' }))
  await asked()
  upstream.write(big.subarray(0, 8_000_000))
  client.write(request(2, { hello: 1 }))
  client.write(request(3, { ping: 1 }))
  await turn()
  upstream.write(big.subarray(8_000_000))
  t.same((await answered()).bytes.length, big.length)
  t.match(await answered(), { responseTo: 2, requestID: 900 })
  t.equal((await asked()).requestID, 3, 'and the next request goes on after it')
})

t.test('each of several hellos in one chunk is answered once', async t => {
  let asked = 0
  const { client } = await set(t, { hello: async () => ({ asked: ++asked, ok: 1 }) })
  const answered = createFrameReceiver(client)
  client.write(Buffer.concat([1, 2, 3].map(id => request(id, { hello: 1 }))))
  for (const id of [1, 2, 3]) {
    const reply = await answered()
    t.equal(reply.responseTo, id)
    t.equal(readReply(reply).document.asked, id)
  }
})

t.test('a refused command is answered in its turn and named, and never goes upstream', async t => {
  const { client, upstream, refused } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(Buffer.concat([request(1, { find: 'c' }), request(2, { logout: 1 }), request(3, { ping: 1 })]))
  t.equal((await asked()).requestID, 1)
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.equal((await answered()).responseTo, 1)
  const refusal = await answered()
  t.equal(refusal.responseTo, 2)
  t.match(readReply(refusal).document, { ok: 0, code: 13, errmsg: /logout.*connection 5/ })
  t.equal((await asked()).requestID, 3)
  t.same(refused, ['logout'])
})

t.test('ten thousand refused commands in one chunk are answered like one, and what is behind them passes', async t => {
  const refusals = Array.from({ length: 10_000 }, (_, index) => request(index + 1, { logout: 1 }))
  const { client, upstream } = await set(t, { fromClient: Buffer.concat([...refusals, request(20_000, { ping: 1 })]) })
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  for (let id = 1; id <= 10_000; id++) {
    if ((await answered()).responseTo !== id) t.fail(`${id} is not answered in its turn`)
  }
  t.equal((await asked()).requestID, 20_000)
})

t.test('whoever asks for nothing but answers of ours leaves others their turn', async t => {
  const many = Buffer.concat(Array.from({ length: 20 }, (_, index) => request(index + 1, { logout: 1 })))
  const { refused, client } = await set(t, { fromClient: many })
  t.equal(refused.length, 8)
  const answered = createFrameReceiver(client)
  for (let id = 1; id <= 20; id++) t.equal((await answered()).responseTo, id)
})

t.test('who ends its side behind many of them has what it asked of the upstream all the same', async t => {
  for (const count of [7, 8, 9, 20]) {
    const refusals = Array.from({ length: count }, (_, index) => request(index + 1, { logout: 1 }))
    const { client, upstream, relay } = await set(t)
    const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
    client.end(Buffer.concat([...refusals, request(100, { ping: 1 })]))
    for (let id = 1; id <= count; id++) t.equal((await answered()).responseTo, id)
    t.equal((await asked()).requestID, 100, `behind ${count}`)
    upstream.write(writeMessage({ ok: 1 }, 50, 100))
    t.equal((await answered()).responseTo, 100)
    t.match(await relay.ended, { by: 'client', fault: undefined })
  }
})

t.test('a fault of hello is answered as such', async t => {
  const { client } = await set(t, { hello: async () => Promise.reject(new Fault('hello/metadata-repeated')) })
  const answered = createFrameReceiver(client)
  client.write(request(1, { hello: 1 }))
  t.match(readReply(await answered()).document, { ok: 0, code: 186 })
})

t.test('a write that wants no reply is owed none', async t => {
  const { client, upstream, relay } = await set(t)
  const asked = createFrameReceiver(upstream)
  client.write(request(1, { insert: 'c', writeConcern: { w: 0 } }, MORE_TO_COME))
  await asked()
  t.equal(relay.owed(), 0)
})

t.test('a stream of replies is owed until the one without moreToCome', async t => {
  const { client, upstream, relay } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { getMore: 1 }, EXHAUST_ALLOWED))
  await asked()
  client.write(request(2, { hello: 1 }))
  upstream.write(writeMessage({ ok: 1 }, 50, 1, MORE_TO_COME))
  upstream.write(writeMessage({ ok: 1 }, 51, 50, MORE_TO_COME))
  t.equal((await answered()).requestID, 50)
  t.equal((await answered()).requestID, 51)
  t.equal(relay.owed(), 2)
  upstream.write(writeMessage({ ok: 1 }, 52, 51))
  t.equal((await answered()).requestID, 52)
  t.equal((await answered()).responseTo, 2)
  t.equal(relay.owed(), 0)
})

t.test('a client that ends its side after its last request gets the answer', async t => {
  const { client, upstream, relay } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.end(request(1, { find: 'c' }))
  await asked()
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.equal((await answered()).responseTo, 1)
  t.same(await relay.ended, { by: 'client' })
  await Promise.all([once(upstream, 'end'), once(client, 'end')])
  upstream.end()
})

t.test('it waits ten seconds for that answer and no longer', async t => {
  const { client, upstream, relay, clock } = await set(t)
  const asked = createFrameReceiver(upstream)
  client.end(request(1, { find: 'c' }))
  await asked()
  while (clock.waiting() === 0) await turn()
  clock.advance(9_999)
  t.equal(relay.owed(), 1)
  clock.advance(1)
  t.same(await relay.ended, { by: 'client' })
})

t.test('when the upstream ends, the client gets what came before', async t => {
  const { client, upstream, relay } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { find: 'c' }))
  await asked()
  upstream.end(writeMessage({ text: 'x'.repeat(1_000_000), ok: 1 }, 50, 1))
  t.equal((await answered()).responseTo, 1)
  await once(client, 'end')
  t.same(await relay.ended, { by: 'upstream' })
  client.end()
})

t.test('a client that ends within a message takes the upstream with it, and nothing executes', async t => {
  const { client, upstream, relay } = await set(t)
  upstream.on('data', () => {})
  client.end(request(1, { insert: 'c', documents: [{ text: 'x'.repeat(1000) }] }).subarray(0, -1))
  t.match(await relay.ended, { by: 'client', fault: { kind: 'connection/reset' } })
  if (!upstream.readableEnded) await once(upstream, 'end')
})

t.test('destroying one side destroys the other', async t => {
  const { client, upstream, relay } = await set(t)
  client.resetAndDestroy()
  t.match(await relay.ended, { by: 'client' })
  upstream.resume()
  if (!upstream.readableEnded) await once(upstream, 'end')
  t.pass()
})

t.test(
  'a client that leaves while an answer of ours is under way is noticed at once, which ends what was done for it',
  async t => {
    for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
      let began = () => {}
      const asked = new Promise<void>(resolve => {
        began = resolve
      })
      const aborted: boolean[] = []
      const { client, relay, clock } = await set(t, {
        hello: (_, signal) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => {
              aborted.push(true)
              reject(signal.reason)
            })
            began()
          }),
      })
      client.write(request(1, { hello: 1 }))
      await asked
      client[how]()
      t.match(await relay.ended, { by: 'client' })
      t.same(aborted, [true], how)
      t.equal(clock.now(), 0)
    }
  },
)

t.test(
  'what a client sends behind an answer of ours is read as far as a little of it goes, and none is lost',
  async t => {
    let give = (_: Document) => {}
    const { client, upstream, near } = await set(t, {
      hello: () =>
        new Promise(resolve => {
          give = resolve
        }),
    })
    const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
    client.write(request(1, { hello: 1 }))
    for (let id = 2; id < 102; id++) client.write(request(id, { insert: 'c', text: 'x'.repeat(50_000) }))
    while (!near.isPaused()) await turn()
    t.ok(near.bytesRead < 300_000, `${near.bytesRead} bytes`)
    give({ ok: 1 })
    t.equal((await answered()).responseTo, 1)
    for (let id = 2; id < 102; id++) t.equal((await asked()).requestID, id)
  },
)

t.test('a client that sends more than the upstream takes is held back from the start', async t => {
  const { near, upNear } = await set(t, { fromClient: request(1, { insert: 'c', text: 'x'.repeat(16_000_000) }) })
  t.equal(upNear.writableNeedDrain, true)
  t.equal(near.isPaused(), true)
})

t.test('an upstream that answers what nobody asked, or asks for more than was allowed, is cut off', async t => {
  for (const reply of [
    writeMessage({ ok: 1 }, 50, 7),
    writeMessage({ ok: 1 }, 50, 1, MORE_TO_COME),
    Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
  ]) {
    const { client, upstream, relay } = await set(t)
    const asked = createFrameReceiver(upstream)
    client.write(request(1, { find: 'c' }))
    await asked()
    upstream.write(reply)
    t.match(await relay.ended, { by: 'upstream', fault: { kind: 'upstream/protocol-error' } })
  }
  const { upstream, relay } = await set(t)
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await relay.ended, { by: 'upstream', fault: { kind: 'upstream/protocol-error' } }, 'with nothing owed')
})

t.test('a client that does not read holds the upstream back, and is given up after a minute', async t => {
  const { client, upstream, relay, near, upNear, clock } = await set(t)
  const asked = createFrameReceiver(upstream)
  client.pause()
  client.write(request(1, { find: 'c' }))
  await asked()
  upstream.write(writeMessage({ text: 'x'.repeat(16_000_000), ok: 1 }, 50, 1))
  while (!upNear.isPaused()) await turn()
  t.ok(near.writableLength < 2_000_000, 'little is held in memory')
  clock.advance(60_000)
  t.match(await relay.ended, { by: 'proxy', fault: { kind: 'connection/write-timeout' } })
})

t.test('a client that asks hello and never reads the answers gets no further', async t => {
  let asked = 0
  const text = 'x'.repeat(100_000)
  const { client, near } = await set(t, {
    hello: async () => {
      asked++
      return { text, ok: 1 }
    },
  })
  client.pause()
  for (let i = 0; i < 1000; i++) client.write(request(i, { hello: 1 }))
  let before = -1
  while (asked !== before || asked === 0) {
    before = asked
    for (let i = 0; i < 50; i++) await turn()
  }
  t.ok(asked < 200, `${asked} of 1000`)
  t.ok(near.writableLength < 1_000_000, `${near.writableLength} bytes held`)
})

t.test('a client is stopped when it runs ten thousand requests ahead of their replies', async t => {
  const { client, upstream, relay } = await set(t)
  upstream.on('data', () => {})
  client.write(Buffer.concat(Array.from({ length: 10_001 }, (_, i) => request(i, { ping: 1 }))))
  t.match(await relay.ended, { fault: { kind: 'connection/write-timeout' } })
})

t.test('draining ends a quiet relay at once and a busy one after its reply', async t => {
  const quiet = await set(t)
  quiet.relay.drain()
  t.same(await quiet.relay.ended, { by: 'proxy' })
  const { client, upstream, relay } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  client.write(request(1, { find: 'c' }))
  await asked()
  relay.drain()
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.equal((await answered()).responseTo, 1)
  t.same(await relay.ended, { by: 'proxy' })
})

t.test('a drain that has a reason takes nothing from a client that reads slowly', async t => {
  const { client, upstream, relay } = await set(t)
  const asked = createFrameReceiver(upstream)
  const why = new Fault('login/expired')
  const reply = writeMessage({ text: 'x'.repeat(200_000), ok: 1 }, 50, 1)
  client.pause()
  client.write(request(1, { find: 'c' }))
  await asked()
  relay.drain(why)
  upstream.write(reply)
  t.same(await relay.ended, { by: 'proxy', fault: why })
  const answered = createFrameReceiver(client)
  client.resume()
  t.equal((await answered()).bytes.length, reply.length)
})

t.test('a refused command that wants no reply closes both sides', async t => {
  const { client, relay } = await set(t)
  client.write(request(1, { logout: 1 }, MORE_TO_COME))
  t.match(await relay.ended, { by: 'client', fault: { kind: 'command/forbidden' } })
})

t.test('bytes of the upstream behind the login are refused', async t => {
  const client = await socketPair(t)
  const upstream = await socketPair(t)
  const running = new Relay({
    client: client.near,
    upstream: upstream.near,
    readBuffer: readBufferOf(upstream.near),
    fromClient: Buffer.alloc(0),
    fromUpstream: Buffer.from(serialize({ ok: 1 })),
    limit: 48_000_000,
    connectionId: 5,
    hello: async () => ({}),
    refused: () => {},
    nextRequestID: () => 900,
    after: createManualClock().after,
    now: () => 0,
  })
  t.match(await running.ended, { by: 'upstream', fault: { kind: 'upstream/protocol-error' } })
})

/** What a watcher answers, by the command's name. */
const watching = (answers: Record<string, Fault>, shown: string[] = [], renew?: Watcher['renew']): Watcher => ({
  stop: ({ name }) => {
    shown.push(name)
    return answers[name]
  },
  passed: seen => shown.push(`passed ${seen?.name}`),
  ...(renew && { renew }),
})

t.test('a watcher answers a command in the place of the upstream, behind what is owed, or lets it pass', async t => {
  const { client, upstream, relay } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const shown: string[] = []
  client.write(request(1, { ping: 1 }))
  await asked()
  relay.watch(watching({ find: new Fault('login/expired') }, shown, async ({ name }) => ({ ok: 1, name })))
  client.write(
    Buffer.concat([
      request(2, { find: 'c' }),
      request(3, { saslStart: 1 }),
      request(4, { insert: 'c' }),
      request(5, { hello: 1 }),
    ]),
  )
  await turn()
  t.same(shown, [])
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await answered(), { responseTo: 1 })
  const old = await answered()
  t.equal(old.responseTo, 2)
  t.match(readReply(old).document, { ok: 0, code: 391, codeName: 'ReauthenticationRequired' })
  t.match(readReply(await answered()).document, { name: 'saslStart' })
  t.equal((await asked()).requestID, 4)
  upstream.write(writeMessage({ ok: 1 }, 51, 4))
  t.match(await answered(), { responseTo: 4 })
  t.match(await answered(), { responseTo: 5 }, 'hello is answered as ever')
  t.same(shown, ['find', 'insert', 'passed insert'])
  relay.watch(undefined)
  client.write(request(6, { find: 'c' }))
  t.equal((await asked()).requestID, 6)
})

t.test('what would change who this is stays refused, and so does a login that nobody watches for', async t => {
  const { client, relay, refused } = await set(t)
  const answered = createFrameReceiver(client)
  relay.watch(watching({}))
  for (const name of ['logout', 'SASLSTART', 'saslStart']) {
    client.write(request(2, { [name]: 1 }))
    t.match(readReply(await answered()).document, { code: 13 })
    t.equal(refused.pop(), name)
  }
})

t.test('of a command that is shown no more than its name and its transaction has to be understood', async t => {
  const { client, upstream, relay } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const filter = { name: new BSONRegExp('(?i)^al'), $where: new Code('1', { a: 1 }) }
  relay.watch(watching({ find: new Fault('login/expired') }))
  client.write(request(1, { find: 'c', filter }))
  t.match(readReply(await answered()).document, { code: 391 })
  client.write(request(2, { count: 'c', query: filter }))
  t.equal((await asked()).requestID, 2)
})

t.test('a fault of the client is its own, whoever made the bytes before it wait', async t => {
  const { client, upstream, relay } = await set(t)
  const asked = createFrameReceiver(upstream)
  client.write(Buffer.concat([request(1, { find: 'c' }), request(2, { logout: 1 }), Buffer.alloc(16)]))
  await asked()
  upstream.write(writeMessage({ ok: 1 }, 50, 1))
  t.match(await relay.ended, { by: 'client', fault: { kind: 'frame/length' } })
})

t.test('writes without a reply, long ones and streams are not shown, but the watcher hears of them', async t => {
  const { client, upstream, relay } = await set(t)
  const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
  const shown: string[] = []
  client.write(request(1, { getMore: 1 }, EXHAUST_ALLOWED))
  await asked()
  relay.watch(watching({ insert: new Fault('login/expired') }, shown))
  client.write(request(2, { insert: 'c' }, MORE_TO_COME))
  t.equal((await asked()).requestID, 2)
  t.same(shown.splice(0), ['passed undefined'], 'a write that wants no reply')
  client.write(request(3, { insert: 'c', text: 'x'.repeat(70_000) }))
  t.equal((await asked()).requestID, 3)
  t.same(shown.splice(0), ['passed undefined'], 'a long one')
  upstream.write(writeMessage({ ok: 1 }, 50, 1, MORE_TO_COME))
  await answered()
  t.same(shown.splice(0), ['passed undefined'], 'a reply of a stream')
  upstream.write(writeMessage({ ok: 1 }, 51, 50))
  await answered()
  t.same(shown, [], 'the last reply')
})

t.test('a fault that a watcher throws is answered, and then both sides end', async t => {
  const { client, upstream, relay } = await set(t)
  const reply = createFrameReceiver(client)
  relay.watch(
    watching({}, [], async () => {
      throw new Fault('login/principal-changed')
    }),
  )
  upstream.resume()
  client.write(request(2, { saslContinue: 1 }))
  t.match(readReply(await reply()).document, { ok: 0, code: 18 })
  t.match(await relay.ended, { by: 'proxy', fault: { kind: 'login/principal-changed' } })
  await Promise.all([once(client, 'end'), once(upstream, 'end')])
})

t.test('leaving ends a quiet relay at once, a busy one behind its reply, a stuck one in time', async t => {
  const why = new Fault('upstream/stepped-down')
  const quiet = await set(t)
  quiet.clock.advance(1_000)
  t.equal(quiet.relay.leave(why, 100), undefined)
  t.equal(quiet.near.destroyed, true)
  t.match(await quiet.relay.ended, { by: 'proxy', fault: why })

  const busy = await set(t)
  const [asked, answered] = [createFrameReceiver(busy.upstream), createFrameReceiver(busy.client)]
  busy.client.write(request(1, { insert: 'c' }))
  await asked()
  const left = busy.relay.leave(why, 100)
  t.type(left, Promise)
  busy.upstream.write(writeMessage({ ok: 0, code: 11602 }, 50, 1))
  t.match(readReply(await answered()).document, { code: 11602 })
  busy.clock.advance(20)
  await left
  t.match(await busy.relay.ended, { by: 'proxy', fault: why })
  t.equal(busy.relay.leave(why, 100), undefined, 'it is over')

  const stuck = await set(t)
  const waits = createFrameReceiver(stuck.upstream)
  stuck.client.write(request(1, { insert: 'c' }))
  await waits()
  const late = stuck.relay.leave(why, 100)
  stuck.clock.advance(100)
  await late
  t.equal(stuck.near.destroyed, true)
})

t.test(
  'a connection that is left is reset where it lies idle, and closed in peace where a reply may be on its way',
  async t => {
    const why = new Fault('upstream/stepped-down')
    for (const { ms, stuck, code } of [
      { ms: 1_000, stuck: false, code: 'ECONNRESET' },
      { ms: 999, stuck: false, code: undefined },
      { ms: 1_000, stuck: true, code: undefined },
    ]) {
      const { client, upstream, relay, clock, near, upNear } = await set(t)
      const [asked, answered] = [createFrameReceiver(upstream), createFrameReceiver(client)]
      const end = new Promise(resolve => {
        client
          .once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
          .once('end', () => resolve(undefined))
      })
      client.write(request(1, { find: 'c' }))
      await asked()
      if (stuck) near.cork()
      upstream.write(writeMessage({ ok: 1 }, 50, 1))
      while (relay.owed() > 0) await turn()
      if (!stuck) await answered()
      clock.advance(ms)
      relay.leave(why, 100)
      t.equal(upNear.destroyed, true, 'the upstream is left at once')
      t.match(await relay.ended, { by: 'proxy', fault: why })
      if (stuck) t.match(await answered(), { responseTo: 1 }, 'what had not gone out yet')
      t.equal(await end, code)
    }
  },
)
