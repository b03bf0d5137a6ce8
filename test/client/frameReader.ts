import { EventEmitter, once } from 'node:events'
import type { Socket } from 'node:net'
import { setImmediate as nextIteration } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { FrameReader, type FrameReaderOptions } from '../../src/client/frameReader.js'
import { writeMessage } from '../../src/wire/message.js'
import { faultOfAsync } from '../support/faults.js'
import { socketPair } from '../support/sockets.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const LIMIT = 65_536

const nothing = () => {}
const runAtOnce = (step: () => void) => step()
const createReader = (socket: Socket, options: Partial<FrameReaderOptions> = {}) =>
  new FrameReader(socket, {
    maxBytes: LIMIT,
    onFrameStarted: nothing,
    onClientLeft: nothing,
    schedule: runAtOnce,
    ...options,
  })

/** The reader of a socket that flows, as the listener provides it. `gone` is aborted when the client leaves. */
function createFlowingReader(near: Socket) {
  const leaving = new AbortController()
  const reader = createReader(near, { onClientLeft: () => leaving.abort() })
  near.resume()
  return { next: () => reader.next(), gone: leaving.signal }
}

/** A socket whose events a test emits by hand. */
function createFakeSocket() {
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

t.test('any split into three chunks gives the same frames', async t => {
  for (let i = 0; i < three.length; i++) {
    for (let j = i; j < three.length; j++) {
      const socket = createFakeSocket()
      const reader = createReader(socket)
      for (const chunk of [three.subarray(0, i), three.subarray(i, j), three.subarray(j)]) socket.emit('data', chunk)
      for (const id of [1, 2, 3]) {
        const got = (await reader.next())?.requestID
        if (got !== id) t.fail(`${got} instead of ${id}, cut at ${i} and ${j}`)
      }
    }
  }
  t.pass()
})

t.test('single bytes give the same frames', async t => {
  const socket = createFakeSocket()
  const reader = createReader(socket)
  const ids: (number | undefined)[] = []
  const done = (async () => {
    while (ids.length < 3) ids.push((await reader.next())?.requestID)
  })()
  for (const byte of three) {
    socket.emit('data', Buffer.of(byte))
    await nextIteration()
  }
  await done
  t.same(ids, [1, 2, 3])
})

t.test('frames come in order, also if they arrived before they were requested', async t => {
  const { near, far } = await socketPair(t)
  const reader = createFlowingReader(near)
  far.write(three)
  while (near.bytesRead < three.length) await nextIteration()
  for (const id of [1, 2, 3]) t.equal((await reader.next())?.requestID, id)
})

t.test('frames sent before the client ended its side are returned, then undefined', async t => {
  const { near, far } = await socketPair(t)
  const reader = createFlowingReader(near)
  far.end(three)
  await once(reader.gone, 'abort')
  for (const id of [1, 2, 3]) t.equal((await reader.next())?.requestID, id)
  t.equal(await reader.next(), undefined)
  t.equal(await reader.next(), undefined)
})

t.test('a length out of range is a fault on every call', async t => {
  for (const length of [0, 15, -1, 2 ** 31 - 1, LIMIT + 1, 48_000_000]) {
    const socket = createFakeSocket()
    const reader = createReader(socket)
    const bytes = Buffer.alloc(16)
    bytes.writeInt32LE(length)
    socket.emit('data', bytes)
    for (const _ of [1, 2]) t.equal((await faultOfAsync(() => reader.next()))?.kind, 'frame/length', String(length))
  }
})

t.test('a client that ends its side or closes its socket has left, whether or not a frame is awaited', async t => {
  for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
    const { near, far } = await socketPair(t)
    near.on('error', () => {})
    const reader = createFlowingReader(near)
    t.equal(reader.gone.aborted, false)
    far[leave]()
    await once(reader.gone, 'abort')
    t.equal(await reader.next(), undefined, leave)
  }
})

t.test('a waiting call returns undefined when the client leaves', async t => {
  const { near, far } = await socketPair(t)
  const reader = createFlowingReader(near)
  const frame = reader.next()
  far.write(three.subarray(0, 10))
  far.end()
  t.equal(await frame, undefined)
})

t.test('slow consumption limits how much is read ahead', async t => {
  const socket = createFakeSocket()
  const reader = createReader(socket)
  const chunk = Buffer.concat(Array.from({ length: 1000 }, (_, id) => ping(id)))
  let sent = 0
  for (let taken = 0; taken < 500; taken++) {
    if (!socket.isPaused()) {
      socket.emit('data', chunk)
      sent += chunk.length
    }
    await reader.next()
  }
  t.ok(sent <= 4 * LIMIT, `${sent} bytes read for ${500 * ping(0).length} taken`)
})

t.test('single bytes take little more memory than their length', async t => {
  const socket = createFakeSocket()
  const reader = createReader(socket)
  const used = () => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const before = used()
  for (let n = 0; n < 60_000; n++) socket.emit('data', Buffer.from(new ArrayBuffer(1))) // as Node reads them
  t.ok(used() - before < 1_000_000, 'while no frame is requested and all bytes wait')
  t.equal(reader.release().length, 60_000)
})

t.test('reading resumes once the waiting frames are consumed', async t => {
  const { near, far } = await socketPair(t)
  const reader = createFlowingReader(near)
  const count = 20_000
  far.write(Buffer.concat(Array.from({ length: count }, (_, id) => ping(id))))
  let last: number | undefined
  for (let id = 0; id < count; id++) last = (await reader.next())?.requestID
  t.equal(last, count - 1)
})

t.test('a call that waits within a frame reports that one has started', async t => {
  const socket = createFakeSocket()
  let started = 0
  const reader = createReader(socket, { onFrameStarted: () => started++ })
  const first = reader.next()
  t.equal(started, 0, 'not while there are no bytes')
  socket.emit('data', three.subarray(0, 20))
  await nextIteration()
  t.equal(started, 1)
  socket.emit('data', three.subarray(20, ping(0).length + 3))
  await first
  t.equal(started, 1, 'not for bytes after a frame until the next one is requested')
  const second = reader.next()
  await nextIteration()
  t.equal(started, 2)
  socket.emit('data', three.subarray(ping(0).length + 3))
  await second
  await reader.next()
  t.equal(started, 2)
})

t.test('release returns the remaining bytes, partial frames included, and stops reading', async t => {
  const socket = createFakeSocket()
  const reader = createReader(socket)
  socket.emit('data', three.subarray(0, 100))
  socket.emit('data', three.subarray(100, 110))
  t.equal((await reader.next())?.requestID, 1)
  t.same(reader.release(), three.subarray(ping(0).length, 110))
  t.ok(socket.isPaused())
  t.equal(socket.eventNames().length, 0, 'no listener remains')
})

t.test('a frame is returned when it is scheduled, once however many chunks arrive', async t => {
  const socket = createFakeSocket()
  const steps: (() => void)[] = []
  const reader = createReader(socket, { schedule: step => steps.push(step) })
  let got: number | undefined
  const waits = reader.next().then(frame => {
    got = frame?.requestID
  })
  for (const byte of ping(7)) socket.emit('data', Buffer.of(byte))
  await nextIteration()
  t.equal(got, undefined)
  t.equal(steps.length, 1)
  steps.shift()?.()
  await waits
  t.equal(got, 7)
  socket.emit('data', ping(8))
  t.equal(steps.length, 0, 'no frame is awaited')
  const next = reader.next()
  t.equal(steps.length, 1, 'bytes that arrived earlier are scheduled too: thousands of frames fit into one read')
  steps.shift()?.()
  t.equal((await next)?.requestID, 8)
})

t.test('a client that leaves is noticed at once, without scheduling', async t => {
  const socket = createFakeSocket()
  let left = 0
  const reader = createReader(socket, { onClientLeft: () => left++, schedule: nothing })
  const waits = reader.next()
  socket.emit('end')
  t.equal(left, 1)
  t.equal(await waits, undefined)
})
