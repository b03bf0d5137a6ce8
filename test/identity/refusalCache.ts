import t from 'tap'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import { createRefusalCache } from '../../src/identity/refusalCache.js'
import { Secret } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'

const refused = (code: string, message = 'because'): StsOutcome => ({ is: 'refused', code, message })
const expired = refused('ExpiredToken', 'The security token included in the request is expired')

const fingerprintOf = createCredentialFingerprinter(Buffer.alloc(32))

/** The cache key of a credential at a host. */
function keyOf(accessKeyId: string, { token = 'token', host = 'sts.amazonaws.com', signature = 'ab' } = {}) {
  const signed = { accessKeyId, token: new Secret(token), signature: new Secret(signature) }
  return [host, fingerprintOf(signed)] as const
}

function create({ maxEntries = 100, maxPerSource = 10 } = {}) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createRefusalCache({ maxEntries, maxPerSource, now: clock.now }) }
}

t.test('an expired token is refused for five minutes, whatever the signature', async t => {
  const { clock, get, store } = create()
  t.equal(get(...keyOf('ASIA1')), undefined)
  store(...keyOf('ASIA1', { signature: 'one' }), expired, '10.0.0.1')
  t.same(get(...keyOf('ASIA1', { signature: 'another' })), expired)
  clock.advance(5 * 60_000 - 1)
  t.same(get(...keyOf('ASIA1')), expired)
  clock.advance(1)
  t.equal(get(...keyOf('ASIA1')), undefined)
})

t.test('an unknown key is refused for a moment only, since a new key may be known to all of STS by then', async t => {
  const { clock, get, store } = create()
  store(...keyOf('ASIA1'), refused('InvalidClientTokenId'), '10.0.0.1')
  clock.advance(1_499)
  t.ok(get(...keyOf('ASIA1')))
  clock.advance(1)
  t.equal(get(...keyOf('ASIA1')), undefined)
})

t.test('bad signatures and all other outcomes are not cached', async t => {
  const { get, store } = create()
  const others: StsOutcome[] = [
    ...['SignatureDoesNotMatch', 'IncompleteSignature', 'MissingAuthenticationToken', 'AccessDenied', 'toString'].map(
      code => refused(code),
    ),
    { is: 'throttled', code: 'Throttling' },
    { is: 'unavailable', why: 'InvalidClientTokenId from a host that is not the first', next: 'first-host' },
    { is: 'identity', identity: {} as never },
  ]
  for (const outcome of others) {
    store(...keyOf('ASIA1'), outcome, '10.0.0.1')
    t.equal(get(...keyOf('ASIA1')), undefined, JSON.stringify(outcome))
  }
})

t.test('another key, token or host has another entry', async t => {
  const { get, store } = create()
  store(...keyOf('ASIA1'), expired, '10.0.0.1')
  t.equal(get(...keyOf('ASIA2')), undefined)
  t.equal(get(...keyOf('ASIA1', { token: 'renewed' })), undefined)
  t.equal(get(...keyOf('ASIA1', { host: 'sts.eu-west-1.amazonaws.com' })), undefined)
})

t.test('a flood from one source evicts only entries of that source', async t => {
  const { get, store } = create({ maxEntries: 100, maxPerSource: 10 })
  store(...keyOf('ASIAVICTIM'), expired, '10.0.0.1')
  for (let i = 0; i < 5_000; i++) store(...keyOf(`ASIAFORGED${i}`), refused('InvalidClientTokenId'), '10.0.0.66')
  t.ok(get(...keyOf('ASIAVICTIM')))
  t.ok(get(...keyOf('ASIAFORGED4999')))
  t.ok(get(...keyOf('ASIAFORGED4990')))
  t.equal(get(...keyOf('ASIAFORGED4989')), undefined)
})

t.test('a repeated refusal replaces its entry, with a new lifetime and source', async t => {
  const { clock, get, store } = create({ maxPerSource: 2 })
  store(...keyOf('ASIA1'), expired, '10.0.0.1')
  clock.advance(200_000)
  for (let i = 0; i < 5; i++) store(...keyOf('ASIA2'), expired, '10.0.0.1')
  t.ok(get(...keyOf('ASIA1')))
  store(...keyOf('ASIA1'), expired, '10.0.0.2')
  clock.advance(200_000)
  t.ok(get(...keyOf('ASIA1')))
  store(...keyOf('ASIA3'), expired, '10.0.0.1')
  store(...keyOf('ASIA4'), expired, '10.0.0.1')
  t.ok(get(...keyOf('ASIA1')), 'it belongs to the other source now')
  t.equal(get(...keyOf('ASIA2')), undefined)
})

t.test('all sources together are bounded', async t => {
  const { get, store } = create({ maxEntries: 100, maxPerSource: 1 })
  for (let i = 0; i < 1_000; i++) store(...keyOf(`ASIA${i}`), expired, `10.0.${i >> 8}.${i & 255}`)
  t.equal(get(...keyOf('ASIA899')), undefined)
  t.ok(get(...keyOf('ASIA900')))
  t.ok(get(...keyOf('ASIA999')))
})

t.test('a source may have a single entry', async t => {
  const { get, store } = create({ maxPerSource: 1 })
  for (const key of ['ASIA1', 'ASIA2', 'ASIA3']) {
    store(...keyOf(key), expired, '10.0.0.1')
    t.ok(get(...keyOf(key)))
  }
  t.equal(get(...keyOf('ASIA2')), undefined)
})
