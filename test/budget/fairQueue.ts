import fc from 'fast-check'
import t from 'tap'
import { createFairQueue, type Priority, type QueueEntry } from '../../src/budget/fairQueue.js'

type Named = QueueEntry & { name: string }
const waiting = (name: string, subnet: string, priority: Priority = 'plain'): Named => ({
  name,
  subnet,
  priority,
  fingerprint: name,
})

/** A queue in which these wait, in this order. */
function standing(...all: Named[]) {
  const line = createFairQueue<Named>()
  for (const one of all) line.enqueue(one)
  const order = () => {
    const names: string[] = []
    for (let one = line.dequeue(); one; one = line.dequeue()) names.push(one.name)
    return names
  }
  return { line, order }
}
const crowd = (count: number, address: string, priority: Priority = 'plain') =>
  Array.from({ length: count }, (_, i) => waiting(`${address}${i}`, address, priority))

t.test('addresses take turns, and each is served in the order of arrival', async t => {
  const { line, order } = standing(...crowd(4, 'a'), waiting('b0', 'b'), waiting('c0', 'c'), waiting('b1', 'b'))
  t.equal(line.length, 7)
  t.same(order(), ['a0', 'b0', 'c0', 'a1', 'b1', 'a2', 'a3'])
  t.equal(line.length, 0)
})

t.test('an address that comes again takes its place behind the others', async t => {
  const { line } = standing(waiting('a0', 'a'), waiting('b0', 'b'))
  t.equal(line.dequeue()?.name, 'a0')
  line.enqueue(waiting('a1', 'a'))
  t.equal(line.dequeue()?.name, 'b0')
  t.equal(line.dequeue()?.name, 'a1')
})

t.test('of sixteen tokens twelve are for the known, three for the plain, one for suspects', async t => {
  const { line } = standing(...crowd(99, 'k', 'known'), ...crowd(99, 'p'), ...crowd(99, 's', 'suspect'))
  const served = { known: 0, plain: 0, suspect: 0 }
  for (let i = 0; i < 64; i++) served[line.dequeue()?.priority ?? 'plain']++
  t.same(served, { known: 48, plain: 12, suspect: 4 })
})

t.test('what one class does not need goes to the others, the better one first', async t => {
  t.same(standing(...crowd(3, 's', 'suspect'), ...crowd(3, 'p')).order(), ['p0', 'p1', 'p2', 's0', 's1', 's2'])
})

t.test('whoever leaves is not served, and makes room', async t => {
  const [first, second, third] = crowd(3, 'a') as [Named, Named, Named]
  const { line, order } = standing(first, second, third)
  t.ok(line.remove(second))
  t.notOk(line.remove(second), 'once')
  t.equal(line.length, 2)
  t.same(order(), ['a0', 'a2'])
  t.notOk(line.remove(third), 'nor after it was served')
})

t.test('the last of an address are cut off, and nobody else', async t => {
  const { line, order } = standing(...crowd(5, 'a'), ...crowd(2, 'b'))
  const ahead: number[] = []
  const late = line.removeLate({ subnet: 'a', priority: 'plain' }, (_, before) => ahead.push(before) > 0 && before > 7)
  t.same(
    late.map(({ name }) => name),
    ['a4'],
  )
  t.same(ahead, [8, 7])
  t.same(
    line.removeLate({ subnet: 'z', priority: 'plain' }, () => true),
    [],
  )
  t.same(order(), ['a0', 'b0', 'a1', 'b1', 'a2', 'a3'])
})

t.test('those whose time is over are taken out of every class', async t => {
  const { line, order } = standing(...crowd(3, 'a'), waiting('b0', 'b'), ...crowd(1, 'k', 'known'))
  const over = line.removeExpired(({ name }) => ['a0', 'a1', 'k0'].includes(name))
  t.same(over.map(({ name }) => name).sort(), ['a0', 'a1', 'k0'])
  t.same(order(), ['a2', 'b0'], 'the turns of the others stay as they were')
})

t.test('whose credential became known goes before the others, in the order of before', async t => {
  const of = (name: string, holder: string, priority: Priority = 'plain') => ({
    ...waiting(name, 'a', priority),
    holder,
  })
  const { line, order } = standing(
    of('a0', 'x'),
    of('a1', 'y'),
    of('a2', 'x'),
    of('a3', 'y', 'suspect'),
    waiting('b0', 'b'),
  )
  t.ok(line.promote('a', 'y'))
  t.notOk(line.promote('a', 'y'), 'once')
  t.notOk(line.promote('b', 'y'), 'at its own address')
  t.equal(line.bestPriority, 'known')
  t.equal(line.length, 5)
  t.same(order(), ['a1', 'a3', 'a0', 'b0', 'a2'])
})

t.test('nobody is served later than was foretold, if nobody comes after', async () => {
  const place = fc.record({
    subnet: fc.constantFrom('a', 'b', 'c', 'd'),
    priority: fc.constantFrom<Priority>('known', 'plain', 'suspect'),
    fingerprint: fc.constantFrom('x', 'y'),
  })
  fc.assert(
    fc.property(fc.array(place, { maxLength: 80 }), place, (others, mine) => {
      const line = createFairQueue<QueueEntry & { mine?: true }>()
      for (const other of others) line.enqueue({ ...other })
      const foretold = line.tokensUntil(mine)
      line.enqueue({ ...mine, mine: true })
      let tokens = 1
      while (!line.dequeue()?.mine) tokens++
      // A class may miss its first turns, as they come at fixed places of each sixteen.
      return tokens <= foretold + 16
    }),
  )
})
