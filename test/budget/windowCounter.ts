import t from 'tap'
import { createWindowCounter } from '../../src/budget/windowCounter.js'
import { createManualClock } from '../support/clock.js'

function create(maxEntries = 10) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createWindowCounter<string>({ periodMS: 60_000, maxEntries, now: clock.now }) }
}

t.test('a window begins with the first event of its key', async t => {
  const { clock, add, get } = create()
  t.equal(get('a'), undefined)
  add('a', 'one')
  clock.advance(59_000)
  add('a', 'two')
  t.same(get('a'), { count: 2, last: 'two', remainingMS: 1_000 })
  t.equal(get('b'), undefined)
  clock.advance(1_000)
  t.equal(get('a'), undefined)
  add('a', 'three')
  t.same(get('a'), { count: 1, last: 'three', remainingMS: 60_000 })
})

t.test('one key can be deleted, or all', async t => {
  const { add, get, delete: remove, clear } = create()
  for (const key of ['a', 'b', 'c']) add(key, 'x')
  remove('a')
  t.equal(get('a'), undefined)
  t.ok(get('b'))
  clear()
  t.equal(get('b'), undefined)
})

t.test('the number of keys is bounded', async t => {
  const { add, get } = create(2)
  for (const key of ['a', 'b', 'c']) add(key, 'x')
  t.equal(get('a'), undefined)
  t.ok(get('c'))
})
