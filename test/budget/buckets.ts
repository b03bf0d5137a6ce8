import t from 'tap'
import { buckets } from '../../src/budget/buckets.js'
import { handClock } from '../support/clock.js'

/** Ten a second, three at once, unless told. */
function standing({ perSecond = 10, burst = 3, keys = 10 } = {}) {
  const clock = handClock(1_000_000)
  return { clock, ...buckets({ perSecond, burst, keys, now: clock.now }) }
}

t.test('what was saved up goes at once, then as many as come', async t => {
  const { clock, lend } = standing()
  t.same(lend('a', 2), { tokens: 2, nextMS: 0, perSecond: 10 })
  t.same(lend('a', 5), { tokens: 1, nextMS: 100, perSecond: 10 }, 'what is there, and when there will be one more')
  t.same(lend('a', 1).tokens, 0)
  clock.advance(250)
  t.same(lend('a', 5), { tokens: 2, nextMS: 50, perSecond: 10 })
  clock.advance(60_000)
  t.equal(lend('a', 50).tokens, 3, 'no more is saved up than the burst')
  t.equal(lend('b', 5).tokens, 3, 'another bucket has its own')
})

t.test('no window of a second passes more than a second and a burst of tokens', async t => {
  const { clock, lend } = standing({ perSecond: 540, burst: 60 })
  const spent: number[] = []
  for (let ms = 0; ms < 3000; ms++) {
    for (let left = lend('a', 7).tokens; left > 0; left--) spent.push(clock.now())
    clock.advance(ms % 13 === 0 ? 40 : 1)
  }
  let first = 0
  for (const [last, at] of spent.entries()) {
    while (at - (spent[first] ?? 0) >= 1000) first++
    if (last - first + 1 > 600) t.fail(`${last - first + 1} in one second`)
  }
  t.ok(spent.length > 1000)
})

t.test('a throttle takes a third of the rate of that bucket, which comes back bit by bit', async t => {
  const { clock, lend, level, throttled } = standing({ perSecond: 90 })
  throttled('a')
  t.same(level('a'), { tokens: 0, perSecond: 60 }, 'and what was saved up is gone')
  t.equal(level('b').perSecond, 90, 'no other bucket is touched')
  t.equal(Math.round(lend('a', 1).nextMS), 17)
  clock.advance(4_000)
  t.equal(level('a').perSecond, 78)
  clock.advance(6_000)
  t.equal(level('a').perSecond, 90)
  clock.advance(60_000)
  t.equal(level('a').perSecond, 90)
})

t.test('throttles of one moment count once, and whatever happens some are left', async t => {
  const { clock, level, throttled } = standing({ perSecond: 640 })
  for (let i = 0; i < 50; i++) throttled('a')
  t.equal(Math.round(level('a').perSecond), 427)
  for (let i = 0; i < 100; i++) {
    clock.advance(1_000)
    throttled('a')
  }
  t.ok(level('a').perSecond >= 10)
})

t.test('strangers cannot grow it', async t => {
  const { lend } = standing({ perSecond: 1, burst: 1, keys: 2 })
  for (const key of ['a', 'b', 'c']) t.equal(lend(key, 1).tokens, 1)
  t.equal(lend('c', 1).tokens, 0)
  t.equal(lend('a', 1).tokens, 1, 'a was forgotten')
})
