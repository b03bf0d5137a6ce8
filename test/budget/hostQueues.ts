import t from 'tap'
import { AccountQueue } from '../../src/budget/accountQueue.js'
import type { Priority, QueueEntry } from '../../src/budget/fairQueue.js'
import { HostQueues } from '../../src/budget/hostQueues.js'

/** An account queue with waiters of these priorities, all in one subnet. */
function accountQueue(bucket: string, ...priorities: Priority[]) {
  const queue = new AccountQueue<QueueEntry>(
    bucket,
    () => ({ tokens: 1, retryAfterMS: 0, perSecond: 1 }),
    () => 0,
  )
  for (const priority of priorities) queue.waiters.enqueue({ subnet: 'a', priority, fingerprint: 'x' })
  return queue
}

t.test('a queue has the priority of its best waiter, and an empty queue is dropped', async t => {
  const queues = new HostQueues<QueueEntry>()
  const one = accountQueue('one', 'suspect', 'normal')
  queues.update(one)
  queues.update(one)
  t.equal(queues.size, 1)
  t.equal(queues.get('one'), one)
  one.waiters.enqueue({ subnet: 'b', priority: 'known', fingerprint: 'x' })
  queues.update(one)
  t.same(queues.all(), [one])
  while (one.waiters.dequeue()) queues.update(one)
  t.equal(queues.size, 0)
  t.equal(queues.get('one'), undefined)
})

t.test('queues of one priority are served round-robin, and a round ends when none has a token', async t => {
  const queues = new HostQueues<QueueEntry>()
  const [one, two, poor] = [
    accountQueue('1', 'normal', 'normal'),
    accountQueue('2', 'normal'),
    accountQueue('3', 'normal'),
  ]
  for (const each of [poor, one, two]) queues.update(each)
  const next = queues.startRound(queue => queue !== poor)
  const served: string[] = []
  for (let each = next(); each; each = next()) {
    served.push(each.bucket)
    each.waiters.dequeue()
    queues.moveToEnd(each)
  }
  t.same(served, ['1', '2', '1'])
  t.same(queues.all(), [poor])
})

t.test('a queue whose priority drops during a round is served again in that round', async t => {
  const queues = new HostQueues<QueueEntry>()
  const mixed = accountQueue('mixed', 'known', 'suspect')
  queues.update(mixed)
  const next = queues.startRound(() => true)
  let served = 0
  for (let each = next(); each; each = next()) {
    each.waiters.dequeue()
    queues.moveToEnd(each)
    served++
  }
  t.equal(served, 2)
})
