import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect as connectTCP, createServer, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { connect as connectTLS, createServer as createTLSServer } from 'node:tls'
import t, { type Test } from 'tap'
import { type ChunkConsumer, ReadBuffer } from '../../src/upstream/readBuffer.js'
import { socketPair } from '../support/sockets.js'

const pem = readFileSync(new URL('../support/tls/upstream.pem', import.meta.url))

/** An upstream's end, and the other one, which is read by a ReadBuffer. */
async function pair(t: Test, tls: boolean, reader: ChunkConsumer): Promise<{ upstream: Socket; near: Socket }> {
  const server = tls ? createTLSServer({ cert: pem, key: pem }) : createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const readBuffer = new ReadBuffer()
  readBuffer.setConsumer(reader)
  const where = { port: (server.address() as AddressInfo).port, host: '127.0.0.1', onread: readBuffer.onread }
  const near = tls ? connectTLS({ ...where, rejectUnauthorized: false }) : connectTCP(where)
  const [[upstream]] = (await Promise.all([
    once(server, tls ? 'secureConnection' : 'connection'),
    once(near, tls ? 'secureConnect' : 'connect'),
  ])) as [[Socket], unknown]
  server.close()
  t.teardown(() => {
    near.destroy()
    upstream.destroy()
  })
  return { upstream, near }
}

/** Bytes that tell their place. */
function told(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeInt32LE(at, at)
  return bytes
}

for (const tls of [false, true]) {
  const over = tls ? 'over TLS' : 'plain'

  t.test(`all that comes is taken, in order, ${over}`, async t => {
    const sent = told(3_000_000)
    const taken: Buffer[] = []
    let left = sent.length
    let done = (): void => {}
    const all = new Promise<void>(resolve => {
      done = resolve
    })
    const { upstream, near } = await pair(t, tls, {
      onChunk(bytes) {
        taken.push(Buffer.from(bytes))
        left -= bytes.length
        if (left === 0) done()
      },
      retainsChunks: () => false,
      expectedBytes: () => left,
    })
    near.resume()
    upstream.write(sent)
    await all
    t.ok(Buffer.concat(taken).equals(sent))
  })

  t.test(`a slow sink gets what was sent, though memory is used again, ${over}`, async t => {
    const sent = told(8_000_000)
    const { near: client, far } = await socketPair(t)
    let left = sent.length
    const { upstream, near } = await pair(t, tls, {
      onChunk(bytes) {
        left -= bytes.length
        if (client.write(bytes)) return
        near.pause()
        client.once('drain', () => near.resume())
      },
      retainsChunks: () => client.writableLength > 0,
      expectedBytes: () => left,
    })
    near.resume()
    upstream.write(sent)
    const got: Buffer[] = []
    let count = 0
    while (count < sent.length) {
      const bytes: Buffer | null = far.read()
      if (bytes) {
        got.push(bytes)
        count += bytes.length
      }
      await turn() // so that the sink is full now and then
    }
    t.ok(Buffer.concat(got).equals(sent))
  })
}

/** An readBuffer as node uses it: what it gives to read into, and what was read. */
function used(t: Test, reader: Partial<ChunkConsumer>) {
  const taken: Buffer[] = []
  const readBuffer = new ReadBuffer()
  const { onChunk: take, retainsChunks: holds = () => false, expectedBytes: awaits = () => 0 } = reader
  readBuffer.setConsumer({
    onChunk(bytes) {
      taken.push(bytes)
      take?.(bytes)
    },
    retainsChunks: holds,
    expectedBytes: awaits,
  })
  const next = readBuffer.onread.buffer as () => Buffer
  let memory = next()
  t.equal(memory.length, 4096)
  return {
    /** Reads so many bytes; gives what was taken, and the memory for the next ones. */
    read(length: number) {
      const [before, into] = [taken.length, memory]
      readBuffer.onread.callback(length, memory)
      memory = next()
      const got = taken[before] as Buffer
      return { same: memory === into, memory, into, copied: got.buffer !== into.buffer }
    },
  }
}

t.test('the same memory is used again, small while little is awaited and large else', async t => {
  let awaited = 0
  const { read } = used(t, { expectedBytes: () => awaited })
  t.match(read(10), { same: true, copied: false })
  awaited = 100_000
  const large = read(4096).memory
  t.equal(large.length, 65_536)
  t.match(read(65_536), { same: true, copied: false })
  awaited = 10
  t.equal(read(65_536).memory.length, 4096)
  awaited = 100_000
  t.equal(read(4096).memory, large, 'a large one serves the next who has a use for it')
})

t.test('what is held is not written over; what comes behind it is copied', async t => {
  let held = false
  const { read } = used(t, {
    onChunk() {
      held = true
    },
    retainsChunks: () => held,
  })
  const first = read(10)
  t.match(first, { same: false, copied: false })
  t.match(read(10), { same: true, copied: true })
  t.match(read(10), { same: true, copied: true }, 'so that many small ones do not hold on to much memory')
  held = false
  const second = read(10)
  t.match(second, { same: false, copied: false, memory: first.into }, 'and then the first one is used again')
})

t.test('one that lies idle behind a large reply keeps little, though the reply was still held', async t => {
  let awaited = 0
  let held = false
  const { read } = used(t, {
    onChunk: () => {
      held = true
    },
    retainsChunks: () => held,
    expectedBytes: () => awaited,
  })
  awaited = 100_000
  const { memory } = read(4096)
  held = false
  awaited = 0
  const last = read(50_000)
  t.equal(last.into, memory)
  t.equal(last.memory.length, 4096)
  held = false
  awaited = 100_000
  t.not(read(10).memory, memory, 'it is not given back later, when it is long gone')
})
