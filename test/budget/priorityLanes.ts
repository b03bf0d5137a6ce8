import t from 'tap'
import { line } from '../../src/budget/accountQueue.js'
import type { Place, Priority } from '../../src/budget/fairQueue.js'
import { lanes } from '../../src/budget/priorityLanes.js'

/** A line with these who wait, all of one address. */
function waiting(bucket: string, ...priorities: Priority[]) {
  const one = line<Place>(
    bucket,
    () => ({ tokens: 1, nextMS: 0, perSecond: 1 }),
    () => 0,
  )
  for (const priority of priorities) one.queue.add({ address: 'a', priority, holder: 'x' })
  return one
}

t.test('a line is in one lane, by the best of those who wait, and in none once nobody does', async t => {
  const all = lanes<Place>()
  const one = waiting('one', 'suspect', 'plain')
  all.settle(one)
  all.settle(one)
  t.equal(all.size, 1)
  t.equal(all.of('one'), one)
  one.queue.add({ address: 'b', priority: 'known', holder: 'x' })
  all.settle(one)
  t.same(all.all(), [one])
  while (one.queue.next()) all.settle(one)
  t.equal(all.size, 0)
  t.equal(all.of('one'), undefined)
})

t.test('within a lane lines take turns, and a round ends when none has a token', async t => {
  const all = lanes<Place>()
  const [one, two, poor] = [waiting('1', 'plain', 'plain'), waiting('2', 'plain'), waiting('3', 'plain')]
  for (const each of [poor, one, two]) all.settle(each)
  const next = all.round(line => line !== poor)
  const served: string[] = []
  for (let each = next(); each; each = next()) {
    served.push(each.bucket)
    each.queue.next()
    all.settle(each, true)
  }
  t.same(served, ['1', '2', '1'])
  t.same(all.all(), [poor])
})

t.test('a line that falls back into a lane that is done with is met again', async t => {
  const all = lanes<Place>()
  const mixed = waiting('mixed', 'known', 'suspect')
  all.settle(mixed)
  const next = all.round(() => true)
  let served = 0
  for (let each = next(); each; each = next()) {
    each.queue.next()
    all.settle(each, true)
    served++
  }
  t.equal(served, 2)
})
