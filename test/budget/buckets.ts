import t from 'tap'
import { buckets } from '../../src/budget/buckets.js'
import { handClock } from '../support/clock.js'

t.test('a burst goes at once, then one each turn, and each waits behind the one before', async t => {
  const clock = handClock(1_000_000)
  const { take } = buckets({ perSecond: 10, burst: 3, keys: 10, now: clock.now })
  t.same(
    Array.from({ length: 6 }, () => Math.round(take('a', 1000))),
    [0, 0, 0, 100, 200, 300],
  )
  t.equal(take('b', 0), 0, 'another account has its own')
})

t.test('who would wait too long is told how long, and takes nothing', async t => {
  const clock = handClock(1_000_000)
  const { take } = buckets({ perSecond: 10, burst: 1, keys: 10, now: clock.now })
  take('a', 0)
  t.equal(Math.round(take('a', 50)), -100)
  t.equal(Math.round(take('a', 50)), -100)
  clock.advance(100)
  t.equal(take('a', 50), 0)
})

t.test('no window of a second passes more than a second and a burst of tokens', async t => {
  const clock = handClock(1_000_000)
  const { take } = buckets({ perSecond: 540, burst: 60, keys: 10, now: clock.now })
  const spent: number[] = []
  for (let ms = 0; ms < 3000; ms++) {
    for (let i = 0; i < 5; i++) {
      const wait = take('a', 500)
      if (wait >= 0) spent.push(clock.now() + wait)
    }
    clock.advance(1)
  }
  for (const start of spent) {
    const within = spent.filter(at => at >= start && at < start + 1000).length
    if (within > 600) t.fail(`${within} in one second`)
  }
  t.pass()
})

t.test('strangers cannot grow it', async t => {
  const { take } = buckets({ perSecond: 1, burst: 1, keys: 2, now: () => 1_000_000 })
  for (const key of ['a', 'b', 'c']) t.equal(take(key, 0), 0)
  t.equal(take('a', 0), 0, 'a was forgotten')
})
