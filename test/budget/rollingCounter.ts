import t from 'tap'
import { createRollingCounter } from '../../src/budget/rollingCounter.js'
import { createManualClock } from '../support/clock.js'

function create(maxEntries = 10) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createRollingCounter({ periodMS: 60_000, maxEntries, now: clock.now }) }
}

t.test('events count for one to two periods', async t => {
  const { clock, add, count } = create()
  t.equal(count('a'), 0)
  add('a')
  add('a')
  t.equal(count('a'), 2)
  clock.advance(60_000)
  t.equal(count('a'), 2)
  add('a')
  t.equal(count('a'), 3)
  clock.advance(59_999)
  t.equal(count('a'), 3)
  clock.advance(1)
  t.equal(count('a'), 1)
  clock.advance(60_000)
  t.equal(count('a'), 0)
  add('a')
  t.equal(count('a'), 1)
})

t.test('the count of events that go on never drops to zero', async t => {
  const { clock, add, count } = create()
  for (let i = 0; i < 300; i++) {
    add('a')
    clock.advance(1_000)
    t.ok(count('a') >= Math.min(i + 1, 60))
    t.ok(count('a') <= 120)
  }
})

t.test('keys are counted apart, and the least recently used one is dropped', async t => {
  const { add, count } = create(2)
  for (const key of ['a', 'b', 'b', 'c']) add(key)
  t.same(['a', 'b', 'c'].map(count), [0, 2, 1])
})
