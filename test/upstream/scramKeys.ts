import { pbkdf2Sync } from 'node:crypto'
import { saslprep } from '@mongodb-js/saslprep'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { deriveKeys } from '../../src/sasl/scram.js'
import { createScramKeyCache, type Stretch } from '../../src/upstream/scramKeys.js'
import { faultOfAsync } from '../support/faults.js'

const owner = { upstream: '127.0.0.1:27017', name: 'app', password: new Secret('pencil') }
const salt = Buffer.from('salt')

function counted(entries = 10) {
  const asked: string[] = []
  const stretch: Stretch = async (password, salt, iterations) => {
    asked.push(`${password} ${iterations}`)
    return Buffer.from(`${password}${salt}${iterations}`)
  }
  return { asked, ring: createScramKeyCache({ maxEntries: entries, stretch }) }
}

t.test('the keys are those of PBKDF2 with HMAC-SHA-256', async t => {
  t.same(
    await createScramKeyCache({ maxEntries: 1 }).deriverFor(owner)(salt, 4096),
    deriveKeys(pbkdf2Sync('pencil', salt, 4096, 32, 'sha256')),
  )
})

t.test('keys are remembered only after the server has proven to know them', async t => {
  const { asked, ring } = counted()
  const keys = await ring.deriverFor(owner)(salt, 5000)
  await ring.deriverFor(owner)(salt, 5000)
  t.equal(asked.length, 2, 'derived again: nobody has verified the first')
  ring.store(owner, { salt, iterations: 5000, keys })
  t.equal(await ring.deriverFor(owner)(salt, 5000), keys)
  t.equal(asked.length, 2)
})

t.test('another upstream, user, password, salt or count is another entry', async t => {
  const { asked, ring } = counted()
  ring.store(owner, { salt, iterations: 5000, keys: await ring.deriverFor(owner)(salt, 5000) })
  await ring.deriverFor({ ...owner, upstream: '127.0.0.1:27018' })(salt, 5000)
  await ring.deriverFor({ ...owner, name: 'other' })(salt, 5000)
  await ring.deriverFor({ ...owner, password: new Secret('changed') })(salt, 5000)
  await ring.deriverFor(owner)(Buffer.from('pepper'), 5000)
  await ring.deriverFor(owner)(salt, 5001)
  t.equal(asked.length, 6)
})

t.test('logins that come at once share one derivation', async t => {
  const { asked, ring } = counted()
  const derive = ring.deriverFor(owner)
  const [one, two] = await Promise.all([derive(salt, 5000), derive(salt, 5000)])
  t.equal(one, two)
  t.equal(asked.length, 1)
})

t.test('the memory is bounded, the longest unused going first', async t => {
  const { asked, ring } = counted(2)
  for (const name of ['a', 'b', 'c']) {
    ring.store(
      { ...owner, name },
      { salt, iterations: 5000, keys: await ring.deriverFor({ ...owner, name })(salt, 5000) },
    )
  }
  await ring.deriverFor({ ...owner, name: 'c' })(salt, 5000)
  t.equal(asked.length, 3)
  await ring.deriverFor({ ...owner, name: 'a' })(salt, 5000)
  t.equal(asked.length, 4)
})

t.test('SASLprep leaves printable ASCII as it is, so it is not asked', async t => {
  const ascii = Array.from({ length: 95 }, (_, n) => String.fromCharCode(32 + n)).join('')
  t.equal(saslprep(ascii), ascii)
  for (const letter of ascii) t.equal(saslprep(letter), letter)
})

t.test('a password goes through SASLprep, and one that cannot is refused without being shown', async t => {
  const { asked, ring } = counted()
  await ring.deriverFor({ ...owner, password: new Secret('pass\u00adword \u2168') })(salt, 5000)
  t.same(asked, ['password IX 5000'])
  const fault = await faultOfAsync(() => ring.deriverFor({ ...owner, password: new Secret('bell\u0007') })(salt, 5000))
  t.equal(fault?.kind, 'upstream/authentication-failed')
  t.notMatch(JSON.stringify([fault?.facts, fault?.message]), 'bell')
})
