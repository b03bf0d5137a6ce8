import t from 'tap'
import { type NearLimit, SessionSlots } from '../../src/client/sessionSlots.js'
import { createManualClock } from '../support/clock.js'
import { faultOf } from '../support/faults.js'

const ALICE = { arn: 'arn:aws:iam::123456789012:user/alice' }
const BOB = { arn: 'arn:aws:iam::123456789012:user/bob' }

function createSlots(sessions: number, share: number) {
  const limits = { sessions, share }
  const clock = createManualClock()
  const near: NearLimit[] = []
  const slots = new SessionSlots({
    limits: () => ({ sessions: limits.sessions, perPrincipal: (maxSessions = limits.share) => maxSessions }),
    onNearLimit: one => near.push(one),
    now: clock.now,
  })
  return { slots, limits, clock, near, kindOf: (run: () => unknown) => faultOf(run)?.kind }
}

t.test('a principal gets no more slots than its share, and leaves the others to other principals', async t => {
  const { slots, kindOf } = createSlots(6, 3)
  for (let i = 0; i < 3; i++) slots.acquire(ALICE)
  t.equal(
    kindOf(() => slots.acquire(ALICE)),
    'login/principal-limit',
  )
  for (let i = 0; i < 3; i++) slots.acquire(BOB)
  t.same(slots.countByState(), { taken: 6, free: 0 })
  t.equal(
    kindOf(() => slots.assertFree()),
    'login/session-limit',
  )
  t.equal(
    kindOf(() => slots.acquire({ arn: 'arn:aws:iam::123456789012:user/carol' })),
    'login/session-limit',
  )
})

t.test('a slot that is given back is free once, however often it is given back', async t => {
  const { slots, kindOf } = createSlots(2, 1)
  const release = slots.acquire(ALICE)
  t.equal(
    kindOf(() => slots.acquire(ALICE)),
    'login/principal-limit',
  )
  release()
  release()
  t.same(slots.countByState(), { taken: 0, free: 2 })
  slots.acquire(ALICE)
  release()
  t.equal(
    kindOf(() => slots.acquire(ALICE)),
    'login/principal-limit',
  )
})

t.test('the limit of a rule replaces the common one', async t => {
  const { slots, kindOf } = createSlots(10, 3)
  for (let i = 0; i < 5; i++) slots.acquire({ ...ALICE, maxSessions: 5 })
  t.equal(
    kindOf(() => slots.acquire({ ...ALICE, maxSessions: 5 })),
    'login/principal-limit',
  )
  slots.acquire({ ...BOB, maxSessions: 1 })
  t.equal(
    kindOf(() => slots.acquire({ ...BOB, maxSessions: 1 })),
    'login/principal-limit',
  )
})

t.test('lower limits take no slot away, and count the slots that are held', async t => {
  const { slots, limits, kindOf } = createSlots(6, 3)
  const held = [slots.acquire(ALICE), slots.acquire(ALICE), slots.acquire(ALICE)]
  Object.assign(limits, { sessions: 2, share: 1 })
  t.same(slots.countByState(), { taken: 3, free: 0 })
  t.equal(
    kindOf(() => slots.acquire(BOB)),
    'login/session-limit',
  )
  for (const release of held.slice(0, 2)) release()
  slots.acquire(BOB)
  t.equal(
    kindOf(() => slots.acquire(ALICE)),
    'login/principal-limit',
  )
})

t.test('the faults ask drivers to retry', async t => {
  const { slots } = createSlots(1, 1)
  slots.acquire(ALICE)
  for (const run of [() => slots.assertFree(), () => slots.assertFreeFor(ALICE)]) {
    t.match(faultOf(run), { definition: { reply: { code: 262 } }, facts: { max: 1, backoffMS: 1_000 } })
  }
})

t.test('at 80 % of a limit there is one warning', async t => {
  const { slots, near } = createSlots(20, 10)
  for (let i = 0; i < 10; i++) slots.acquire(ALICE)
  t.same(near, [{ ...ALICE, sessions: 8, max: 10 }])
  for (let i = 0; i < 6; i++) slots.acquire(BOB)
  t.same(near.slice(1), [{ sessions: 16, max: 20 }], 'the one about all sessions names no principal')
})

t.test('another warning needs a fall below 60 %, and ten minutes', async t => {
  const { slots, near, clock } = createSlots(1_000, 10)
  const held = Array.from({ length: 8 }, () => slots.acquire(ALICE))
  const fall = (count: number) => held.splice(0, count).forEach(release => void release())
  const rise = (count: number) => {
    for (let i = 0; i < count; i++) held.push(slots.acquire(ALICE))
  }
  clock.advance(10 * 60_000)
  fall(2)
  rise(2)
  t.equal(near.length, 1, 'it fell to 60 % only')
  fall(3)
  rise(3)
  t.equal(near.length, 2)
  fall(8)
  rise(8)
  t.equal(near.length, 2, 'ten minutes have not passed')
  clock.advance(10 * 60_000)
  rise(1)
  t.equal(near.length, 3)
})

t.test('the largest holders are named, the largest first', async t => {
  const { slots } = createSlots(100, 50)
  for (const [name, count] of [
    ['one', 1],
    ['three', 3],
    ['two', 2],
  ] as const) {
    for (let i = 0; i < count; i++) slots.acquire({ arn: name })
  }
  t.same(Object.entries(slots.largestHolders(2)), [
    ['three', 3],
    ['two', 2],
  ])
})

t.test('a principal without slots leaves nothing behind', async t => {
  const { slots } = createSlots(100, 50)
  for (let i = 0; i < 1_000; i++) slots.acquire({ arn: `principal ${i}` })()
  t.same(slots.largestHolders(10), {})
})
