import t from 'tap'
import { createTokenBuckets } from '../../src/budget/buckets.js'
import { createManualClock } from '../support/clock.js'

/** Ten a second, three at once, unless told. */
function standing({ perSecond = 10, burst = 3, keys = 10 } = {}) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createTokenBuckets({ perSecond, burst, maxKeys: keys, now: clock.now }) }
}

t.test('what was saved up goes at once, then as many as come', async t => {
  const { clock, acquireTokens } = standing()
  t.same(acquireTokens('a', 2), { tokens: 2, retryAfterMS: 0, perSecond: 10 })
  t.same(
    acquireTokens('a', 5),
    { tokens: 1, retryAfterMS: 100, perSecond: 10 },
    'what is there, and when there will be one more',
  )
  t.same(acquireTokens('a', 1).tokens, 0)
  clock.advance(250)
  t.same(acquireTokens('a', 5), { tokens: 2, retryAfterMS: 50, perSecond: 10 })
  clock.advance(60_000)
  t.equal(acquireTokens('a', 50).tokens, 3, 'no more is saved up than the burst')
  t.equal(acquireTokens('b', 5).tokens, 3, 'another bucket has its own')
})

t.test('no window of a second passes more than a second and a burst of tokens', async t => {
  const { clock, acquireTokens } = standing({ perSecond: 540, burst: 60 })
  const spent: number[] = []
  for (let ms = 0; ms < 3000; ms++) {
    for (let left = acquireTokens('a', 7).tokens; left > 0; left--) spent.push(clock.now())
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
  const { clock, acquireTokens, level, recordThrottle } = standing({ perSecond: 90 })
  recordThrottle('a')
  t.same(level('a'), { tokens: 0, perSecond: 60 }, 'and what was saved up is gone')
  t.equal(level('b').perSecond, 90, 'no other bucket is touched')
  t.equal(Math.round(acquireTokens('a', 1).retryAfterMS), 17)
  clock.advance(4_000)
  t.equal(level('a').perSecond, 78)
  clock.advance(6_000)
  t.equal(level('a').perSecond, 90)
  clock.advance(60_000)
  t.equal(level('a').perSecond, 90)
})

t.test('throttles of one moment count once, and whatever happens some are left', async t => {
  const { clock, level, recordThrottle } = standing({ perSecond: 640 })
  for (let i = 0; i < 50; i++) recordThrottle('a')
  t.equal(Math.round(level('a').perSecond), 427)
  for (let i = 0; i < 100; i++) {
    clock.advance(1_000)
    recordThrottle('a')
  }
  t.ok(level('a').perSecond >= 10)
})

t.test('strangers cannot grow it', async t => {
  const { acquireTokens } = standing({ perSecond: 1, burst: 1, keys: 2 })
  for (const key of ['a', 'b', 'c']) t.equal(acquireTokens(key, 1).tokens, 1)
  t.equal(acquireTokens('c', 1).tokens, 0)
  t.equal(acquireTokens('a', 1).tokens, 1, 'a was forgotten')
})

t.test('the same rate again changes nothing: what was spent stays spent, and what was cut stays cut', async t => {
  const { clock, acquireTokens, recordThrottle, level, setRate } = standing({ perSecond: 90, burst: 3 })
  acquireTokens('a', 2)
  recordThrottle('b')
  clock.advance(10)
  const before = [level('a'), level('b'), level('c')]
  setRate({ perSecond: 90, burst: 3 })
  t.same([level('a'), level('b'), level('c')], before)
  recordThrottle('b')
  t.equal(level('b').perSecond, before[1]?.perSecond, 'it is of the same moment')
})

t.test('another rate counts from then on, and refills nothing', async t => {
  const { clock, acquireTokens, recordThrottle, level, setRate } = standing({ perSecond: 100, burst: 10 })
  acquireTokens('spent', 10)
  acquireTokens('full', 1)
  recordThrottle('cut')
  clock.advance(20)
  setRate({ perSecond: 50, burst: 5 })
  t.match(level('spent'), { tokens: 2, perSecond: 50 }, 'until then the old rate')
  t.equal(level('full').tokens, 5)
  t.equal(level('cut').perSecond, 50, 'it is no more than the rate')
  clock.advance(20)
  t.equal(level('spent').tokens, 3)
  setRate({ perSecond: 1_000, burst: 5 })
  t.equal(Math.round(level('cut').perSecond), 67, 'a larger quota brings a cut one back bit by bit')
  clock.advance(1_000)
  t.equal(Math.round(level('cut').perSecond), 117)
  t.match(level('spent'), { tokens: 5, perSecond: 1_000 })
})

t.test('however often the rate changes, no second passes more than the larger one and its burst', async t => {
  const { clock, acquireTokens, setRate } = standing({ perSecond: 50, burst: 6 })
  let spent = 0
  for (let ms = 0; ms < 1_000; ms++) {
    spent += acquireTokens('a', 100).tokens
    setRate(ms % 2 === 0 ? { perSecond: 60, burst: 3 } : { perSecond: 50, burst: 6 })
    clock.advance(1)
  }
  t.ok(spent <= 66, `${spent}`)
})
