import t from 'tap'
import { labels } from '../../src/identity/credentialFingerprint.js'
import { type Bearer, remembered } from '../../src/identity/identityCache.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret } from '../../src/log.js'
import { handClock } from '../support/clock.js'

const alice = { canonical: 'arn:aws:iam::123456789012:role/alice' } as Identity
const bob = { canonical: 'arn:aws:iam::123456789012:role/bob' } as Identity
const label = labels(Buffer.alloc(32))

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
  return { ...credential, certificate, holder: label(credential) } satisfies Bearer
}

function memory(ms = 60_000, entries = 10) {
  const clock = handClock(1_000_000)
  return { clock, ...remembered({ ms, entries, now: clock.now }) }
}

t.test('a success is remembered for its time, and no longer however often it is used', async t => {
  const { clock, recall } = memory(30_000)
  const first = recall(bearer())
  t.equal(first.identity, undefined)
  first.keep(alice)
  for (let i = 0; i < 29; i++) {
    clock.advance(1_000)
    t.equal(recall(bearer()).identity, alice)
  }
  clock.advance(1_000)
  t.equal(recall(bearer()).identity, undefined)
})

t.test('its time begins before STS is asked, not when it answers', async t => {
  const { clock, recall } = memory(10_000)
  const { keep } = recall(bearer())
  clock.advance(3_000)
  keep(alice)
  clock.advance(6_999)
  t.equal(recall(bearer()).identity, alice)
  clock.advance(1)
  t.equal(recall(bearer()).identity, undefined)
})

t.test('whatever is asked for, a minute is the end', async t => {
  const { clock, recall } = memory(3_600_000)
  recall(bearer()).keep(alice)
  clock.advance(59_999)
  t.equal(recall(bearer()).identity, alice)
  clock.advance(1)
  t.equal(recall(bearer()).identity, undefined)
})

t.test('without a certificate, with a long-term key or without a token nothing is remembered', async t => {
  const { recall } = memory()
  for (const other of [
    bearer({ certificate: undefined }),
    bearer({ certificate: '' }),
    bearer({ accessKeyId: 'AKIASP2TPHJSQH3FJXYZ', token: undefined }),
    bearer({ accessKeyId: 'AKIASP2TPHJSQH3FJXYZ' }),
    bearer({ token: undefined }),
  ]) {
    recall(other).keep(alice)
    t.equal(recall(other).identity, undefined, JSON.stringify(other))
  }
})

t.test('another certificate, key or token is somebody else', async t => {
  const { recall } = memory()
  recall(bearer()).keep(alice)
  t.equal(recall(bearer({ certificate: 'CC:DD' })).identity, undefined)
  t.equal(recall(bearer({ accessKeyId: 'ASIASP2TPHJSQH3FJXYA' })).identity, undefined)
  t.equal(recall(bearer({ token: 'another' })).identity, undefined)
  recall(bearer({ certificate: 'CC:DD' })).keep(bob)
  t.equal(recall(bearer()).identity, alice)
})

t.test('off, it remembers nothing', async t => {
  const { recall } = memory(0)
  recall(bearer()).keep(alice)
  t.equal(recall(bearer()).identity, undefined)
})

t.test('after a flush nothing is known, not even what STS was being asked about meanwhile', async t => {
  const { recall, flush } = memory()
  recall(bearer()).keep(alice)
  const underWay = recall(bearer({ token: 'another' }))
  flush()
  t.equal(recall(bearer()).identity, undefined)
  underWay.keep(bob)
  t.equal(recall(bearer({ token: 'another' })).identity, undefined)
  recall(bearer()).keep(alice)
  t.equal(recall(bearer()).identity, alice, 'and it begins anew')
})

t.test('strangers cannot grow it', async t => {
  const { recall } = memory(60_000, 2)
  for (const token of ['a', 'b', 'c']) recall(bearer({ token })).keep(alice)
  t.equal(recall(bearer({ token: 'a' })).identity, undefined)
  t.equal(recall(bearer({ token: 'c' })).identity, alice)
})
