import t from 'tap'
import { createHostSelector, type HostSelectorOptions } from '../../src/budget/hostHealth.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import { createManualClock } from '../support/clock.js'

const [A, B, C] = ['sts.eu-west-1.amazonaws.com', 'sts.eu-central-1.amazonaws.com', 'sts.amazonaws.com'] as const
const identity: StsOutcome = { is: 'identity', identity: {} as never }
const refused: StsOutcome = { is: 'refused', code: 'SignatureDoesNotMatch' }
const throttled: StsOutcome = { is: 'throttled', code: 'Throttling' }
const unreachable: StsOutcome = { is: 'unavailable', why: 'ECONNREFUSED', next: 'retry' }
const oddAnswer: StsOutcome = { is: 'unavailable', why: 'it answered 413', next: 'none' }
const regionDisabled: StsOutcome = {
  is: 'unavailable',
  why: 'InvalidClientTokenId from another host',
  next: 'first-host',
}
const CLIENT = '10.0.0.1'

/** A selector whose random numbers are spread evenly. */
function create(hosts: readonly string[] = [A, B], options: Partial<HostSelectorOptions> = {}) {
  const clock = createManualClock(1_000_000)
  const changes: [string, boolean][] = []
  let drawn = 0
  const selector = createHostSelector({
    hosts,
    countPending: () => 0,
    random: () => (drawn++ % 100) / 100,
    now: clock.now,
    maxSubnets: 100,
    onHealthChange: (host, isHealthy) => changes.push([host, isHealthy]),
    ...options,
  })
  const record = (host: string, outcome: StsOutcome, times = 1) => {
    for (let i = 0; i < times; i++) selector.recordOutcome(host, outcome, CLIENT)
  }
  /** How often each host was selected in a hundred times. */
  const selections = (address = CLIENT) => {
    const counts: Record<string, number> = Object.fromEntries(hosts.map(name => [name, 0]))
    for (let i = 0; i < 100; i++) {
      const host = selector.selectHost(address)
      counts[host] = (counts[host] ?? 0) + 1
    }
    return counts
  }
  const recordDisabledRegion = (address: string) => selector.recordOutcome(B, regionDisabled, address)
  return { ...selector, record, recordDisabledRegion, selections, clock, changes }
}

t.test('healthy and idle hosts are selected equally often', async t => {
  t.same(create().selections(), { [A]: 50, [B]: 50 })
  const { selectHost } = create([A])
  t.equal(selectHost(CLIENT), A)
})

t.test('a busy host is selected less often', async t => {
  const { selections } = create([A, B], { countPending: host => (host === A ? 3 : 0) })
  t.same(selections(), { [A]: 20, [B]: 80 })
})

t.test('a host that fails or throttles repeatedly is ejected', async t => {
  for (const [bad, tolerated] of [
    [unreachable, 4],
    [throttled, 17],
    [oddAnswer, 17],
  ] as const) {
    const { record, selections, changes, health } = create()
    record(A, bad, tolerated)
    t.ok((selections()[A] ?? 0) > 20, 'a few bad answers may be chance, or caused by one account')
    record(A, bad)
    t.same(selections(), { [A]: 0, [B]: 100 })
    t.same(changes, [[A, false]])
    t.same(health(), { [A]: 0, [B]: 1 })
  }
})

t.test('the ejection of a host has its last bad answer as reason', async t => {
  for (const [bad, why] of [
    [unreachable, 'ECONNREFUSED'],
    [throttled, 'STS throttled the call: Throttling'],
    [oddAnswer, 'it answered 413'],
  ] as const) {
    const reasons: unknown[] = []
    const { record } = create([A, B], { onHealthChange: (...change) => reasons.push(change) })
    record(A, bad, 20)
    t.same(reasons, [[A, false, why]])
  }
})

t.test('a host that mostly fails is selected less often, and then ejected', async t => {
  const { record, selections } = create()
  record(A, unreachable)
  record(A, identity)
  record(A, unreachable)
  const { [A]: sick = 0, [B]: sound = 0 } = selections()
  t.ok(sick < sound)
  for (let i = 0; i < 5; i++) {
    record(A, identity)
    record(A, unreachable, 2)
  }
  t.equal(selections()[A], 0)
})

t.test('refusals do not affect health', async t => {
  const { record, selections } = create()
  record(A, refused, 50)
  record(A, { is: 'refused', code: 'RegionDisabledException' }, 50)
  record(B, regionDisabled, 50)
  t.same(selections('10.0.0.2'), { [A]: 50, [B]: 50 })
})

t.test('after a pause one probe is sent, and a good answer restores the host', async t => {
  const { record, selectHost, selections, clock, changes } = create()
  record(A, unreachable, 5)
  clock.advance(999)
  t.equal(selections()[A], 0)
  clock.advance(1)
  t.equal(selectHost(CLIENT), A)
  t.equal(selections()[A], 0, 'one probe at a time')
  record(A, identity)
  t.same(changes, [
    [A, false],
    [A, true],
  ])
  const { [A]: share = 0 } = selections()
  t.ok(share > 20 && share < 50, 'at first it gets less than the other host')
  record(A, identity, 20)
  t.ok((selections()[A] ?? 0) >= 49)
})

t.test('pauses between failed probes grow to a minute, and start over once the host is sound', async t => {
  const { record, selectHost, selections, clock } = create()
  record(A, unreachable, 5)
  for (const pause of [1, 2, 4, 8, 16, 32, 60, 60]) {
    clock.advance(pause * 1_000 - 1)
    t.equal(selections()[A], 0, `before ${pause} s`)
    clock.advance(1)
    t.equal(selectHost(CLIENT), A, `after ${pause} s`)
    record(A, unreachable)
  }
  clock.advance(60_000)
  t.equal(selectHost(CLIENT), A)
  record(A, identity, 30)
  record(A, unreachable, 6)
  t.equal(selections()[A], 0)
  clock.advance(1_000)
  t.equal(selectHost(CLIENT), A)
})

t.test('answers to calls from before the ejection change nothing', async t => {
  const { record, selections, clock, selectHost } = create()
  record(A, unreachable, 5)
  record(A, identity, 3)
  record(A, unreachable, 20)
  t.equal(selections()[A], 0)
  clock.advance(1_000)
  t.equal(selectHost(CLIENT), A, 'the pause has not grown')
})

t.test('a probe without an outcome is followed by another', async t => {
  const { record, selectHost, selections, clock } = create()
  record(A, unreachable, 5)
  clock.advance(1_000)
  t.equal(selectHost(CLIENT), A)
  clock.advance(9_999)
  t.equal(selections()[A], 0)
  clock.advance(1)
  t.equal(selectHost(CLIENT), A)
})

t.test('a client that takes probes and never signs cannot keep a host ejected', async t => {
  const { record, selections, clock } = create()
  record(A, unreachable, 5)
  clock.advance(1_000)
  let taken = 0
  for (let ms = 0; ms < 30_000; ms += 100) {
    taken += selections('192.0.2.66')[A] ?? 0
    clock.advance(100)
  }
  t.ok(taken > 50, `${taken} probes in half a minute, one of which soon goes to an honest client`)
  selections('192.0.2.66')
  record(A, identity)
  t.ok((selections()[A] ?? 0) > 20)
  record(A, unreachable, 5)
  clock.advance(2_000)
  t.equal(selections()[A], 1)
  clock.advance(9_000)
  t.equal(selections()[A], 0, 'after the next ejection, the time of a probe starts over')
})

t.test('if all hosts are ejected, all are selected, and one good answer restores a host', async t => {
  const { record, selections } = create()
  record(A, unreachable, 5)
  record(B, unreachable, 5)
  t.same(selections(), { [A]: 50, [B]: 50 })
  record(B, identity)
  t.same(selections(), { [A]: 0, [B]: 100 })
  const single = create([A])
  single.record(A, unreachable, 50)
  t.equal(single.selectHost(CLIENT), A)
  t.same(single.health(), { [A]: 0 })
})

t.test('a client whose region is disabled is offered the first host for a while', async t => {
  const { record, selections, clock } = create([A, B, C])
  record(B, regionDisabled)
  t.same(selections(), { [A]: 100, [B]: 0, [C]: 0 })
  t.ok((selections('10.0.0.2')[B] ?? 0) > 30, 'other clients are not affected')
  clock.advance(10 * 60_000)
  t.ok((selections()[B] ?? 0) > 30)
})

t.test('an imitated answer about a disabled region has the same effect, and says nothing about a host', async t => {
  const { preferFirstHost, record, selections, health } = create([A, B])
  record(B, unreachable, 2)
  const before = health()
  preferFirstHost(CLIENT)
  t.same(selections(), { [A]: 100, [B]: 0 })
  t.same(health(), before)
})

t.test('an ejected first host is not offered on account of a disabled region, until it is restored', async t => {
  const { record, selections, clock, selectHost } = create([A, B, C])
  record(B, regionDisabled)
  record(A, unreachable, 5)
  t.same(selections(), { [A]: 0, [B]: 50, [C]: 50 })
  clock.advance(1_000)
  t.equal(selectHost(CLIENT), A, 'a probe')
  record(A, identity)
  t.same(selections(), { [A]: 100, [B]: 0, [C]: 0 })
})

t.test('a disabled region applies to the whole /64', async t => {
  const { recordDisabledRegion, selectHost } = create([A, B], { random: () => 0.99 })
  t.equal(selectHost('2001:db8::1'), B)
  recordDisabledRegion('2001:db8::ffff')
  t.equal(selectHost('2001:db8::1'), A)
  t.equal(selectHost('2001:db8:0:1::1'), B)
})

t.test('the number of subnets that are restricted to the first host is bounded', async t => {
  const { recordDisabledRegion, selectHost } = create([A, B], { maxSubnets: 2, random: () => 0.99 })
  for (const address of ['10.0.0.1', '10.0.0.2', '10.0.0.3']) recordDisabledRegion(address)
  t.equal(selectHost('10.0.0.1'), B, 'the first one was dropped')
  t.equal(selectHost('10.0.0.3'), A)
})

t.test('the outcome of an unknown host is ignored', async t => {
  const { record, health } = create()
  record('sts.us-east-1.amazonaws.com', unreachable, 9)
  t.same(health(), { [A]: 1, [B]: 1 })
})
