import t from 'tap'
import { createTokenBuckets } from '../../src/budget/buckets.js'
import { createManualClock } from '../support/clock.js'

/** By default ten tokens a second and a burst of three. */
function create({ perSecond = 10, burst = 3, maxKeys = 10 } = {}) {
  const clock = createManualClock(1_000_000)
  return { clock, ...createTokenBuckets({ perSecond, burst, maxKeys, now: clock.now }) }
}

t.test('the burst is available at once, further tokens at the rate', async t => {
  const { clock, acquireTokens } = create()
  t.same(acquireTokens('a', 2), { tokens: 2, retryAfterMS: 0, perSecond: 10 })
  t.same(
    acquireTokens('a', 5),
    { tokens: 1, retryAfterMS: 100, perSecond: 10 },
    'the rest of the burst, and the time of the next token',
  )
  t.same(acquireTokens('a', 1).tokens, 0)
  clock.advance(250)
  t.same(acquireTokens('a', 5), { tokens: 2, retryAfterMS: 50, perSecond: 10 })
  clock.advance(60_000)
  t.equal(acquireTokens('a', 50).tokens, 3, 'a bucket holds no more than the burst')
  t.equal(acquireTokens('b', 5).tokens, 3, 'another bucket has tokens of its own')
})

t.test('no window of one second gives more than the rate and the burst', async t => {
  const { clock, acquireTokens } = create({ perSecond: 540, burst: 60 })
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

t.test('a throttle cuts the rate of its bucket by a third, and the rate recovers gradually', async t => {
  const { clock, acquireTokens, level, recordThrottle } = create({ perSecond: 90 })
  recordThrottle('a')
  t.same(level('a'), { tokens: 0, perSecond: 60 }, 'the bucket is empty, too')
  t.equal(level('b').perSecond, 90, 'other buckets are not affected')
  t.equal(Math.round(acquireTokens('a', 1).retryAfterMS), 17)
  clock.advance(4_000)
  t.equal(level('a').perSecond, 78)
  clock.advance(6_000)
  t.equal(level('a').perSecond, 90)
  clock.advance(60_000)
  t.equal(level('a').perSecond, 90)
})

t.test('simultaneous throttles count once, and the rate has a minimum', async t => {
  const { clock, level, recordThrottle } = create({ perSecond: 640 })
  for (let i = 0; i < 50; i++) recordThrottle('a')
  t.equal(Math.round(level('a').perSecond), 427)
  for (let i = 0; i < 100; i++) {
    clock.advance(1_000)
    recordThrottle('a')
  }
  t.ok(level('a').perSecond >= 10)
})

t.test('the number of buckets is bounded', async t => {
  const { acquireTokens } = create({ perSecond: 1, burst: 1, maxKeys: 2 })
  for (const key of ['a', 'b', 'c']) t.equal(acquireTokens(key, 1).tokens, 1)
  t.equal(acquireTokens('c', 1).tokens, 0)
  t.equal(acquireTokens('a', 1).tokens, 1, 'bucket a was dropped, so it is full again')
})

t.test('setting the same rate again changes nothing', async t => {
  const { clock, acquireTokens, recordThrottle, level, setRate } = create({ perSecond: 90, burst: 3 })
  acquireTokens('a', 2)
  recordThrottle('b')
  clock.advance(10)
  const before = [level('a'), level('b'), level('c')]
  setRate({ perSecond: 90, burst: 3 })
  t.same([level('a'), level('b'), level('c')], before)
  recordThrottle('b')
  t.equal(level('b').perSecond, before[1]?.perSecond, 'this throttle still counts as simultaneous')
})

t.test('a new rate applies from then on and refills nothing', async t => {
  const { clock, acquireTokens, recordThrottle, level, setRate } = create({ perSecond: 100, burst: 10 })
  acquireTokens('spent', 10)
  acquireTokens('full', 1)
  recordThrottle('cut')
  clock.advance(20)
  setRate({ perSecond: 50, burst: 5 })
  t.match(level('spent'), { tokens: 2, perSecond: 50 }, 'tokens until then arrived at the old rate')
  t.equal(level('full').tokens, 5)
  t.equal(level('cut').perSecond, 50, 'a cut rate does not exceed the new rate')
  clock.advance(20)
  t.equal(level('spent').tokens, 3)
  setRate({ perSecond: 1_000, burst: 5 })
  t.equal(Math.round(level('cut').perSecond), 67, 'a cut rate recovers gradually towards a larger rate')
  clock.advance(1_000)
  t.equal(Math.round(level('cut').perSecond), 117)
  t.match(level('spent'), { tokens: 5, perSecond: 1_000 })
})

t.test('however often the rate changes, no second gives more than the larger rate and its burst', async t => {
  const { clock, acquireTokens, setRate } = create({ perSecond: 50, burst: 6 })
  let spent = 0
  for (let ms = 0; ms < 1_000; ms++) {
    spent += acquireTokens('a', 100).tokens
    setRate(ms % 2 === 0 ? { perSecond: 60, burst: 3 } : { perSecond: 50, burst: 6 })
    clock.advance(1)
  }
  t.ok(spent <= 66, `${spent}`)
})
