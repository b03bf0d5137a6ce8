import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import { Sha256 } from '../../src/aws/sha256.js'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

t.test('without a secret it is the hash, with one the HMAC', async t => {
  const [hash, hmac] = [new Sha256(), new Sha256('secret')]
  hash.update('abc')
  hmac.update('abc')
  t.equal(hex(await hash.digest()), createHash('sha256').update('abc').digest('hex'))
  t.equal(hex(await hmac.digest()), createHmac('sha256', 'secret').update('abc').digest('hex'))
})

t.test('a view is hashed with its own offset and length', async t => {
  const whole = Uint8Array.from([9, 9, 1, 2, 3, 9])
  const hmac = new Sha256(whole.subarray(2, 5))
  hmac.update(whole.subarray(2, 5))
  const bytes = Buffer.of(1, 2, 3)
  t.equal(hex(await hmac.digest()), createHmac('sha256', bytes).update(bytes).digest('hex'))
})

t.test('reset discards the data and keeps the secret', async t => {
  const hmac = new Sha256('secret')
  hmac.update('something else')
  hmac.reset()
  hmac.update('abc')
  t.equal(hex(await hmac.digest()), createHmac('sha256', 'secret').update('abc').digest('hex'))
})
