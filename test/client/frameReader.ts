import { EventEmitter, once } from 'node:events'
import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Inbox, type Parts } from '../../src/client/frameReader.js'
import { writeMessage } from '../../src/wire/message.js'
import { faultOfAsync } from '../support/faults.js'
import { socketPair } from '../support/sockets.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const LIMIT = 65_536

const nothing = () => {}
const atOnce = (step: () => void) => step()
const inbox = (socket: Socket, wanted: Partial<Parts> = {}) =>
  new Inbox(socket, { limit: LIMIT, begun: nothing, left: nothing, inTurn: atOnce, ...wanted })

/** The inbox of a socket that flows, as the listener gives it. `gone` is aborted when the client leaves. */
function reading(near: Socket) {
  const leaving = new AbortController()
  const box = inbox(near, { left: () => leaving.abort() })
  near.resume()
  return { next: () => box.next(), gone: leaving.signal }
}

/** A socket that delivers what a test hands it, at once, and counts what it was made to. */
function handSocket() {
  let paused = false
  const socket = Object.assign(new EventEmitter(), {
    pause: () => (paused = true),
    resume: () => (paused = false),
    isPaused: () => paused,
  })
  return socket as typeof socket & Socket
}

const ping = (id: number) => writeMessage({ ping: 1, $db: 'admin' }, id)
const three = Buffer.concat([1, 2, 3].map(ping))

t.test('every two-cut split gives the same frames', async t => {
  for (let i = 0; i < three.length; i++) {
    for (let j = i; j < three.length; j++) {
      const socket = handSocket()
      const box = inbox(socket)
      for (const chunk of [three.subarray(0, i), three.subarray(i, j), three.subarray(j)]) socket.emit('data', chunk)
      for (const id of [1, 2, 3]) {
        const got = (await box.next())?.requestID
        if (got !== id) t.fail(`${got} instead of ${id}, cut at ${i} and ${j}`)
      }
    }
  }
  t.pass()
})

t.test('one byte at a time gives the same frames', async t => {
  const socket = handSocket()
  const box = inbox(socket)
  const ids: (number | undefined)[] = []
  const done = (async () => {
    while (ids.length < 3) ids.push((await box.next())?.requestID)
  })()
  for (const byte of three) {
    socket.emit('data', Buffer.of(byte))
    await turn()
  }
  await done
  t.same(ids, [1, 2, 3])
})

t.test('frames come in order, also when nobody waits for them', async t => {
  const { near, far } = await socketPair(t)
  const box = reading(near)
  far.write(three)
  while (near.bytesRead < three.length) await turn()
  for (const id of [1, 2, 3]) t.equal((await box.next())?.requestID, id)
})

t.test('what was sent before the client ended its side is still given, then nothing', async t => {
  const { near, far } = await socketPair(t)
  const box = reading(near)
  far.end(three)
  await once(box.gone, 'abort')
  for (const id of [1, 2, 3]) t.equal((await box.next())?.requestID, id)
  t.equal(await box.next(), undefined)
  t.equal(await box.next(), undefined)
})

t.test('a length out of range is a fault, and stays one', async t => {
  for (const length of [0, 15, -1, 2 ** 31 - 1, LIMIT + 1, 48_000_000]) {
    const socket = handSocket()
    const box = inbox(socket)
    const bytes = Buffer.alloc(16)
    bytes.writeInt32LE(length)
    socket.emit('data', bytes)
    for (const _ of [1, 2]) t.equal((await faultOfAsync(() => box.next()))?.kind, 'frame/length', String(length))
  }
})

t.test('the client is gone when it ends its side and when its socket closes, asked or not', async t => {
  for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
    const { near, far } = await socketPair(t)
    near.on('error', () => {})
    const box = reading(near)
    t.equal(box.gone.aborted, false)
    far[leave]()
    await once(box.gone, 'abort')
    t.equal(await box.next(), undefined, leave)
  }
})

t.test('somebody who waits is told when the client leaves', async t => {
  const { near, far } = await socketPair(t)
  const box = reading(near)
  const frame = box.next()
  far.write(three.subarray(0, 10))
  far.end()
  t.equal(await frame, undefined)
})

t.test('however slowly frames are taken, little is read ahead of them', async t => {
  const socket = handSocket()
  const box = inbox(socket)
  const chunk = Buffer.concat(Array.from({ length: 1000 }, (_, id) => ping(id)))
  let sent = 0
  for (let taken = 0; taken < 500; taken++) {
    if (!socket.isPaused()) {
      socket.emit('data', chunk)
      sent += chunk.length
    }
    await box.next()
  }
  t.ok(sent <= 4 * LIMIT, `${sent} bytes read for ${500 * ping(0).length} taken`)
})

t.test('bytes that come one at a time take little more room than they are long', async t => {
  const socket = handSocket()
  const box = inbox(socket)
  const used = () => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const before = used()
  for (let n = 0; n < 60_000; n++) socket.emit('data', Buffer.from(new ArrayBuffer(1))) // as node reads them
  t.ok(used() - before < 1_000_000, 'nobody asks for a frame, and all of it lies here')
  t.equal(box.release().length, 60_000)
})

t.test('reading goes on once what was held has been taken', async t => {
  const { near, far } = await socketPair(t)
  const box = reading(near)
  const count = 20_000
  far.write(Buffer.concat(Array.from({ length: count }, (_, id) => ping(id))))
  let last: number | undefined
  for (let id = 0; id < count; id++) last = (await box.next())?.requestID
  t.equal(last, count - 1)
})

t.test('somebody who has to wait within a frame is told that one has begun', async t => {
  const socket = handSocket()
  let begun = 0
  const box = inbox(socket, { begun: () => begun++ })
  const first = box.next()
  t.equal(begun, 0, 'not while there is nothing')
  socket.emit('data', three.subarray(0, 20))
  await turn()
  t.equal(begun, 1)
  socket.emit('data', three.subarray(20, ping(0).length + 3))
  await first
  t.equal(begun, 1, 'not by what is behind a frame, as long as nobody asks for it')
  const second = box.next()
  await turn()
  t.equal(begun, 2)
  socket.emit('data', three.subarray(ping(0).length + 3))
  await second
  await box.next()
  t.equal(begun, 2)
})

t.test('what was not taken is given back, half frames too, and reading stops', async t => {
  const socket = handSocket()
  const box = inbox(socket)
  socket.emit('data', three.subarray(0, 100))
  socket.emit('data', three.subarray(100, 110))
  t.equal((await box.next())?.requestID, 1)
  t.same(box.release(), three.subarray(ping(0).length, 110))
  t.ok(socket.isPaused())
  t.equal(socket.eventNames().length, 0, 'no listener is left')
})

t.test('who waits for a frame has it in its turn, of which there is one however many chunks come', async t => {
  const socket = handSocket()
  const turns: (() => void)[] = []
  const box = inbox(socket, { inTurn: step => turns.push(step) })
  let got: number | undefined
  const waits = box.next().then(frame => {
    got = frame?.requestID
  })
  for (const byte of ping(7)) socket.emit('data', Buffer.of(byte))
  await turn()
  t.equal(got, undefined)
  t.equal(turns.length, 1)
  turns.shift()?.()
  await waits
  t.equal(got, 7)
  socket.emit('data', ping(8))
  t.equal(turns.length, 0, 'nobody waits')
  const next = box.next()
  t.equal(turns.length, 1, 'what lies there already has its turn, too: thousands fit into one read')
  turns.shift()?.()
  t.equal((await next)?.requestID, 8)
})

t.test('a client that leaves is noticed at once, whoever has the turn', async t => {
  const socket = handSocket()
  let left = 0
  const box = inbox(socket, { left: () => left++, inTurn: nothing })
  const waits = box.next()
  socket.emit('end')
  t.equal(left, 1)
  t.equal(await waits, undefined)
})
