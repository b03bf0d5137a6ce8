import t from 'tap'
import { Crowd } from '../../src/client/addressIndex.js'

t.test('each address has its own, in the order of their silence', async t => {
  const crowd = new Crowd<string>()
  for (const [address, one] of [
    ['a', 'a1'],
    ['b', 'b1'],
    ['a', 'a2'],
    ['a', 'a3'],
  ] as const) {
    crowd.join(address, one)
  }
  t.same([crowd.count('a'), crowd.count('b'), crowd.count('c'), crowd.most], [3, 1, 0, 3])
  t.equal(crowd.longest('a'), 'a1')
  t.same([crowd.largest('a'), crowd.largest('b'), crowd.largest('c')], ['a', 'a', 'a'])
  crowd.spoke('a', 'a1', false)
  t.equal(crowd.longest('a'), 'a2')
  crowd.spoke('a', 'a2', true)
  t.equal(crowd.longest('a'), 'a3', 'who is busy is not sent away')
  t.equal(crowd.count('a'), 3, 'and counts')
  t.equal(crowd.busiest('a'), 'a2')
  crowd.leave('a', 'a3')
  crowd.leave('a', 'a1')
  t.same([crowd.count('a'), crowd.most, crowd.longest('a')], [1, 1, undefined])
  crowd.leave('a', 'a2')
  crowd.leave('b', 'b1')
  t.same([crowd.most, crowd.longest(crowd.largest('a')), crowd.count('a')], [0, undefined, 0])
})

t.test('the most is right whoever comes and goes', async t => {
  const crowd = new Crowd<number>()
  const there = new Map<number, string>()
  let seed = 5
  const chance = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  for (let step = 0; step < 5_000; step++) {
    if (chance(2) === 0 && there.size > 0) {
      const [one, address] = [...there][chance(there.size)] as [number, string]
      there.delete(one)
      crowd.leave(address, one)
    } else {
      const address = `address ${chance(7)}`
      there.set(step, address)
      crowd.join(address, step)
    }
    const counts = new Map<string, number>()
    for (const address of there.values()) counts.set(address, (counts.get(address) ?? 0) + 1)
    const most = Math.max(0, ...counts.values())
    if (crowd.most !== most) t.fail(`${crowd.most} and not ${most}`)
    const longest = crowd.longest(crowd.largest('nobody'))
    if (most > 0 && counts.get(there.get(longest as number) ?? '') !== most) t.fail('of another address')
  }
  t.pass()
})
