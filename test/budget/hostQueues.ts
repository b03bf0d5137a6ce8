import t from 'tap'
import { createAccountQueue } from '../../src/budget/accountQueue.js'
import type { Priority, QueueEntry } from '../../src/budget/fairQueue.js'
import { lanes } from '../../src/budget/hostQueues.js'

/** A line with these who wait, all of one address. */
function waiting(bucket: string, ...priorities: Priority[]) {
  const one = createAccountQueue<QueueEntry>(
    bucket,
    () => ({ tokens: 1, retryAfterMS: 0, perSecond: 1 }),
    () => 0,
  )
  for (const priority of priorities) one.queue.enqueue({ subnet: 'a', priority, fingerprint: 'x' })
  return one
}

t.test('a line is in one lane, by the best of those who wait, and in none once nobody does', async t => {
  const all = lanes<QueueEntry>()
  const one = waiting('one', 'suspect', 'plain')
  all.settle(one)
  all.settle(one)
  t.equal(all.size, 1)
  t.equal(all.of('one'), one)
  one.queue.enqueue({ subnet: 'b', priority: 'known', fingerprint: 'x' })
  all.settle(one)
  t.same(all.all(), [one])
  while (one.queue.dequeue()) all.settle(one)
  t.equal(all.size, 0)
  t.equal(all.of('one'), undefined)
})

t.test('within a lane lines take turns, and a round ends when none has a token', async t => {
  const all = lanes<QueueEntry>()
  const [one, two, poor] = [waiting('1', 'plain', 'plain'), waiting('2', 'plain'), waiting('3', 'plain')]
  for (const each of [poor, one, two]) all.settle(each)
  const next = all.round(line => line !== poor)
  const served: string[] = []
  for (let each = next(); each; each = next()) {
    served.push(each.bucket)
    each.queue.dequeue()
    all.settle(each, true)
  }
  t.same(served, ['1', '2', '1'])
  t.same(all.all(), [poor])
})

t.test('a line that falls back into a lane that is done with is met again', async t => {
  const all = lanes<QueueEntry>()
  const mixed = waiting('mixed', 'known', 'suspect')
  all.settle(mixed)
  const next = all.round(() => true)
  let served = 0
  for (let each = next(); each; each = next()) {
    each.queue.dequeue()
    all.settle(each, true)
    served++
  }
  t.equal(served, 2)
})
