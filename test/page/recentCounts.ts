import t from 'tap'
import { RecentCounts } from '../../src/page/recentCounts.js'

t.test('an increase covers the last samples, and no more', async t => {
  const recent = new RecentCounts(3)
  t.equal(recent.increase('a'), 0)
  for (const a of [5, 6, 8, 11, 15]) recent.add({ a })
  t.equal(recent.increase('a'), 9)
  t.equal(recent.increase('a', 1), 4)
  t.equal(recent.increase('a', 100), 9)
  t.equal(recent.increase('b'), 0)
})

t.test('before there are enough samples, it covers those that there are', async t => {
  const recent = new RecentCounts(3)
  recent.add({ a: 0 })
  t.equal(recent.increase('a'), 0)
  recent.add({ a: 2 })
  t.equal(recent.increase('a'), 2)
})

t.test('a total that begins later counts from zero', async t => {
  const recent = new RecentCounts(3)
  recent.add({})
  recent.add({ a: 2 })
  t.equal(recent.increase('a'), 2)
})
