import t from 'tap'
import { randomBytes } from '../src/random.js'

t.test('bytes have the requested length and never repeat', async t => {
  const seen = new Set<string>()
  for (let n = 0; n < 2_000; n++) {
    const bytes = randomBytes(n % 2 ? 32 : 24)
    if (bytes.length !== (n % 2 ? 32 : 24)) t.fail(`${bytes.length} bytes`)
    // Compare eight bytes at a time, so that overlapping parts of the pool are found as well.
    for (let at = 0; at + 8 <= bytes.length; at += 8) seen.add(bytes.toString('hex', at, at + 8))
  }
  t.equal(seen.size, 1_000 * 3 + 1_000 * 4)
})

t.test('returned bytes do not change', async t => {
  const first = randomBytes(32)
  const copy = Buffer.from(first)
  for (let n = 0; n < 500; n++) randomBytes(32)
  t.same(first, copy)
})

t.test('more bytes than the pool, as many, and none', async t => {
  for (const size of [5_000, 4_096, 0]) t.equal(randomBytes(size).length, size)
  t.not(randomBytes(4_096).toString('hex'), randomBytes(4_096).toString('hex'))
  t.notOk(randomBytes(5_000).every(byte => byte === 0))
})
