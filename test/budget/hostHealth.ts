import t from 'tap'
import { createHostSelector, type HostSelectorOptions } from '../../src/budget/hostHealth.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import { createManualClock } from '../support/clock.js'

const [A, B, C] = ['sts.eu-west-1.amazonaws.com', 'sts.eu-central-1.amazonaws.com', 'sts.amazonaws.com'] as const
const identity: StsOutcome = { is: 'identity', identity: {} as never }
const refused: StsOutcome = { is: 'refused', code: 'SignatureDoesNotMatch' }
const throttled: StsOutcome = { is: 'throttled', code: 'Throttling' }
const away: StsOutcome = { is: 'unavailable', why: 'ECONNREFUSED', next: 'again' }
const odd: StsOutcome = { is: 'unavailable', why: 'it answered 413', next: 'later' }
const elsewhere: StsOutcome = { is: 'unavailable', why: 'InvalidClientTokenId from another', next: 'first' }
const POD = '10.0.0.1'

/** Hosts whose draws go evenly over what is to be drawn. */
function house(names: readonly string[] = [A, B], wanted: Partial<HostSelectorOptions> = {}) {
  const clock = createManualClock(1_000_000)
  const told: [string, boolean][] = []
  let turn = 0
  const parts = createHostSelector({
    hosts: names,
    countPending: () => 0,
    random: () => (turn++ % 100) / 100,
    now: clock.now,
    maxSubnets: 100,
    onHealthChange: (host, up) => told.push([host, up]),
    ...wanted,
  })
  const saw = (host: string, outcome: StsOutcome, times = 1) => {
    for (let i = 0; i < times; i++) parts.recordOutcome(host, outcome, POD)
  }
  /** How often each was drawn of a hundred. */
  const drawn = (address = POD) => {
    const counts: Record<string, number> = Object.fromEntries(names.map(name => [name, 0]))
    for (let i = 0; i < 100; i++) {
      const host = parts.selectHost(address)
      counts[host] = (counts[host] ?? 0) + 1
    }
    return counts
  }
  const steer = (address: string) => parts.recordOutcome(B, elsewhere, address)
  return { ...parts, saw, steer, drawn, clock, told }
}

t.test('healthy and idle hosts share alike', async t => {
  t.same(house().drawn(), { [A]: 50, [B]: 50 })
  const { selectHost } = house([A])
  t.equal(selectHost(POD), A)
})

t.test('a busy host is drawn less, and not never', async t => {
  const { drawn } = house([A, B], { countPending: host => (host === A ? 3 : 0) })
  t.same(drawn(), { [A]: 20, [B]: 80 })
})

t.test('a host that fails or throttles again and again is left alone', async t => {
  for (const [bad, some] of [
    [away, 4],
    [throttled, 17],
    [odd, 17],
  ] as const) {
    const { saw, drawn, told, health } = house()
    saw(A, bad, some)
    t.ok((drawn()[A] ?? 0) > 20, 'some may be chance, or one account alone')
    saw(A, bad)
    t.same(drawn(), { [A]: 0, [B]: 100 })
    t.same(told, [[A, false]])
    t.same(health(), { [A]: 0, [B]: 1 })
  }
})

t.test('so is one that fails most of the time, and a sick one is drawn less before that', async t => {
  const { saw, drawn } = house()
  saw(A, away)
  saw(A, identity)
  saw(A, away)
  const { [A]: sick = 0, [B]: sound = 0 } = drawn()
  t.ok(sick < sound)
  for (let i = 0; i < 5; i++) {
    saw(A, identity)
    saw(A, away, 2)
  }
  t.equal(drawn()[A], 0)
})

t.test('a host that refuses works', async t => {
  const { saw, drawn } = house()
  saw(A, refused, 50)
  saw(B, elsewhere, 50)
  t.same(drawn('10.0.0.2'), { [A]: 50, [B]: 50 })
})

t.test('one probe goes after a pause, and brings it back if it is good', async t => {
  const { saw, selectHost, drawn, clock, told } = house()
  saw(A, away, 5)
  clock.advance(999)
  t.equal(drawn()[A], 0)
  clock.advance(1)
  t.equal(selectHost(POD), A)
  t.equal(drawn()[A], 0, 'one probe at a time')
  saw(A, identity)
  t.same(told, [
    [A, false],
    [A, true],
  ])
  const { [A]: back = 0 } = drawn()
  t.ok(back > 20 && back < 50, 'at first it gets less than the other')
  saw(A, identity, 20)
  t.ok((drawn()[A] ?? 0) >= 49)
})

t.test('the pauses between bad probes grow to a minute, and begin anew once it was sound', async t => {
  const { saw, selectHost, drawn, clock } = house()
  saw(A, away, 5)
  for (const pause of [1, 2, 4, 8, 16, 32, 60, 60]) {
    clock.advance(pause * 1_000 - 1)
    t.equal(drawn()[A], 0, `before ${pause} s`)
    clock.advance(1)
    t.equal(selectHost(POD), A, `after ${pause} s`)
    saw(A, away)
  }
  clock.advance(60_000)
  t.equal(selectHost(POD), A)
  saw(A, identity, 30)
  saw(A, away, 6)
  t.equal(drawn()[A], 0)
  clock.advance(1_000)
  t.equal(selectHost(POD), A)
})

t.test('answers that were under way when it was left alone change nothing', async t => {
  const { saw, drawn, clock, selectHost } = house()
  saw(A, away, 5)
  saw(A, identity, 3)
  saw(A, away, 20)
  t.equal(drawn()[A], 0)
  clock.advance(1_000)
  t.equal(selectHost(POD), A, 'the pause has not grown')
})

t.test('a probe that never asks STS is followed by another', async t => {
  const { saw, selectHost, drawn, clock } = house()
  saw(A, away, 5)
  clock.advance(1_000)
  t.equal(selectHost(POD), A)
  clock.advance(9_999)
  t.equal(drawn()[A], 0)
  clock.advance(1)
  t.equal(selectHost(POD), A)
})

t.test('who takes the probes of a host and never asks STS cannot keep it away', async t => {
  const { saw, drawn, clock } = house()
  saw(A, away, 5)
  clock.advance(1_000)
  let taken = 0
  for (let ms = 0; ms < 30_000; ms += 100) {
    taken += drawn('192.0.2.66')[A] ?? 0
    clock.advance(100)
  }
  t.ok(taken > 50, `${taken} probes in half a minute, of which an honest one takes one soon`)
  drawn('192.0.2.66')
  saw(A, identity)
  t.ok((drawn()[A] ?? 0) > 20)
  saw(A, away, 5)
  clock.advance(2_000)
  t.equal(drawn()[A], 1)
  clock.advance(9_000)
  t.equal(drawn()[A], 0, 'another time it begins anew')
})

t.test('when every host is left alone, all are drawn, and one good answer brings its host back', async t => {
  const { saw, drawn } = house()
  saw(A, away, 5)
  saw(B, away, 5)
  t.same(drawn(), { [A]: 50, [B]: 50 })
  saw(B, identity)
  t.same(drawn(), { [A]: 0, [B]: 100 })
  const { saw: see, selectHost, health } = house([A])
  see(A, away, 50)
  t.equal(selectHost(POD), A)
  t.same(health(), { [A]: 0 })
})

t.test('whose region is disabled is offered the first host for a while', async t => {
  const { saw, drawn, clock } = house([A, B, C])
  saw(B, elsewhere)
  t.same(drawn(), { [A]: 100, [B]: 0, [C]: 0 })
  t.ok((drawn('10.0.0.2')[B] ?? 0) > 30, 'others are not')
  clock.advance(10 * 60_000)
  t.ok((drawn()[B] ?? 0) > 30)
})

t.test('nobody is steered to a first host that is left alone, and again once it is back', async t => {
  const { saw, drawn, clock, selectHost } = house([A, B, C])
  saw(B, elsewhere)
  saw(A, away, 5)
  t.same(drawn(), { [A]: 0, [B]: 50, [C]: 50 })
  clock.advance(1_000)
  t.equal(selectHost(POD), A, 'a probe')
  saw(A, identity)
  t.same(drawn(), { [A]: 100, [B]: 0, [C]: 0 })
})

t.test('the addresses of one /64 are steered together', async t => {
  const { steer, selectHost } = house([A, B], { random: () => 0.99 })
  t.equal(selectHost('2001:db8::1'), B)
  steer('2001:db8::ffff')
  t.equal(selectHost('2001:db8::1'), A)
  t.equal(selectHost('2001:db8:0:1::1'), B)
})

t.test('strangers cannot grow the memory of addresses', async t => {
  const { steer, selectHost } = house([A, B], { maxSubnets: 2, random: () => 0.99 })
  for (const address of ['10.0.0.1', '10.0.0.2', '10.0.0.3']) steer(address)
  t.equal(selectHost('10.0.0.1'), B, 'the first was forgotten')
  t.equal(selectHost('10.0.0.3'), A)
})

t.test('a host that is none of them is ignored', async t => {
  const { saw, health } = house()
  saw('sts.us-east-1.amazonaws.com', away, 9)
  t.same(health(), { [A]: 1, [B]: 1 })
})
