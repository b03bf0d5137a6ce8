import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect as connectTCP, createServer, type Socket } from 'node:net'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { connect as connectTLS, createServer as createTLSServer } from 'node:tls'
import t, { type Test } from 'tap'
import { type ChunkConsumer, ReadBuffer } from '../../src/upstream/readBuffer.js'
import { socketPair } from '../support/sockets.js'

const pem = readFileSync(new URL('../support/tls/upstream.pem', import.meta.url))

/** A socket of the upstream, and the peer, which reads into a ReadBuffer. */
async function connectPair(
  t: Test,
  tls: boolean,
  consumer: ChunkConsumer,
): Promise<{ upstream: Socket; near: Socket }> {
  const server = tls ? createTLSServer({ cert: pem, key: pem }) : createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const readBuffer = new ReadBuffer()
  readBuffer.setConsumer(consumer)
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

/** Bytes that encode their own offsets. */
function numberedBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeInt32LE(at, at)
  return bytes
}

for (const tls of [false, true]) {
  const over = tls ? 'over TLS' : 'plain'

  t.test(`the consumer gets all bytes in order, ${over}`, async t => {
    const sent = numberedBytes(3_000_000)
    const received: Buffer[] = []
    let left = sent.length
    let done = (): void => {}
    const all = new Promise<void>(resolve => {
      done = resolve
    })
    const { upstream, near } = await connectPair(t, tls, {
      onChunk(bytes) {
        received.push(Buffer.from(bytes))
        left -= bytes.length
        if (left === 0) done()
      },
      retainsChunks: () => false,
      expectedBytes: () => left,
    })
    near.resume()
    upstream.write(sent)
    await all
    t.ok(Buffer.concat(received).equals(sent))
  })

  t.test(`a slow sink gets the bytes that were sent although buffers are reused, ${over}`, async t => {
    const sent = numberedBytes(8_000_000)
    const { near: client, far } = await socketPair(t)
    let left = sent.length
    const { upstream, near } = await connectPair(t, tls, {
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
      await yieldToEventLoop() // lets the sink fill up
    }
    t.ok(Buffer.concat(got).equals(sent))
  })
}

/** A ReadBuffer as Node uses it: the buffers to read into, and the chunks that the consumer got. */
function createReads(t: Test, consumer: Partial<ChunkConsumer>) {
  const received: Buffer[] = []
  const readBuffer = new ReadBuffer()
  const { onChunk, retainsChunks = () => false, expectedBytes = () => 0 } = consumer
  readBuffer.setConsumer({
    onChunk(bytes) {
      received.push(bytes)
      onChunk?.(bytes)
    },
    retainsChunks,
    expectedBytes,
  })
  const next = readBuffer.onread.buffer as () => Buffer
  let buffer = next()
  t.equal(buffer.length, 4096)
  return {
    /** Reads so many bytes. Returns what the consumer got, and the buffer for the next read. */
    read(length: number) {
      const [before, into] = [received.length, buffer]
      readBuffer.onread.callback(length, buffer)
      buffer = next()
      const got = received[before] as Buffer
      return { same: buffer === into, buffer, into, copied: got.buffer !== into.buffer }
    },
  }
}

t.test('the same buffer is reused; it is small while few bytes are expected and large otherwise', async t => {
  let expected = 0
  const { read } = createReads(t, { expectedBytes: () => expected })
  t.match(read(10), { same: true, copied: false })
  expected = 100_000
  const large = read(4096).buffer
  t.equal(large.length, 65_536)
  t.match(read(65_536), { same: true, copied: false })
  expected = 10
  t.equal(read(65_536).buffer.length, 4096)
  expected = 100_000
  t.equal(read(4096).buffer, large, 'a spare large buffer is reused')
})

t.test('a retained buffer is not overwritten, and later chunks are copied', async t => {
  let retained = false
  const { read } = createReads(t, {
    onChunk() {
      retained = true
    },
    retainsChunks: () => retained,
  })
  const first = read(10)
  t.match(first, { same: false, copied: false })
  t.match(read(10), { same: true, copied: true })
  t.match(read(10), { same: true, copied: true }, 'small chunks do not keep large buffers alive')
  retained = false
  const second = read(10)
  t.match(second, { same: false, copied: false, buffer: first.into }, 'the first buffer is used again')
})

t.test('an idle connection keeps no large buffer, even if the last reply was retained', async t => {
  let expected = 0
  let retained = false
  const { read } = createReads(t, {
    onChunk: () => {
      retained = true
    },
    retainsChunks: () => retained,
    expectedBytes: () => expected,
  })
  expected = 100_000
  const { buffer } = read(4096)
  retained = false
  expected = 0
  const last = read(50_000)
  t.equal(last.into, buffer)
  t.equal(last.buffer.length, 4096)
  retained = false
  expected = 100_000
  t.not(read(10).buffer, buffer, 'a dropped buffer is not recycled later')
})
