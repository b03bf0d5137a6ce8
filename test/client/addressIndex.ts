import t from 'tap'
import { AddressIndex } from '../../src/client/addressIndex.js'

t.test('each address keeps its own connections in the order of their silence', async t => {
  const index = new AddressIndex<string>()
  for (const [address, connection] of [
    ['a', 'a1'],
    ['b', 'b1'],
    ['a', 'a2'],
    ['a', 'a3'],
  ] as const) {
    index.add(address, connection)
  }
  t.same([index.count('a'), index.count('b'), index.count('c'), index.maxCount], [3, 1, 0, 3])
  t.equal(index.longestSilent('a'), 'a1')
  t.same([index.largestAddress('a'), index.largestAddress('b'), index.largestAddress('c')], ['a', 'a', 'a'])
  index.touch('a', 'a1', 'newcomer')
  t.equal(index.longestSilent('a'), 'a2')
  index.touch('a', 'a2', 'busy')
  t.equal(index.longestSilent('a'), 'a3', 'a busy connection is not silent')
  t.equal(index.count('a'), 3, 'and counts')
  t.equal(index.longestBusy('a'), 'a2')
  index.remove('a', 'a3')
  index.remove('a', 'a1')
  t.same([index.count('a'), index.maxCount, index.longestSilent('a')], [1, 1, undefined])
  index.remove('a', 'a2')
  index.remove('b', 'b1')
  t.same([index.maxCount, index.longestSilent(index.largestAddress('a')), index.count('a')], [0, undefined, 0])
})

t.test('the largest address is right after any sequence of additions and removals', async t => {
  const index = new AddressIndex<number>()
  const expected = new Map<number, string>()
  let seed = 5
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  for (let step = 0; step < 5_000; step++) {
    if (random(2) === 0 && expected.size > 0) {
      const [connection, address] = [...expected][random(expected.size)] as [number, string]
      expected.delete(connection)
      index.remove(address, connection)
    } else {
      const address = `address ${random(7)}`
      expected.set(step, address)
      index.add(address, step)
    }
    const counts = new Map<string, number>()
    for (const address of expected.values()) counts.set(address, (counts.get(address) ?? 0) + 1)
    const max = Math.max(0, ...counts.values())
    if (index.maxCount !== max) t.fail(`${index.maxCount} instead of ${max}`)
    const longest = index.longestSilent(index.largestAddress('an unknown address'))
    if (max > 0 && counts.get(expected.get(longest as number) ?? '') !== max) t.fail('it belongs to a smaller address')
  }
  t.pass()
})
