import t from 'tap'
import { createPrincipalRefusals } from '../../src/client/principalRefusals.js'
import { SessionSlots } from '../../src/client/sessionSlots.js'
import { createManualClock } from '../support/clock.js'
import { faultOf } from '../support/faults.js'

const ALICE = { arn: 'arn:aws:iam::123456789012:user/alice' }

function createRefusals(maxEntries = 100) {
  const clock = createManualClock()
  const limits = { sessions: 10, perPrincipal: (maxSessions = 1) => maxSessions }
  const slots = new SessionSlots({ limits: () => limits, onNearLimit() {}, now: clock.now })
  const refusals = createPrincipalRefusals({ slots, maxEntries, now: clock.now })
  const kindFor = (subnet: string, fingerprint: string) => faultOf(() => refusals.assertNone(subnet, fingerprint))?.kind
  return { clock, slots, refusals, kindFor, release: slots.acquire(ALICE) }
}

t.test('a refused credential is refused again for 5 s, at its address only', async t => {
  const { clock, refusals, kindFor } = createRefusals()
  t.equal(kindFor('192.0.2.1', 'a'), undefined)
  refusals.store('192.0.2.1', 'a', ALICE)
  t.equal(kindFor('192.0.2.1', 'a'), 'login/principal-limit')
  t.equal(kindFor('192.0.2.2', 'a'), undefined)
  t.equal(kindFor('192.0.2.1', 'b'), undefined)
  clock.advance(4_999)
  t.equal(kindFor('192.0.2.1', 'a'), 'login/principal-limit')
  clock.advance(1)
  t.equal(kindFor('192.0.2.1', 'a'), undefined)
})

t.test('a slot of the principal that becomes free ends the refusal', async t => {
  const { slots, refusals, kindFor, release } = createRefusals()
  refusals.store('192.0.2.1', 'a', ALICE)
  release()
  t.equal(kindFor('192.0.2.1', 'a'), undefined)
  slots.acquire(ALICE)
  t.equal(kindFor('192.0.2.1', 'a'), undefined, 'STS is asked, although the slot is taken again')
})

t.test('a slot of another principal changes nothing', async t => {
  const { slots, refusals, kindFor } = createRefusals()
  const release = slots.acquire({ arn: 'another' })
  refusals.store('192.0.2.1', 'a', ALICE)
  release()
  t.equal(kindFor('192.0.2.1', 'a'), 'login/principal-limit')
})

t.test('changed rules end all refusals', async t => {
  const { refusals, kindFor } = createRefusals()
  refusals.store('192.0.2.1', 'a', ALICE)
  refusals.clear()
  t.equal(kindFor('192.0.2.1', 'a'), undefined)
})

t.test('the number of entries is bounded', async t => {
  const { refusals, kindFor } = createRefusals(2)
  for (const fingerprint of ['a', 'b', 'c']) refusals.store('192.0.2.1', fingerprint, ALICE)
  t.equal(kindFor('192.0.2.1', 'a'), undefined)
  t.equal(kindFor('192.0.2.1', 'c'), 'login/principal-limit')
})

t.test('the answer names no principal, because anyone may show a key id and its token', async t => {
  const { refusals } = createRefusals()
  refusals.store('192.0.2.1', 'a', ALICE)
  const fault = faultOf(() => refusals.assertNone('192.0.2.1', 'a'))
  t.notMatch(JSON.stringify([fault?.message, fault?.facts]), /alice/)
})
