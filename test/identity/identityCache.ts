import t from 'tap'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import { createIdentityCache, type IdentityCacheKey } from '../../src/identity/identityCache.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'

const alice = { canonical: 'arn:aws:iam::123456789012:role/alice' } as Identity
const bob = { canonical: 'arn:aws:iam::123456789012:role/bob' } as Identity
const label = createCredentialFingerprinter(Buffer.alloc(32))

function bearer(
  wanted: Partial<{ certificate: string | undefined; accessKeyId: string; token: string | undefined }> = {},
) {
  const { certificate, accessKeyId, token } = {
    certificate: 'AA:BB',
    accessKeyId: 'ASIASP2TPHJSQH3FJXYZ',
    token: 'token',
    ...wanted,
  }
  const credential = { accessKeyId, token: token === undefined ? undefined : new Secret(token) }
  return { ...credential, certificate, fingerprint: label(credential) } satisfies IdentityCacheKey
}

function memory(ms = 60_000, entries = 10) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createIdentityCache({ ttlMS: ms, maxEntries: entries, now: clock.now }) }
}

t.test('a success is remembered for its time, and no longer however often it is used', async t => {
  const { clock, lookUp } = memory(30_000)
  const first = lookUp(bearer())
  t.equal(first.identity, undefined)
  first.store(alice)
  for (let i = 0; i < 29; i++) {
    clock.advance(1_000)
    t.equal(lookUp(bearer()).identity, alice)
  }
  clock.advance(1_000)
  t.equal(lookUp(bearer()).identity, undefined)
})

t.test('its time begins before STS is asked, not when it answers', async t => {
  const { clock, lookUp } = memory(10_000)
  const { store } = lookUp(bearer())
  clock.advance(3_000)
  store(alice)
  clock.advance(6_999)
  t.equal(lookUp(bearer()).identity, alice)
  clock.advance(1)
  t.equal(lookUp(bearer()).identity, undefined)
})

t.test('whatever is asked for, a minute is the end', async t => {
  const { clock, lookUp } = memory(3_600_000)
  lookUp(bearer()).store(alice)
  clock.advance(59_999)
  t.equal(lookUp(bearer()).identity, alice)
  clock.advance(1)
  t.equal(lookUp(bearer()).identity, undefined)
})

t.test('without a certificate, with a long-term key or without a token nothing is remembered', async t => {
  const { lookUp } = memory()
  for (const other of [
    bearer({ certificate: undefined }),
    bearer({ certificate: '' }),
    bearer({ accessKeyId: 'AKIASP2TPHJSQH3FJXYZ', token: undefined }),
    bearer({ accessKeyId: 'AKIASP2TPHJSQH3FJXYZ' }),
    bearer({ token: undefined }),
  ]) {
    lookUp(other).store(alice)
    t.equal(lookUp(other).identity, undefined, JSON.stringify(other))
  }
})

t.test('another certificate, key or token is somebody else', async t => {
  const { lookUp } = memory()
  lookUp(bearer()).store(alice)
  t.equal(lookUp(bearer({ certificate: 'CC:DD' })).identity, undefined)
  t.equal(lookUp(bearer({ accessKeyId: 'ASIASP2TPHJSQH3FJXYA' })).identity, undefined)
  t.equal(lookUp(bearer({ token: 'another' })).identity, undefined)
  lookUp(bearer({ certificate: 'CC:DD' })).store(bob)
  t.equal(lookUp(bearer()).identity, alice)
})

t.test('off, it remembers nothing', async t => {
  const { lookUp } = memory(0)
  lookUp(bearer()).store(alice)
  t.equal(lookUp(bearer()).identity, undefined)
})

t.test('after a flush nothing is known, not even what STS was being asked about meanwhile', async t => {
  const { lookUp, clear } = memory()
  lookUp(bearer()).store(alice)
  const underWay = lookUp(bearer({ token: 'another' }))
  clear()
  t.equal(lookUp(bearer()).identity, undefined)
  underWay.store(bob)
  t.equal(lookUp(bearer({ token: 'another' })).identity, undefined)
  lookUp(bearer()).store(alice)
  t.equal(lookUp(bearer()).identity, alice, 'and it begins anew')
})

t.test('strangers cannot grow it', async t => {
  const { lookUp } = memory(60_000, 2)
  for (const token of ['a', 'b', 'c']) lookUp(bearer({ token })).store(alice)
  t.equal(lookUp(bearer({ token: 'a' })).identity, undefined)
  t.equal(lookUp(bearer({ token: 'c' })).identity, alice)
})
