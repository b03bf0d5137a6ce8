import t from 'tap'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import { createIdentityCache, type IdentityCacheKey } from '../../src/identity/identityCache.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'

const alice = { canonical: 'arn:aws:iam::123456789012:role/alice' } as Identity
const bob = { canonical: 'arn:aws:iam::123456789012:role/bob' } as Identity
const fingerprintOf = createCredentialFingerprinter(Buffer.alloc(32))

function login(
  options: Partial<{ certificate: string | undefined; accessKeyId: string; token: string | undefined }> = {},
) {
  const { certificate, accessKeyId, token } = {
    certificate: 'AA:BB',
    accessKeyId: 'ASIASP2TPHJSQH3FJXYZ',
    token: 'token',
    ...options,
  }
  const credential = { accessKeyId, token: token === undefined ? undefined : new Secret(token) }
  return { ...credential, certificate, fingerprint: fingerprintOf(credential) } satisfies IdentityCacheKey
}

function create(ttlMS = 60_000, maxEntries = 10) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createIdentityCache({ ttlMS, maxEntries, now: clock.now }) }
}

t.test('an entry expires after its lifetime, however often it is used', async t => {
  const { clock, lookUp } = create(30_000)
  const first = lookUp(login())
  t.equal(first.identity, undefined)
  first.store(alice)
  for (let i = 0; i < 29; i++) {
    clock.advance(1_000)
    t.equal(lookUp(login()).identity, alice)
  }
  clock.advance(1_000)
  t.equal(lookUp(login()).identity, undefined)
})

t.test('the lifetime begins before the call to STS, not with the answer', async t => {
  const { clock, lookUp } = create(10_000)
  const { store } = lookUp(login())
  clock.advance(3_000)
  store(alice)
  clock.advance(6_999)
  t.equal(lookUp(login()).identity, alice)
  clock.advance(1)
  t.equal(lookUp(login()).identity, undefined)
})

t.test('the lifetime is at most a minute, whatever the setting', async t => {
  const { clock, lookUp } = create(3_600_000)
  lookUp(login()).store(alice)
  clock.advance(59_999)
  t.equal(lookUp(login()).identity, alice)
  clock.advance(1)
  t.equal(lookUp(login()).identity, undefined)
})

t.test('without a certificate, with a long-term key or without a token nothing is cached', async t => {
  const { lookUp } = create()
  for (const other of [
    login({ certificate: undefined }),
    login({ certificate: '' }),
    login({ accessKeyId: 'AKIASP2TPHJSQH3FJXYZ', token: undefined }),
    login({ accessKeyId: 'AKIASP2TPHJSQH3FJXYZ' }),
    login({ token: undefined }),
  ]) {
    lookUp(other).store(alice)
    t.equal(lookUp(other).identity, undefined, JSON.stringify(other))
  }
})

t.test('another certificate, key or token has another entry', async t => {
  const { lookUp } = create()
  lookUp(login()).store(alice)
  t.equal(lookUp(login({ certificate: 'CC:DD' })).identity, undefined)
  t.equal(lookUp(login({ accessKeyId: 'ASIASP2TPHJSQH3FJXYA' })).identity, undefined)
  t.equal(lookUp(login({ token: 'another' })).identity, undefined)
  lookUp(login({ certificate: 'CC:DD' })).store(bob)
  t.equal(lookUp(login()).identity, alice)
})

t.test('a lifetime of 0 disables the cache', async t => {
  const { lookUp } = create(0)
  lookUp(login()).store(alice)
  t.equal(lookUp(login()).identity, undefined)
})

t.test('clearing removes all entries, and those of calls in flight are not stored', async t => {
  const { lookUp, clear } = create()
  lookUp(login()).store(alice)
  const inFlight = lookUp(login({ token: 'another' }))
  clear()
  t.equal(lookUp(login()).identity, undefined)
  inFlight.store(bob)
  t.equal(lookUp(login({ token: 'another' })).identity, undefined)
  lookUp(login()).store(alice)
  t.equal(lookUp(login()).identity, alice, 'later entries are stored')
})

t.test('the number of entries is bounded', async t => {
  const { lookUp } = create(60_000, 2)
  for (const token of ['a', 'b', 'c']) lookUp(login({ token })).store(alice)
  t.equal(lookUp(login({ token: 'a' })).identity, undefined)
  t.equal(lookUp(login({ token: 'c' })).identity, alice)
})
