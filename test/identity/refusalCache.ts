import t from 'tap'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import { createRefusalCache } from '../../src/identity/refusalCache.js'
import { Secret } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'

const refused = (code: string, message = 'because'): StsOutcome => ({ is: 'refused', code, message })
const expired = refused('ExpiredToken', 'The security token included in the request is expired')

const label = createCredentialFingerprinter(Buffer.alloc(32))

/** The host that a session is asked about, and the holder's name there; whoever signed. */
function session(accessKeyId: string, { token = 'token', host = 'sts.amazonaws.com', signature = 'ab' } = {}) {
  const signed = { accessKeyId, token: new Secret(token), signature: new Secret(signature) }
  return [host, label(signed)] as const
}

function memory({ entries = 100, perSource = 10 } = {}) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createRefusalCache({ maxEntries: entries, maxPerSource: perSource, now: clock.now }) }
}

t.test('an expired token is refused for five minutes as STS refused it, whoever signs', async t => {
  const { clock, get, store } = memory()
  t.equal(get(...session('ASIA1')), undefined)
  store(...session('ASIA1', { signature: 'one' }), expired, '10.0.0.1')
  t.same(get(...session('ASIA1', { signature: 'another' })), expired)
  clock.advance(5 * 60_000 - 1)
  t.same(get(...session('ASIA1')), expired)
  clock.advance(1)
  t.equal(get(...session('ASIA1')), undefined)
})

t.test('an unknown key is asked about again after five seconds, since new ones take a while to be known', async t => {
  const { clock, get, store } = memory()
  store(...session('ASIA1'), refused('InvalidClientTokenId'), '10.0.0.1')
  clock.advance(4_999)
  t.ok(get(...session('ASIA1')))
  clock.advance(1)
  t.equal(get(...session('ASIA1')), undefined)
})

t.test('a wrong signature is never remembered, nor is anything else', async t => {
  const { get, store } = memory()
  const others: StsOutcome[] = [
    ...['SignatureDoesNotMatch', 'IncompleteSignature', 'MissingAuthenticationToken', 'AccessDenied', 'toString'].map(
      code => refused(code),
    ),
    { is: 'throttled', code: 'Throttling' },
    { is: 'unavailable', why: 'InvalidClientTokenId from a host that is not the first', next: 'first-host' },
    { is: 'identity', identity: {} as never },
  ]
  for (const outcome of others) {
    store(...session('ASIA1'), outcome, '10.0.0.1')
    t.equal(get(...session('ASIA1')), undefined, JSON.stringify(outcome))
  }
})

t.test('another key, another token, another host is another question', async t => {
  const { get, store } = memory()
  store(...session('ASIA1'), expired, '10.0.0.1')
  t.equal(get(...session('ASIA2')), undefined)
  t.equal(get(...session('ASIA1', { token: 'renewed' })), undefined)
  t.equal(get(...session('ASIA1', { host: 'sts.eu-west-1.amazonaws.com' })), undefined)
})

t.test('a flood from one source pushes out its own refusals and nobody else’s', async t => {
  const { get, store } = memory({ entries: 100, perSource: 10 })
  store(...session('ASIAVICTIM'), expired, '10.0.0.1')
  for (let i = 0; i < 5_000; i++) store(...session(`ASIAFORGED${i}`), refused('InvalidClientTokenId'), '10.0.0.66')
  t.ok(get(...session('ASIAVICTIM')))
  t.ok(get(...session('ASIAFORGED4999')))
  t.ok(get(...session('ASIAFORGED4990')))
  t.equal(get(...session('ASIAFORGED4989')), undefined)
})

t.test('the same refusal again takes one place and starts anew', async t => {
  const { clock, get, store } = memory({ perSource: 2 })
  store(...session('ASIA1'), expired, '10.0.0.1')
  clock.advance(200_000)
  for (let i = 0; i < 5; i++) store(...session('ASIA2'), expired, '10.0.0.1')
  t.ok(get(...session('ASIA1')))
  store(...session('ASIA1'), expired, '10.0.0.2')
  clock.advance(200_000)
  t.ok(get(...session('ASIA1')))
  store(...session('ASIA3'), expired, '10.0.0.1')
  store(...session('ASIA4'), expired, '10.0.0.1')
  t.ok(get(...session('ASIA1')), 'it is of the other source now')
  t.equal(get(...session('ASIA2')), undefined)
})

t.test('many sources share what there is', async t => {
  const { get, store } = memory({ entries: 100, perSource: 1 })
  for (let i = 0; i < 1_000; i++) store(...session(`ASIA${i}`), expired, `10.0.${i >> 8}.${i & 255}`)
  t.equal(get(...session('ASIA899')), undefined)
  t.ok(get(...session('ASIA900')))
  t.ok(get(...session('ASIA999')))
})

t.test('a source with room for one has room for one', async t => {
  const { get, store } = memory({ perSource: 1 })
  for (const key of ['ASIA1', 'ASIA2', 'ASIA3']) {
    store(...session(key), expired, '10.0.0.1')
    t.ok(get(...session(key)))
  }
  t.equal(get(...session('ASIA2')), undefined)
})
