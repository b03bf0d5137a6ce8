import t from 'tap'
import { MemberAdditionLimit } from '../../src/upstream/memberAdditionLimit.js'
import { createManualClock } from '../support/clock.js'

t.test('five additions are possible at once, then one every 500 ms', async t => {
  const clock = createManualClock()
  let refills = 0
  const limit = new MemberAdditionLimit(clock.after, () => refills++)
  for (let nth = 0; nth < 5; nth++) t.equal(limit.tryAcquire(), true)
  t.equal(limit.tryAcquire(), false)
  clock.advance(499)
  t.equal(limit.tryAcquire(), false)
  clock.advance(1)
  t.equal(refills, 1)
  t.equal(limit.tryAcquire(), true)
  t.equal(limit.tryAcquire(), false)
})

t.test('the bucket refills to five and then needs no timer', async t => {
  const clock = createManualClock()
  const limit = new MemberAdditionLimit(clock.after, () => {})
  for (let nth = 0; nth < 5; nth++) limit.tryAcquire()
  for (let nth = 0; nth < 5; nth++) clock.advance(500)
  t.equal(clock.waiting(), 0)
  for (let nth = 0; nth < 5; nth++) t.equal(limit.tryAcquire(), true)
  t.equal(limit.tryAcquire(), false)
  limit.close()
  t.equal(clock.waiting(), 0)
})
