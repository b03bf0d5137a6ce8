import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { Binary, type Document, Double, Int32, Long, ObjectId, serialize } from 'bson'
import t, { type Test } from 'tap'
import { Connection, type ConnectionOptions } from '../../src/client/connection.js'
import type { Stage } from '../../src/client/connectionTable.js'
import type { LoginRequest, UpstreamSession } from '../../src/client/login.js'
import type { AcceptedClient } from '../../src/client/preauth.js'
import { Fault, type FaultKind } from '../../src/errors.js'
import { createLog } from '../../src/log.js'
import type { LogEvent } from '../../src/logEvents.js'
import type { LiveConnection } from '../../src/revocation/liveConnections.js'
import { createTermController } from '../../src/upstream/primaryTerm.js'
import { OP_COMPRESSED, OP_QUERY, writeFrame } from '../../src/wire/frame.js'
import { EXHAUST_ALLOWED, MORE_TO_COME, readReply, writeMessage } from '../../src/wire/message.js'
import { createManualClock } from '../support/clock.js'
import { createFault } from '../support/faults.js'
import { signClientFinal } from '../support/signingClient.js'
import { createFrameReceiver, readBufferOf, socketPair, waitForClose } from '../support/sockets.js'

const ALICE = { arn: 'arn:aws:iam::123456789012:user/alice', user: 'alice@admin' }
const HOST = 'sts.eu-west-1.amazonaws.com'
const first = serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) })
const final = serialize({ a: 'the-authorization', d: '20260813T120000Z', t: 'the-token' })
const driver = { driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' } }

const message = (id: number, { $db = 'admin', ...command }: Document, flags = 0) =>
  writeMessage({ ...command, $db }, id, 0, flags)
const query = (id: number, command: Document) =>
  writeFrame(OP_QUERY, id, 0, [
    Buffer.from('\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff', 'latin1'),
    serialize(command),
  ])
const hello = query(1, { isMaster: 1, helloOk: true, client: driver })
const start = message(2, { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(first), $db: '$external' })
const next = message(3, { saslContinue: 1, conversationId: 1, payload: new Binary(final), $db: '$external' })
const find = message(4, { find: 'c', $db: 'app' })
const ping = (id: number) => message(id, { ping: 1 })

type Line = { event: LogEvent; level: string; fault?: FaultKind } & Document
type Login = (candidate: LoginRequest, over: AbortController) => Promise<UpstreamSession>
type Wanted = {
  login?: Login
  greet?: ConnectionOptions['answerHello']
  limit?: number
  client?: Partial<AcceptedClient>
}

/** A login that succeeds as alice, with this upstream. `leave` is called when it is over. */
const admitted =
  (upstream: Duplex, leave = () => {}): Login =>
  async ({ record: journal }) => {
    Object.assign(journal, ALICE)
    journal.ms.sts = 12
    const socket = upstream as Socket
    const live = {} as LiveConnection
    return {
      socket,
      readBuffer: readBufferOf(upstream),
      rest: Buffer.alloc(0),
      limit: 48_000_000,
      term: createTermController().term,
      live,
      leave,
    }
  }
const refusedWith =
  (kind: FaultKind, detail?: string): Login =>
  async () => {
    throw createFault(kind, detail)
  }

/** A connection whose client is a socket of the test. */
function serve(near: Duplex, { login = refusedWith('sts/refused'), greet, client }: Wanted = {}) {
  const addresses: string[] = []
  const clock = createManualClock()
  const lines: Line[] = []
  const stages: Stage[] = []
  const logins: string[] = []
  const faults: FaultKind[] = []
  let alive = 0
  let text = ''
  const log = createLog('debug', {
    write(line) {
      text += line
      lines.push(JSON.parse(line))
    },
  })
  const arrived: AcceptedClient = {
    id: 5,
    peer: '192.0.2.7:50000',
    certificate: undefined,
    setStage: stage => stages.push(stage),
    recordActivity: () => alive++,
    schedule: step => step(),
    ...client,
  }
  const running = new Connection(near as Socket, arrived, {
    log,
    handshakeContext(address) {
      addresses.push(address)
      return {
        stsHost: () => HOST,
        random: bytes => Buffer.alloc(bytes, 0xee),
        buildInfo: () => ({ version: '7.0.12' }),
      }
    },
    answerHello:
      greet ?? (async asked => ({ [asked.legacy ? 'ismaster' : 'isWritablePrimary']: true, ok: new Double(1) })),
    login,
    reauthenticate: async () => {},
    reauthenticationMode: () => 'ask',
    shouldLog: () => true,
    metrics: {
      recordFault: kind => faults.push(kind),
      recordLogin: outcome => logins.push(outcome),
      recordRefusedCommand: () => {},
      recordRelayedBytes: () => {},
    },
    nextRequestID: () => 900,
    now: clock.now,
    after: clock.after,
  })
  return {
    clock,
    stages,
    logins,
    faults,
    addresses,
    running,
    lines,
    text: () => text,
    alive: () => alive,
    /** The one line at the end. */
    async closing(): Promise<Line> {
      await running.closed
      t.equal(lines.filter(({ event }) => event === 'connection closed').length, 1, 'one line tells all of it')
      return lines.at(-1) as Line
    },
  }
}

async function connected(t: Test, wanted: Wanted = {}) {
  const { near, far } = await socketPair(t)
  const served = serve(near, wanted)
  return { ...served, near, client: far, reply: createFrameReceiver(far) }
}

/** Lets whatever is under way happen. */
const settled = async () => {
  for (let i = 0; i < 20; i++) await turn()
}
const until = async (so: () => boolean) => {
  while (!so()) await turn()
}

t.test('from hello to the relay', async t => {
  const upstream = await socketPair(t)
  const { client, reply, closing, stages, logins, clock, alive } = await connected(t, {
    login: admitted(upstream.near),
  })
  const asked = createFrameReceiver(upstream.far)
  client.write(hello)
  t.match(readReply(await reply()).document, { ismaster: true, ok: 1 })
  client.write(start)
  t.match(readReply(await reply()).document, { conversationId: 1, done: false, ok: 1 })
  client.write(next)
  t.match(readReply(await reply()).document, { conversationId: 1, done: true, ok: 1 })
  client.write(find)
  t.same((await asked()).bytes, find)
  upstream.far.write(writeMessage({ ok: 1 }, 50, 4))
  t.equal((await reply()).requestID, 50)
  clock.advance(2000)
  client.end()
  const line = await closing()
  t.match(line, {
    level: 'info',
    id: 5,
    peer: '192.0.2.7:50000',
    stage: 'authenticated',
    by: 'client',
    ...ALICE,
    ms: { sts: 12, open: 2000 },
    bytes: { fromClient: hello.length + start.length + next.length + find.length },
  })
  t.ok(line.bytes.toClient > 300)
  t.notOk('fault' in line)
  t.same(stages, ['unauthenticated', 'authenticating', 'authenticated'])
  t.same(logins, ['success'])
  t.equal(alive(), 3)
  t.equal(clock.waiting() <= 2, true, 'nothing but the closing of the sockets is waited for')
})

t.test('however a conversation is cut, the replies and what goes upstream are the same', async t => {
  const conversation = Buffer.concat([message(1, { hello: 1 }), ping(7), start, next, find])
  const run = async (chunks: Buffer[]) => {
    const [near, far] = duplexPair()
    const [upNear, upFar] = duplexPair()
    serve(near as Duplex, { login: admitted(upNear as Duplex) })
    const got = { client: '', upstream: '' }
    far.on('data', chunk => (got.client += chunk.toString('latin1')))
    upFar.on('data', chunk => (got.upstream += chunk.toString('latin1')))
    for (const chunk of chunks) {
      far.write(chunk)
      await Promise.resolve()
    }
    for (let i = 0; i < 2000 && got.upstream.length < find.length; i++) await turn()
    near.destroy()
    upNear.destroy()
    return got
  }
  const whole = await run([conversation])
  t.equal(whole.upstream, find.toString('latin1'))
  t.ok(whole.client.length > 300)
  t.same(await run([...conversation].map(byte => Buffer.of(byte))), whole, 'one byte at a time')
  let wrong: number[][] = []
  for (let i = 0; i < conversation.length; i++) {
    // Every single cut, and of the pairs those whose places add up to a multiple of a prime: each place meets many others.
    for (let j = i; j < conversation.length; j++) {
      if (j !== i && (i + j) % 101 !== 0) continue
      const got = await run([conversation.subarray(0, i), conversation.subarray(i, j), conversation.subarray(j)])
      if (got.client !== whole.client || got.upstream !== whole.upstream) wrong = [...wrong, [i, j]]
    }
  }
  t.same(wrong, [])
})

t.test('what is no conversation ends with a line that says so and a closed socket', async t => {
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
  const lying = Buffer.from(serialize({ hello: 1, $db: 'admin' }))
  lying.writeInt32LE(lying.length + 50)
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
    ['a document that lies', body(lying), 'message/malformed'],
    ['an inner document that lies', body(inner), 'message/malformed'],
    ['a key twice', body(twice), 'message/malformed'],
    ['no $db', body(Buffer.from(serialize({ hello: 1 }))), 'message/malformed'],
    ['unknown flag bits', message(1, { hello: 1 }, 4), 'message/malformed'],
    ['a wrong checksum', Buffer.concat([body(Buffer.from(serialize({ hello: 1, $db: 'x' })), 1)]), 'message/malformed'],
    ['moreToCome', message(1, { hello: 1 }, MORE_TO_COME), 'message/malformed'],
    ['an old opcode', writeFrame(2002, 1, 0, [Buffer.alloc(20)]), 'frame/opcode'],
    ['a compressed message', writeFrame(OP_COMPRESSED, 1, 0, [Buffer.alloc(20)]), 'message/compressed'],
  ]
  for (const [what, bytes, kind, facts = {}] of bad) {
    const { client, closing } = await connected(t)
    let answered = 0
    client.on('data', chunk => (answered += chunk.length))
    client.on('end', () => client.end())
    client.write(bytes)
    t.match(await closing(), { level: 'warn', fault: kind, by: 'proxy', ...facts }, what)
    await waitForClose(client)
    t.equal(answered, 0, what)
  }
})

t.test('a client that does not close its side is cut off a second after its answer', async t => {
  const { client, near, clock, running } = await connected(t)
  client.resume()
  client.write(Buffer.alloc(16))
  await running.closed
  t.equal(near.destroyed, false)
  clock.advance(1000)
  t.equal(near.destroyed, true)
  t.equal(clock.waiting(), 0)
})

t.test('challenge and login are for the address of the client, and for the certificate that TLS verified', async t => {
  for (const [peer, address] of [
    ['192.0.2.7:50000', '192.0.2.7'],
    ['2001:db8::1:50000', '2001:db8::1'],
  ] as const) {
    const candidates: LoginRequest[] = []
    const login: Login = async candidate => {
      candidates.push(candidate)
      candidate.record.cached = true
      throw new Fault('sts/refused')
    }
    const { client, closing, addresses } = await connected(t, { login, client: { peer, certificate: 'AA:BB' } })
    client.write(Buffer.concat([start, next]))
    t.match(await closing(), { peer, cached: true }, 'the line says that STS was not asked')
    t.match(candidates, [{ address, certificate: 'AA:BB' }])
    t.same([...new Set(addresses)], [address])
  }
})

t.test('a refusal of the login is answered, then the connection ends', async t => {
  const { client, reply, closing, logins, faults, stages } = await connected(t, {
    login: refusedWith('sts/refused', 'ExpiredToken: it is over'),
  })
  client.write(Buffer.concat([start, next]))
  await reply()
  t.match(readReply(await reply()).document, { ok: 0, code: 18, errmsg: /ExpiredToken: it is over \(connection 5\)/ })
  t.match(await closing(), { by: 'proxy', fault: 'sts/refused', stage: 'authenticating' })
  t.same(logins, ['sts/refused'])
  t.same(faults, ['sts/refused'])
  t.same(stages, ['authenticating'])
  if (!client.readableEnded) await once(client, 'end')
})

t.test('what is behind a refused login goes nowhere, and is not answered', async t => {
  for (const kind of ['sts/refused', 'sts/unavailable', 'login/timeout', 'users/no-rule'] as const) {
    const { client, near, running } = await connected(t, { login: refusedWith(kind) })
    let received = 0
    const replies = createFrameReceiver(client)
    client.on('data', () => received++)
    client.write(Buffer.concat([start, next, find, ping(9)]))
    await replies()
    t.match(readReply(await replies()).document, { ok: 0 })
    await running.closed
    if (!client.readableEnded) await once(client, 'end')
    await t.rejects(
      Promise.race([replies(), once(client.end(), 'close').then(() => Promise.reject(new Error('closed')))]),
      /closed/,
      `${kind}: ${near.bytesWritten}`,
    )
  }
})

t.test('while a proof is judged nothing behind it is looked at, and after it the upstream has it first', async t => {
  const upstream = await socketPair(t)
  const asked = createFrameReceiver(upstream.far)
  let admit = (): void => {}
  const { client, reply, near } = await connected(t, {
    login: async (candidate, over) => {
      await new Promise<void>(resolve => {
        admit = resolve
      })
      return admitted(upstream.near)(candidate, over)
    },
  })
  client.write(Buffer.concat([start, next, ping(8), find]))
  await reply()
  await until(() => near.bytesRead >= start.length + next.length + find.length)
  const written = near.bytesWritten
  await settled()
  t.equal(near.bytesWritten, written, 'only saslStart was answered')
  admit()
  t.match(await reply(), { responseTo: 3 })
  t.equal((await asked()).requestID, 8)
  t.equal((await asked()).requestID, 4)
})

t.test('bytes piped behind a proof do not make its judgement a hurry', async t => {
  const upstream = await socketPair(t)
  let admit = (): void => {}
  const { client, reply, clock } = await connected(t, {
    login: async (candidate, over) => {
      await new Promise<void>(resolve => {
        admit = resolve
      })
      return admitted(upstream.near)(candidate, over)
    },
  })
  client.write(Buffer.concat([start, next, find.subarray(0, 20)]))
  await reply()
  await settled()
  clock.advance(7000)
  admit()
  t.match(await reply(), { responseTo: 3 })
})

t.test('a client that leaves while its proof is judged ends the judging at once', async t => {
  for (const [leave, behind] of [
    ['end', Buffer.alloc(0)],
    ['destroy', Buffer.alloc(0)],
    ['resetAndDestroy', Buffer.alloc(0)],
    ['end', find],
  ] as const) {
    let began = (): void => {}
    const begun = new Promise<void>(resolve => {
      began = resolve
    })
    const { client, closing, logins, clock } = await connected(t, {
      login: (_, { signal }) => {
        began()
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new Fault('login/abandoned')))
        })
      },
    })
    client.on('data', () => {})
    client.write(Buffer.concat([start, next, behind]))
    await begun
    client[leave]()
    t.match(await closing(), { fault: 'login/abandoned', by: 'client', stage: 'authenticating' }, leave)
    t.same(logins, ['login/abandoned'])
    t.equal(clock.now(), 0)
  }
})

t.test('a login that ends itself is answered by why, and not taken for a client that left', async t => {
  for (const [kind, code] of [
    ['login/timeout', 262],
    ['upstream/unreachable', 6],
  ] as const) {
    const { client, reply, closing, logins } = await connected(t, {
      login: async (_, over) => {
        over.abort(new Fault(kind))
        throw over.signal.reason
      },
    })
    client.write(Buffer.concat([start, next, find]))
    await reply()
    t.match(readReply(await reply()).document, { ok: 0, code }, kind)
    t.match(await closing(), { fault: kind, by: 'proxy', stage: 'authenticating' })
    t.same(logins, [kind])
  }
})

t.test('a login that succeeds as its client leaves closes the upstream', async t => {
  const upstream = await socketPair(t)
  const { client, closing, logins } = await connected(t, {
    login: async (candidate, over) => {
      client.end()
      await once(over.signal, 'abort')
      return admitted(upstream.near)(candidate, over)
    },
  })
  let received = 0
  upstream.far.on('data', () => received++)
  client.write(Buffer.concat([start, next, find]))
  t.match(await closing(), { fault: 'login/abandoned', by: 'client' })
  t.equal(upstream.near.destroyed, true)
  t.same(logins, ['login/abandoned'], 'it does not count as a login')
  t.equal(received, 0)
})

t.test('the first message has five seconds from accept', async t => {
  for (const beginning of [Buffer.alloc(0), hello.subarray(0, 3), hello.subarray(0, -1)]) {
    const { client, closing, clock, near } = await connected(t)
    client.write(beginning)
    await until(() => near.bytesRead === beginning.length)
    await settled()
    clock.advance(4999)
    await settled()
    t.equal(near.destroyed, false)
    clock.advance(1)
    t.match(await closing(), { fault: 'connection/frame-timeout', by: 'proxy', stage: 'connecting' })
  }
})

t.test('a message that was begun has five seconds, however it trickles', async t => {
  const { client, reply, closing, clock, near } = await connected(t)
  client.write(hello)
  await reply()
  clock.advance(60_000)
  for (let at = 0; at < 5; at++) {
    client.write(hello.subarray(at, at + 1))
    await until(() => near.bytesRead === hello.length + at + 1)
    await settled()
    t.equal(near.destroyed, false)
    clock.advance(1000)
  }
  t.match(await closing(), { fault: 'connection/frame-timeout', stage: 'unauthenticated', ms: { open: 65_000 } })
})

t.test('an answer that takes long is not held against the client', async t => {
  let answer = (_: Document): void => {}
  const { client, reply, clock, near } = await connected(t, {
    greet: () =>
      new Promise(resolve => {
        answer = resolve
      }),
  })
  client.write(Buffer.concat([hello, hello.subarray(0, 20)]))
  await until(() => near.bytesRead === hello.length + 20)
  await settled()
  clock.advance(9000)
  answer({ ok: 1 })
  await reply()
  await settled()
  t.equal(near.destroyed, false)
  clock.advance(5000)
  await settled()
  t.equal(near.destroyed, true, 'the message behind it is, from when it is looked at')
})

t.test('a monitor lives as long as it asks, and ten minutes more', async t => {
  const { client, reply, closing, clock, near } = await connected(t)
  for (let seconds = 0; seconds < 3600; seconds += 10) {
    client.write(seconds === 0 ? hello : message(seconds, { hello: 1 }))
    await reply()
    clock.advance(10_000)
  }
  clock.advance(589_999)
  await settled()
  t.equal(near.destroyed, false)
  clock.advance(1)
  t.match(await closing(), { fault: 'connection/idle-timeout', level: 'debug', ms: { open: 3600_000 + 590_000 } })
})

t.test('a challenge that is not answered is dropped after half a minute', async t => {
  const { client, reply, closing, clock, near } = await connected(t)
  client.write(start)
  await reply()
  await settled()
  clock.advance(29_999)
  await settled()
  t.equal(near.destroyed, false)
  clock.advance(1)
  t.match(await closing(), { fault: 'connection/idle-timeout' })
})

t.test('a client that asks and never reads the answers gets no further, and is given up after a minute', async t => {
  const text = 'x'.repeat(100_000)
  let asked = 0
  const { client, near, clock, closing } = await connected(t, {
    greet: async () => {
      asked++
      return { text, ok: 1 }
    },
  })
  client.pause()
  client.write(Buffer.concat(Array.from({ length: 1000 }, (_, id) => message(id, { hello: 1 }))))
  let before = -1
  while (asked !== before || asked === 0) {
    before = asked
    await settled()
  }
  t.ok(asked < 200, `${asked} of 1000`)
  t.ok(near.writableLength < 1_000_000, `${near.writableLength} bytes held`)
  clock.advance(60_000)
  t.match(await closing(), { fault: 'connection/write-timeout', by: 'proxy' })
})

t.test('a client that reads late gets every answer', async t => {
  const text = 'x'.repeat(100_000)
  const { client, reply, near } = await connected(t, { greet: async () => ({ text, ok: 1 }) })
  client.pause()
  client.write(Buffer.concat(Array.from({ length: 200 }, (_, id) => message(id, { hello: 1 }))))
  await until(() => near.writableNeedDrain)
  client.resume()
  for (let id = 0; id < 200; id++) {
    const { responseTo } = await reply()
    if (responseTo !== id) t.fail(`${responseTo} instead of ${id}`)
  }
})

t.test('a refused command is answered in the opcode it came in, and the next one too', async t => {
  const { client, reply, faults } = await connected(t)
  client.write(Buffer.concat([query(1, { find: 'c' }), find, ping(9)]))
  const [legacy, modern, pong] = [await reply(), await reply(), await reply()]
  t.match(legacy, { opCode: 1, responseTo: 1 })
  t.match(modern, { opCode: 2013, responseTo: 4 })
  for (const refused of [legacy, modern]) t.match(readReply(refused).document, { ok: 0, code: 13 })
  t.match(readReply(pong).document, { ok: 1 })
  t.same(faults, ['command/unauthorized', 'command/unauthorized'])
})

t.test('a command between saslStart and saslContinue ends the conversation; no login is tried', async t => {
  const { client, reply, closing, logins } = await connected(t)
  client.write(Buffer.concat([start, find, next]))
  await reply()
  t.match(readReply(await reply()).document, { ok: 0, code: 17 })
  t.match(await closing(), { fault: 'sasl/out-of-order', by: 'proxy' })
  t.same(logins, [])
})

t.test('a fault of a hello is answered', async t => {
  const { client, reply, closing } = await connected(t, {
    greet: async () => {
      throw new Fault('upstream/unreachable')
    },
  })
  client.write(hello)
  t.match(readReply(await reply()).document, { ok: 0, code: 6, errorLabels: ['RetryableWriteError'] })
  t.match(await closing(), { fault: 'upstream/unreachable', by: 'proxy' })
})

t.test('after the login a hello is answered here, and a second client document is not taken', async t => {
  const upstream = await socketPair(t)
  upstream.far.on('data', () => t.fail('nothing goes upstream'))
  const { client, reply } = await connected(t, { login: admitted(upstream.near) })
  client.write(Buffer.concat([start, next, message(10, { hello: 1 }), message(11, { hello: 1, client: driver })]))
  await reply()
  await reply()
  t.match(readReply(await reply()).document, { isWritablePrimary: true })
  t.match(readReply(await reply()).document, { ok: 0, code: 186 })
  client.write(message(12, { hello: 1, maxAwaitTimeMS: 1 }))
  t.match(readReply(await reply()).document, { ok: 0, code: 51760 })
})

t.test('draining closes at once who waits for nothing, monitors that wait for a change too', async t => {
  const topologyVersion = { processId: new ObjectId(), counter: Long.fromNumber(1) }
  for (const asking of [undefined, message(2, { hello: 1, topologyVersion, maxAwaitTimeMS: 10_000 })]) {
    const { client, reply, running, closing, near } = await connected(t, {
      greet: async ({ awaiting }, _, signal) => {
        if (awaiting) await once(signal, 'abort').then(() => signal.throwIfAborted())
        return { ok: 1 }
      },
    })
    client.write(hello)
    await reply()
    if (asking) client.write(asking)
    await until(() => near.bytesRead === hello.length + (asking?.length ?? 0))
    await settled()
    running.drain()
    t.match(await closing(), { fault: 'proxy/shutdown', by: 'proxy' })
  }
})

t.test('draining lets a hello and a login have their answers first', async t => {
  let answer = (_: Document): void => {}
  const asking = await connected(t, {
    greet: () =>
      new Promise(resolve => {
        answer = resolve
      }),
  })
  asking.client.write(hello)
  await until(() => asking.alive() === 1)
  asking.running.drain()
  answer({ here: true, ok: 1 })
  t.match(readReply(await asking.reply()).document, { here: true })
  t.match(await asking.closing(), { by: 'proxy' })

  const upstream = await socketPair(t)
  let admit = (): void => {}
  const entering = await connected(t, {
    login: async (candidate, over) => {
      await new Promise<void>(resolve => {
        admit = resolve
      })
      return admitted(upstream.near)(candidate, over)
    },
  })
  entering.client.write(Buffer.concat([start, next]))
  await entering.reply()
  await until(() => entering.stages.includes('authenticating'))
  entering.running.drain()
  admit()
  t.match(readReply(await entering.reply()).document, { done: true })
  t.match(await entering.closing(), { by: 'proxy', ...ALICE })
})

t.test('whoever closes from outside is named with the reason, at every stage', async t => {
  const fault = new Fault('listener/connection-limit')
  const quiet = await connected(t)
  quiet.running.destroy(fault)
  t.match(await quiet.closing(), { by: 'proxy', fault: 'listener/connection-limit', stage: 'connecting' })

  const judged = await connected(t, {
    login: (_, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new Fault('login/abandoned')))
      }),
  })
  judged.client.write(Buffer.concat([start, next, ping(1)]))
  await until(() => judged.stages.includes('authenticating'))
  judged.running.destroy(fault)
  t.match(await judged.closing(), { by: 'proxy', fault: 'listener/connection-limit', stage: 'authenticating' })

  const upstream = await socketPair(t)
  const relayed = await connected(t, { login: admitted(upstream.near) })
  relayed.client.write(Buffer.concat([start, next]))
  await until(() => relayed.stages.includes('authenticated'))
  relayed.running.destroy(fault)
  t.match(await relayed.closing(), {
    by: 'proxy',
    fault: 'listener/connection-limit',
    stage: 'authenticated',
    ...ALICE,
  })
  t.equal(upstream.near.destroyed, true)
})

const version = (counter: number) => ({
  processId: new ObjectId('652f1f77bcf86cd799439011'),
  counter: Long.fromNumber(counter),
})
const streamed = message(
  1,
  { hello: 1, topologyVersion: version(6), maxAwaitTimeMS: new Int32(10_000) },
  EXHAUST_ALLOWED,
)

/** Hellos that the test gives one by one, a document or a fault, and what they were asked with. */
function given() {
  const asked: Parameters<ConnectionOptions['answerHello']>[0][] = []
  let due: { resolve(document: Document): void; reject(thrown: unknown): void } | undefined
  const greet: ConnectionOptions['answerHello'] = (one, _, signal) => {
    asked.push({ ...one })
    return new Promise((resolve, reject) => {
      due = { resolve, reject }
      signal.addEventListener('abort', () => reject(signal.reason))
    })
  }
  const waited = async () => {
    await until(() => due !== undefined)
    const waiting = due
    due = undefined
    return waiting
  }
  return {
    asked,
    greet,
    give: async (document: Document) => (await waited())?.resolve(document),
    fail: async (thrown: unknown) => (await waited())?.reject(thrown),
  }
}

t.test('a hello that allows it is answered with each change, each reply to the one before', async t => {
  const { asked, greet, give, fail } = given()
  const { client, reply, alive, closing } = await connected(t, { greet })
  client.write(streamed)
  for (const [counter, responseTo] of [
    [7, 1],
    [8, 900],
    [8, 900],
  ] as const) {
    await give({ topologyVersion: version(counter), ok: 1 })
    const frame = await reply()
    t.equal(frame.responseTo, responseTo)
    const { document, moreToCome } = readReply(frame, { exact: true })
    t.equal(moreToCome, true)
    t.equal(Number(document.topologyVersion.counter), counter)
  }
  await until(() => asked.length === 4)
  t.same(
    asked.map(({ awaiting }) => [Number(awaiting?.topologyVersion.counter), awaiting?.maxAwaitTimeMS]),
    [
      [6, 10_000],
      [7, 10_000],
      [8, 10_000],
      [8, 10_000],
    ],
  )
  t.equal(alive(), 4, 'a monitor that is answered is alive')
  await fail(new Fault('upstream/unreachable'))
  const last = await reply()
  t.equal(last.responseTo, 900)
  t.match(readReply(last), { moreToCome: false, document: { ok: 0, code: 6 } })
  t.match(await closing(), { by: 'proxy', fault: 'upstream/unreachable' })
})

t.test('a stream ends where there is no version to wait on, and the connection goes on', async t => {
  const { greet, give } = given()
  const { client, reply } = await connected(t, { greet })
  client.write(Buffer.concat([streamed, ping(2)]))
  await give({ topologyVersion: version(7), ok: 1 })
  t.match(readReply(await reply()), { moreToCome: true })
  await give({ ok: 1 })
  const last = await reply()
  t.equal(last.responseTo, 900)
  t.equal(readReply(last).moreToCome, false)
  t.equal((await reply()).responseTo, 2)
})

t.test('one reply to a hello that waits and allows no stream, or allows one and does not wait', async t => {
  const awaited = { hello: 1, topologyVersion: version(6), maxAwaitTimeMS: new Int32(0) }
  for (const bytes of [message(1, awaited), message(1, { hello: 1 }, EXHAUST_ALLOWED)]) {
    const { greet, give } = given()
    const { client, reply } = await connected(t, { greet })
    client.write(Buffer.concat([bytes, ping(2)]))
    await give({ topologyVersion: version(7), ok: 1 })
    t.equal(readReply(await reply()).moreToCome, false)
    t.equal((await reply()).responseTo, 2)
  }
})

t.test('nobody makes us stream faster than drivers ask', async t => {
  const { asked, greet, give } = given()
  const { client, reply } = await connected(t, { greet })
  client.write(message(1, { hello: 1, topologyVersion: version(6), maxAwaitTimeMS: new Int32(0) }, EXHAUST_ALLOWED))
  await give({ topologyVersion: version(6), ok: 1 })
  await reply()
  await until(() => asked.length === 2)
  t.equal(asked[1]?.awaiting?.maxAwaitTimeMS, 500)
})

t.test('who streams may be idle for ever, is gone at once when it leaves, and at once when we drain', async t => {
  for (const [leave, by] of [
    ['client', 'client'],
    ['proxy', 'proxy'],
  ] as const) {
    const { greet, give } = given()
    const { client, reply, clock, closing, running } = await connected(t, { greet })
    client.write(streamed)
    await give({ topologyVersion: version(7), ok: 1 })
    await reply()
    clock.advance(3_600_000)
    await give({ topologyVersion: version(8), ok: 1 })
    await reply()
    if (leave === 'client') client.end()
    else running.drain()
    t.match(await closing(), { by, stage: 'unauthenticated' })
  }
})

t.test('a monitor survives an hour in which nothing happens, streamed to or asking each time', async t => {
  for (const flags of [EXHAUST_ALLOWED, 0]) {
    const { asked, greet, give } = given()
    const { client, reply, near, clock } = await connected(t, { greet })
    const asking = (id: number) =>
      message(id, { hello: 1, topologyVersion: version(6), maxAwaitTimeMS: new Int32(10_000) }, flags)
    for (let id = 1; id <= 360; id++) {
      if (flags === 0 || id === 1) client.write(asking(id))
      // Whoever waits for news is answered after ten seconds without any, with what it knows.
      await until(() => asked.length === id)
      clock.advance(10_000)
      await give({ topologyVersion: version(6), ok: 1 })
      await reply()
    }
    t.equal(clock.now(), 3_600_000)
    t.equal(near.destroyed, false)
  }
})

t.test('a client that does not read its stream gets no further', async t => {
  const [near, far] = duplexPair()
  let asked = 0
  const filler = 'x'.repeat(4000)
  const greet: ConnectionOptions['answerHello'] = async () => {
    asked++
    return { topologyVersion: version(asked), filler, ok: 1 }
  }
  const { clock, running } = serve(near as Duplex, { greet })
  far.write(streamed)
  await settled()
  const stuck = asked
  t.ok(stuck < 20)
  await settled()
  t.equal(asked, stuck)
  clock.advance(60_000)
  await running.closed
  far.destroy()
})

t.test('a relay that is owed nothing ends at once where the term of its member is vacated', async t => {
  const upstream = await socketPair(t)
  const { term, end, closeSessions: vacate } = createTermController()
  const login: Login = async (candidate, over) => ({ ...(await admitted(upstream.near)(candidate, over)), term })
  const { client, clock, closing, stages } = await connected(t, { login })
  client.on('data', () => {})
  client.write(Buffer.concat([start, next]))
  await until(() => stages.includes('authenticated'))
  clock.advance(60_000) // what was written has arrived
  end(new Fault('upstream/stepped-down', undefined, { upstream: 'a:1' }))
  t.equal(upstream.near.destroyed, false)
  t.equal(vacate(), undefined)
  t.equal(upstream.near.destroyed, true, 'at once')
  t.match(await closing(), { level: 'info', by: 'proxy', fault: 'upstream/stepped-down', upstream: 'a:1' })
})

t.test('where the primary is another one, monitors are closed whose drivers must be told so', async t => {
  const why = new Fault('upstream/stepped-down')
  const metadata = (name: string) => ({ ...driver, driver: { name, version: '1' } })
  const asks = (name: string) => query(1, { isMaster: 1, helloOk: true, client: metadata(name) })
  const topologyVersion = { processId: new ObjectId(), counter: Long.fromNumber(1) }
  const awaits = message(2, { hello: 1, topologyVersion, maxAwaitTimeMS: new Int32(10_000) })
  const greet: ConnectionOptions['answerHello'] = async ({ awaiting }, _, signal) =>
    awaiting
      ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      : { ok: new Double(1) }
  for (const [name, again, closes] of [
    ['PyMongo', awaits, true],
    ['mongo-go-driver', message(2, { hello: 1 }), true],
    ['PyMongo', undefined, false],
    ['nodejs', awaits, false],
    ['nodejs|Mongoose', awaits, false],
  ] as const) {
    const { client, reply, running, closing, near } = await connected(t, { greet })
    client.write(asks(name))
    await reply()
    if (again) client.write(again)
    await settled()
    running.closeIfMonitor(why)
    t.equal(near.destroyed, closes, `${name}, ${again ? 'again' : 'once'}`)
    if (closes) t.match(await closing(), { stage: 'unauthenticated', by: 'proxy', fault: 'upstream/stepped-down' })
    else client.destroy()
    await running.closed
  }
})

t.test('an upstream that is away is no error of each monitor that hears of it', async t => {
  const { client, closing } = await connected(t, {
    greet: async () => Promise.reject(new Fault('upstream/unreachable')),
  })
  client.write(hello)
  t.match(await closing(), { level: 'info', fault: 'upstream/unreachable' })
  const login = await connected(t, { login: refusedWith('upstream/unreachable') })
  login.client.write(Buffer.concat([start, next]))
  t.match(await login.closing(), { level: 'error', fault: 'upstream/unreachable' })
})

t.test('what was refused stands in the one line, which is then told', async t => {
  const { client, reply, closing } = await connected(t)
  const scram = { saslStart: 1, mechanism: 'SCRAM-SHA-256', payload: new Binary(first), $db: 'admin' }
  for (const id of [2, 3]) {
    client.write(message(id, scram))
    await reply()
  }
  client.end()
  t.match(await closing(), { level: 'info', stage: 'connecting', refused: { 'sasl/mechanism-unavailable': 2 } })

  const upstream = await socketPair(t)
  const relayed = await connected(t, { login: admitted(upstream.near) })
  relayed.client.write(Buffer.concat([hello, start, next]))
  for (let replies = 0; replies < 3; replies++) await relayed.reply()
  const many = Array.from({ length: 12 }, (_, index) =>
    [...'logout'].map((letter, at) => ((index >> at) & 1 ? letter.toUpperCase() : letter)).join(''),
  )
  for (const [index, name] of many.entries()) {
    relayed.client.write(message(10 + index, { [name]: 1 }))
    await relayed.reply()
  }
  relayed.client.end()
  const { refused } = await relayed.closing()
  t.match(refused, { logout: 1, Logout: 1 })
  t.equal(Object.keys(refused).length, 8, 'however it is spelled, the line stays short')
})

t.test('whoever logs in or is logged in is no monitor', async t => {
  const upstream = await socketPair(t)
  const { client, reply, running, stages, near } = await connected(t, { login: admitted(upstream.near) })
  const stranger = { ...driver, driver: { name: 'x', version: '1' } }
  client.write(Buffer.concat([message(1, { hello: 1, client: stranger }), message(2, { hello: 1 }), start]))
  for (let replies = 0; replies < 3; replies++) await reply()
  running.closeIfMonitor(new Fault('upstream/stepped-down'))
  t.equal(near.destroyed, false)
  client.write(next)
  await until(() => stages.includes('authenticated'))
  running.closeIfMonitor(new Fault('upstream/stepped-down'))
  t.equal(near.destroyed, false)
  client.destroy()
  await running.closed
})

/** What the driver of that name says first. */
const helloOf = (name: string) => message(1, { hello: 1, client: { ...driver, driver: { name, version: '1' } } })

t.test('a login of the age of its rule is asked for again, and goes on as the same relay', async t => {
  const upstream = await socketPair(t)
  const live = { match: { maxAgeMS: 60_000 } } as LiveConnection
  const login: Login = async (candidate, over) => ({ ...(await admitted(upstream.near)(candidate, over)), live })
  const { client, reply, clock, stages, running } = await connected(t, { login })
  client.write(Buffer.concat([helloOf('PyMongo|Motor'), start, next]))
  for (let replies = 0; replies < 3; replies++) await reply()
  await until(() => stages.includes('authenticated'))
  clock.advance(60_000)
  client.write(find)
  t.match(readReply(await reply()).document, { ok: 0, code: 391 })
  client.write(start)
  t.match(readReply(await reply()).document, { ok: 1, done: false })
  client.write(next)
  t.match(readReply(await reply()).document, { ok: 1, done: true })
  client.write(find)
  t.equal((await createFrameReceiver(upstream.far)()).requestID, 4)
  running.destroy(new Fault('proxy/shutdown'))
  await running.closed
  t.equal(clock.waiting(), 0)
})

t.test(
  'a driver that would give 391 to its application is not asked: its connection closes behind a command',
  async t => {
    for (const name of ['mongo-go-driver', 'mongoc / mongocxx', 'nodejsomething']) {
      const upstream = await socketPair(t)
      const live = { match: { maxAgeMS: 60_000 } } as LiveConnection
      const login: Login = async (candidate, over) => ({ ...(await admitted(upstream.near)(candidate, over)), live })
      const { client, reply, clock, stages, closing } = await connected(t, { login })
      client.write(Buffer.concat([helloOf(name), start, next]))
      for (let replies = 0; replies < 3; replies++) await reply()
      await until(() => stages.includes('authenticated'))
      clock.advance(60_000)
      client.write(find)
      t.equal((await createFrameReceiver(upstream.far)()).requestID, 4)
      upstream.far.write(writeMessage({ ok: 1 }, 9, 4))
      t.match(readReply(await reply()).document, { ok: 1 })
      t.match(await closing(), { fault: 'login/expired' }, name)
    }
  },
)

t.test('a member that steps down during a login is away to it', async t => {
  const upstream = await socketPair(t)
  const { term, end } = createTermController()
  const login: Login = async (candidate, over) => {
    end(new Fault('upstream/stepped-down'))
    return { ...(await admitted(upstream.near)(candidate, over)), term }
  }
  const { client, reply, closing, logins } = await connected(t, { login })
  client.write(Buffer.concat([start, next]))
  await reply()
  t.match(readReply(await reply()).document, { ok: 0, code: 6, errorLabels: ['RetryableWriteError'] })
  t.match(await closing(), { fault: 'upstream/unreachable' })
  t.same(logins, ['upstream/unreachable'])
  t.equal(upstream.near.destroyed, true)
})

t.test('a client that resets its connection is the one who closed', async t => {
  const { client, reply, closing } = await connected(t)
  client.write(hello)
  await reply()
  client.resetAndDestroy()
  t.match(await closing(), { by: 'client', stage: 'unauthenticated' })
})

t.test('a bug is answered without its particulars, which the log has', async t => {
  const { client, reply, closing } = await connected(t, {
    login: async () => {
      throw new TypeError('cannot read x of undefined')
    },
  })
  client.write(Buffer.concat([start, next]))
  await reply()
  t.match(readReply(await reply()).document, { ok: 0, code: 8, errmsg: 'internal error of the proxy (connection 5)' })
  t.match(await closing(), { level: 'error', fault: 'internal', stack: /TypeError: cannot read x/ })
})

t.test('no line at any level has the proof, the token or the nonce', async t => {
  const credentials = { accessKeyId: 'ASIAY34FZKBOKMUTVV7A', secretAccessKey: 's', sessionToken: 'FwoGZXIvYXdzEA//t' }
  const nonce = Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32, 0xee)])
  const proof = await signClientFinal(credentials, { nonce, host: HOST })
  for (const login of [
    refusedWith('sts/refused', 'ExpiredToken'),
    refusedWith('internal'),
    refusedWith('login/abandoned'),
  ]) {
    const { client, text, running } = await connected(t, { login })
    client.on('data', () => {})
    client.write(start)
    client.write(
      message(3, { saslContinue: 1, conversationId: 1, payload: new Binary(serialize(proof)), $db: '$external' }),
    )
    await running.closed
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
    let left = 0
    let revoke: LoginRequest['close'] = () => {}
    const { client, reply, closing } = await connected(t, {
      login: (candidate, over) => {
        revoke = candidate.close
        return admitted(upstream.near, () => left++)(candidate, over)
      },
    })
    for (const message of [hello, start, next]) {
      client.write(message)
      await reply()
    }
    t.equal(left, 0)
    if (by === 'client') client.destroy()
    else revoke(new Fault('login/revoked', undefined, { why: 'denied' }))
    const line = await closing()
    t.equal(left, 1, by)
    if (by === 'revoked') t.match(line, { fault: 'login/revoked', level: 'warn' })
  }
})
