import t from 'tap'
import { tally } from '../../src/budget/windowCounter.js'
import { handClock } from '../support/clock.js'

function counting(entries = 10) {
  const clock = handClock(1_000_000)
  return { clock, ...tally<string>({ periodMS: 60_000, entries, now: clock.now }) }
}

t.test('what happens within a period is counted, from the first time on', async t => {
  const { clock, add, of } = counting()
  t.equal(of('a'), undefined)
  add('a', 'one')
  clock.advance(59_000)
  add('a', 'two')
  t.same(of('a'), { count: 2, last: 'two', left: 1_000 })
  t.equal(of('b'), undefined)
  clock.advance(1_000)
  t.equal(of('a'), undefined)
  add('a', 'three')
  t.same(of('a'), { count: 1, last: 'three', left: 60_000 })
})

t.test('one is forgotten, or all', async t => {
  const { add, of, forget, clear } = counting()
  for (const key of ['a', 'b', 'c']) add(key, 'x')
  forget('a')
  t.equal(of('a'), undefined)
  t.ok(of('b'))
  clear()
  t.equal(of('b'), undefined)
})

t.test('strangers cannot grow it', async t => {
  const { add, of } = counting(2)
  for (const key of ['a', 'b', 'c']) add(key, 'x')
  t.equal(of('a'), undefined)
  t.ok(of('c'))
})
