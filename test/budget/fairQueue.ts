import fc from 'fast-check'
import t from 'tap'
import { FairQueue, type Priority, type QueueEntry } from '../../src/budget/fairQueue.js'

type NamedEntry = QueueEntry & { name: string }
const entry = (name: string, subnet: string, priority: Priority = 'normal'): NamedEntry => ({
  name,
  subnet,
  priority,
  fingerprint: name,
})
const entries = (count: number, subnet: string, priority: Priority = 'normal') =>
  Array.from({ length: count }, (_, i) => entry(`${subnet}${i}`, subnet, priority))

/** A queue with these entries, in this order. `drain` dequeues all of them and gives their names. */
function queueOf(...all: NamedEntry[]) {
  const queue = new FairQueue<NamedEntry>()
  for (const one of all) queue.enqueue(one)
  const drain = () => {
    const names: string[] = []
    for (let one = queue.dequeue(); one; one = queue.dequeue()) names.push(one.name)
    return names
  }
  return { queue, drain }
}

t.test('subnets are served round-robin, and each one in order of arrival', async t => {
  const { queue, drain } = queueOf(...entries(4, 'a'), entry('b0', 'b'), entry('c0', 'c'), entry('b1', 'b'))
  t.equal(queue.length, 7)
  t.same(drain(), ['a0', 'b0', 'c0', 'a1', 'b1', 'a2', 'a3'])
  t.equal(queue.length, 0)
})

t.test('a subnet that arrives again goes behind the others', async t => {
  const { queue } = queueOf(entry('a0', 'a'), entry('b0', 'b'))
  t.equal(queue.dequeue()?.name, 'a0')
  queue.enqueue(entry('a1', 'a'))
  t.equal(queue.dequeue()?.name, 'b0')
  t.equal(queue.dequeue()?.name, 'a1')
})

t.test('of sixteen tokens, known entries get twelve, normal ones three, suspects one', async t => {
  const { queue } = queueOf(...entries(99, 'k', 'known'), ...entries(99, 'p'), ...entries(99, 's', 'suspect'))
  const served = { known: 0, normal: 0, suspect: 0 }
  for (let i = 0; i < 64; i++) served[queue.dequeue()?.priority ?? 'normal']++
  t.same(served, { known: 48, normal: 12, suspect: 4 })
})

t.test('the unused share of a priority goes to the others, the best one first', async t => {
  t.same(queueOf(...entries(3, 's', 'suspect'), ...entries(3, 'p')).drain(), ['p0', 'p1', 'p2', 's0', 's1', 's2'])
})

t.test('a removed entry is not served', async t => {
  const [first, second, third] = entries(3, 'a') as [NamedEntry, NamedEntry, NamedEntry]
  const { queue, drain } = queueOf(first, second, third)
  t.ok(queue.remove(second))
  t.notOk(queue.remove(second), 'it can be removed once')
  t.equal(queue.length, 2)
  t.same(drain(), ['a0', 'a2'])
  t.notOk(queue.remove(third), 'an entry that was served cannot be removed')
})

t.test('late entries are removed from the end of their own subnet only', async t => {
  const { queue, drain } = queueOf(...entries(5, 'a'), ...entries(2, 'b'))
  const bounds: number[] = []
  const late = queue.removeLate(
    { subnet: 'a', priority: 'normal' },
    (_, tokens) => bounds.push(tokens) > 0 && tokens > 7,
  )
  t.same(
    late.map(({ name }) => name),
    ['a4'],
  )
  t.same(bounds, [8, 7])
  t.same(
    queue.removeLate({ subnet: 'z', priority: 'normal' }, () => true),
    [],
  )
  t.same(drain(), ['a0', 'b0', 'a1', 'b1', 'a2', 'a3'])
})

t.test('expired entries are removed from every priority', async t => {
  const { queue, drain } = queueOf(...entries(3, 'a'), entry('b0', 'b'), ...entries(1, 'k', 'known'))
  const expired = queue.removeExpired(({ name }) => ['a0', 'a1', 'k0'].includes(name))
  t.same(expired.map(({ name }) => name).sort(), ['a0', 'a1', 'k0'])
  t.same(drain(), ['a2', 'b0'], 'the order of the others does not change')
})

t.test('the entries of a promoted credential go first, in their former order', async t => {
  const of = (name: string, fingerprint: string, priority: Priority = 'normal') => ({
    ...entry(name, 'a', priority),
    fingerprint,
  })
  const { queue, drain } = queueOf(
    of('a0', 'x'),
    of('a1', 'y'),
    of('a2', 'x'),
    of('a3', 'y', 'suspect'),
    entry('b0', 'b'),
  )
  t.ok(queue.promote('a', 'y'))
  t.notOk(queue.promote('a', 'y'), 'a second promotion changes nothing')
  t.notOk(queue.promote('b', 'y'), 'a promotion is for one subnet')
  t.equal(queue.bestPriority, 'known')
  t.equal(queue.length, 5)
  t.same(drain(), ['a1', 'a3', 'a0', 'b0', 'a2'])
})

t.test('no entry is served later than predicted, if no other entry arrives', async () => {
  const position = fc.record({
    subnet: fc.constantFrom('a', 'b', 'c', 'd'),
    priority: fc.constantFrom<Priority>('known', 'normal', 'suspect'),
    fingerprint: fc.constantFrom('x', 'y'),
  })
  fc.assert(
    fc.property(fc.array(position, { maxLength: 80 }), position, (others, own) => {
      const queue = new FairQueue<QueueEntry & { isOwn?: true }>()
      for (const other of others) queue.enqueue({ ...other })
      const predicted = queue.tokensUntil(own)
      queue.enqueue({ ...own, isOwn: true })
      let tokens = 1
      while (!queue.dequeue()?.isOwn) tokens++
      // The slots of a priority are at fixed places of each sixteen, so it may miss the first ones.
      return tokens <= predicted + 16
    }),
  )
})
