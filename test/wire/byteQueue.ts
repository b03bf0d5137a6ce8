import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { ByteQueue } from '../../src/wire/byteQueue.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Memory as node reads it off a socket: each chunk has its own. */
const chunk = (length: number, byte: number) => Buffer.from(new ArrayBuffer(length)).fill(byte)

t.test('what is taken is what was added, whatever the pieces', async t => {
  const sizes = [0, 1, 3, 100, 4095, 4096, 4097, 9000]
  let seed = 7
  const chance = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  for (let round = 0; round < 300; round++) {
    const pieces = new ByteQueue()
    let wanted = Buffer.alloc(0)
    const given: [Buffer, Buffer][] = []
    for (let step = 0; step < 40; step++) {
      if (chance(3) > 0) {
        const bytes = chunk(sizes[chance(sizes.length)] as number, chance(256))
        pieces.push(bytes)
        wanted = Buffer.concat([wanted, bytes])
      } else {
        const length = chance(pieces.length + 1)
        if (length >= 4 && !pieces.peek(4).subarray(0, 4).equals(wanted.subarray(0, 4))) t.fail('another beginning')
        given.push([pieces.read(length), wanted.subarray(0, length)])
        wanted = wanted.subarray(length)
      }
      if (pieces.length !== wanted.length) t.fail('another length')
    }
    given.push([pieces.read(pieces.length), wanted])
    // Only now, since what was taken must not change afterwards.
    if (!given.every(([got, expected]) => got.equals(expected))) t.fail(`round ${round}`)
    t.equal(pieces.length, 0)
  }
})

t.test('one chunk alone is not copied', async t => {
  const pieces = new ByteQueue()
  const bytes = chunk(100, 1)
  pieces.push(bytes)
  t.equal(pieces.peek(100), bytes)
  t.equal(pieces.read(100).buffer, bytes.buffer)
})

t.test('bytes that come one at a time take little more room than they are long', async t => {
  collect()
  const used = () => {
    collect()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const before = used()
  const pieces = new ByteQueue()
  for (let n = 0; n < 60_000; n++) pieces.push(chunk(1, n))
  const more = used() - before
  t.equal(pieces.length, 60_000)
  t.ok(more < 500_000, `${more} bytes`)
})
