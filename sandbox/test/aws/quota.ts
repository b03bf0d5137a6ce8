import t from 'tap'
import { createQuota } from '../../src/aws/quota.js'

t.test('a key has a number of calls per second, refilled when the second begins', async t => {
  let now = 5_000
  const take = createQuota(2, () => now)
  t.same([take('a'), take('a'), take('a')], [true, true, false])
  now = 5_999
  t.notOk(take('a'))
  now = 6_000
  t.same([take('a'), take('a'), take('a')], [true, true, false])
})

t.test('unused calls do not accumulate', async t => {
  let now = 0
  const take = createQuota(1, () => now)
  now = 60_000
  t.same([take('a'), take('a')], [true, false])
})

t.test('each key has its own bucket', async t => {
  const take = createQuota(1, () => 0)
  t.same([take('a'), take('b'), take('a'), take('b')], [true, true, false, false])
})
