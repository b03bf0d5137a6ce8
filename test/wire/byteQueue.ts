import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { ByteQueue } from '../../src/wire/byteQueue.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** A chunk with its own memory, as Node reads it from a socket. */
const chunk = (length: number, byte: number) => Buffer.from(new ArrayBuffer(length)).fill(byte)

t.test('the bytes that are read are those that were added, whatever the chunks', async t => {
  const sizes = [0, 1, 3, 100, 4095, 4096, 4097, 9000]
  let seed = 7
  const randomBelow = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  for (let round = 0; round < 300; round++) {
    const queue = new ByteQueue()
    let expected = Buffer.alloc(0)
    const reads: [Buffer, Buffer][] = []
    for (let step = 0; step < 40; step++) {
      if (randomBelow(3) > 0) {
        const bytes = chunk(sizes[randomBelow(sizes.length)] as number, randomBelow(256))
        queue.push(bytes)
        expected = Buffer.concat([expected, bytes])
      } else {
        const length = randomBelow(queue.length + 1)
        if (length >= 4 && !queue.peek(4).subarray(0, 4).equals(expected.subarray(0, 4))) t.fail('another prefix')
        reads.push([queue.read(length), expected.subarray(0, length)])
        expected = expected.subarray(length)
      }
      if (queue.length !== expected.length) t.fail('another length')
    }
    reads.push([queue.read(queue.length), expected])
    // Compared at the end: bytes that were read must not change later.
    if (!reads.every(([actual, wanted]) => actual.equals(wanted))) t.fail(`round ${round}`)
    t.equal(queue.length, 0)
  }
})

t.test('a single chunk is not copied', async t => {
  const queue = new ByteQueue()
  const bytes = chunk(100, 1)
  queue.push(bytes)
  t.equal(queue.peek(100), bytes)
  t.equal(queue.read(100).buffer, bytes.buffer)
})

t.test('bytes that arrive one at a time need little more memory than their length', async t => {
  collect()
  const used = () => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const before = used()
  const queue = new ByteQueue()
  for (let n = 0; n < 60_000; n++) queue.push(chunk(1, n))
  const more = used() - before
  t.equal(queue.length, 60_000)
  t.ok(more < 500_000, `${more} bytes`)
})
