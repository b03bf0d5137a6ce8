import { pbkdf2Sync } from 'node:crypto'
import { saslprep } from '@mongodb-js/saslprep'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { deriveKeys } from '../../src/sasl/scram.js'
import { createScramKeyCache, type Stretch } from '../../src/upstream/scramKeys.js'
import { faultOfAsync } from '../support/faults.js'

const credentials = { upstream: '127.0.0.1:27017', name: 'app', password: new Secret('pencil') }
const salt = Buffer.from('salt')

function createCountingCache(maxEntries = 10) {
  const derivations: string[] = []
  const stretch: Stretch = async (password, salt, iterations) => {
    derivations.push(`${password} ${iterations}`)
    return Buffer.from(`${password}${salt}${iterations}`)
  }
  return { derivations, cache: createScramKeyCache({ maxEntries, stretch }) }
}

t.test('the keys are those of PBKDF2 with HMAC-SHA-256', async t => {
  t.same(
    await createScramKeyCache({ maxEntries: 1 }).deriverFor(credentials)(salt, 4096),
    deriveKeys(pbkdf2Sync('pencil', salt, 4096, 32, 'sha256')),
  )
})

t.test('keys are cached only after a server has proven that it knows them', async t => {
  const { derivations, cache } = createCountingCache()
  const keys = await cache.deriverFor(credentials)(salt, 5000)
  await cache.deriverFor(credentials)(salt, 5000)
  t.equal(derivations.length, 2, 'derived again, since no server has verified the first')
  cache.store(credentials, { salt, iterations: 5000, keys })
  t.equal(await cache.deriverFor(credentials)(salt, 5000), keys)
  t.equal(derivations.length, 2)
})

t.test('each upstream, user, password, salt and iteration count has an entry of its own', async t => {
  const { derivations, cache } = createCountingCache()
  cache.store(credentials, { salt, iterations: 5000, keys: await cache.deriverFor(credentials)(salt, 5000) })
  await cache.deriverFor({ ...credentials, upstream: '127.0.0.1:27018' })(salt, 5000)
  await cache.deriverFor({ ...credentials, name: 'other' })(salt, 5000)
  await cache.deriverFor({ ...credentials, password: new Secret('changed') })(salt, 5000)
  await cache.deriverFor(credentials)(Buffer.from('pepper'), 5000)
  await cache.deriverFor(credentials)(salt, 5001)
  t.equal(derivations.length, 6)
})

t.test('concurrent logins share one derivation', async t => {
  const { derivations, cache } = createCountingCache()
  const derive = cache.deriverFor(credentials)
  const [one, two] = await Promise.all([derive(salt, 5000), derive(salt, 5000)])
  t.equal(one, two)
  t.equal(derivations.length, 1)
})

t.test('the cache is bounded and evicts the least recently used keys', async t => {
  const { derivations, cache } = createCountingCache(2)
  for (const name of ['a', 'b', 'c']) {
    cache.store(
      { ...credentials, name },
      { salt, iterations: 5000, keys: await cache.deriverFor({ ...credentials, name })(salt, 5000) },
    )
  }
  await cache.deriverFor({ ...credentials, name: 'c' })(salt, 5000)
  t.equal(derivations.length, 3)
  await cache.deriverFor({ ...credentials, name: 'a' })(salt, 5000)
  t.equal(derivations.length, 4)
})

t.test('SASLprep leaves printable ASCII unchanged, so it can be skipped', async t => {
  const ascii = Array.from({ length: 95 }, (_, n) => String.fromCharCode(32 + n)).join('')
  t.equal(saslprep(ascii), ascii)
  for (const letter of ascii) t.equal(saslprep(letter), letter)
})

t.test('a password is prepared with SASLprep, and a prohibited one is rejected without being repeated', async t => {
  const { derivations, cache } = createCountingCache()
  await cache.deriverFor({ ...credentials, password: new Secret('pass\u00adword \u2168') })(salt, 5000)
  t.same(derivations, ['password IX 5000'])
  const fault = await faultOfAsync(() =>
    cache.deriverFor({ ...credentials, password: new Secret('bell\u0007') })(salt, 5000),
  )
  t.equal(fault?.kind, 'upstream/authentication-failed')
  t.notMatch(JSON.stringify([fault?.facts, fault?.message]), 'bell')
})
