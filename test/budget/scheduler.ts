import t from 'tap'
import { type AcquireTokens, createTokenBuckets } from '../../src/budget/buckets.js'
import type { QueueEntry } from '../../src/budget/fairQueue.js'
import { createScheduler, type ReleasePermit } from '../../src/budget/scheduler.js'
import { Fault } from '../../src/errors.js'
import { createManualClock } from '../support/clock.js'

const HOST = 'sts.eu-west-1.amazonaws.com'

type Request = Partial<QueueEntry> & { bucket?: string; host?: string; maxWaitMS?: number; signal?: AbortSignal }

/** A scheduler with, by default, a burst of one token and then ten tokens a second. */
function create({
  perSecond = 10,
  burst = 1,
  maxCalls = 100,
  acquireTokens,
}: {
  perSecond?: number
  burst?: number
  maxCalls?: number
  acquireTokens?: AcquireTokens
} = {}) {
  const clock = createManualClock(1_000_000)
  const buckets = createTokenBuckets({ perSecond, burst, maxKeys: 100, now: clock.now })
  const scheduler = createScheduler({
    acquireTokens: acquireTokens ?? buckets.acquireTokens,
    maxCalls,
    now: clock.now,
    after: clock.after,
  })
  const results: string[] = []
  /** Acquires a permit, and records the name of the request with its error, if any. */
  const acquire = async (
    name: string,
    {
      bucket = 'one',
      host = HOST,
      subnet = 'a',
      priority = 'normal',
      fingerprint = '',
      maxWaitMS = 4000,
      signal = new AbortController().signal,
    }: Request = {},
  ): Promise<ReleasePermit | undefined> => {
    try {
      const release = await scheduler.acquire(bucket, host, { subnet, priority, fingerprint }, maxWaitMS, signal)
      results.push(name)
      return release
    } catch (thrown) {
      results.push(
        `${name} ${thrown instanceof Fault ? `${thrown.kind} ${thrown.facts.backoffMS}` : (thrown as Error).message}`,
      )
      return undefined
    }
  }
  /** Advances the clock in small steps, with everything that happens in between. */
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 10) {
      clock.advance(Math.min(10, left))
      await settled()
    }
  }
  const countWaiting = () => [...scheduler.waitingByBucket()].reduce((sum, [, count]) => sum + count, 0)
  return { scheduler, clock, buckets, acquire, results, pass, countWaiting }
}
const settled = () => new Promise(setImmediate)

t.test('available tokens are granted at once, later ones as they arrive', async t => {
  const { acquire, results, pass, clock, countWaiting } = create({ burst: 2 })
  for (const name of ['1', '2', '3', '4']) void acquire(name)
  await settled()
  t.same(results, ['1', '2'])
  t.equal(countWaiting(), 2)
  await pass(100)
  t.same(results, ['1', '2', '3'])
  await pass(100)
  t.same(results, ['1', '2', '3', '4'])
  t.equal(countWaiting(), 0)
  t.equal(clock.waiting(), 0, 'no timer is left')
})

t.test('a wait beyond the limit is rejected at once, with the estimated wait, and delays no one', async t => {
  const { acquire, results, pass } = create()
  void acquire('1')
  void acquire('2')
  await settled()
  await acquire('impatient', { maxWaitMS: 150 })
  t.same(results, ['1', 'impatient budget/exhausted 200'])
  await pass(100)
  t.same(results.slice(2), ['2'])
})

t.test('an aborted wait leaves the queue and costs no token', async t => {
  const { acquire, results, pass, countWaiting } = create()
  const abort = new AbortController()
  void acquire('1')
  void acquire('aborted', { signal: abort.signal })
  void acquire('2')
  await settled()
  abort.abort(new Error('client closed'))
  await settled()
  t.same(results, ['1', 'aborted client closed'])
  t.equal(countWaiting(), 1)
  await pass(100)
  t.same(results.slice(2), ['2'], 'the next token is for the next waiter')
  const before = new AbortController()
  before.abort(new Error('client closed before'))
  await acquire('early', { signal: before.signal })
  t.equal(results.at(-1), 'early client closed before')
})

t.test('a flood from one subnet delays itself alone', async t => {
  const { acquire, results, pass } = create()
  for (let i = 0; i < 20; i++) void acquire(`a${i}`)
  await settled()
  void acquire('b', { subnet: 'b' })
  await pass(200)
  t.same(results, ['a0', 'a1', 'b'])
})

t.test('known credentials go before a flood of suspects, which still gets a share', async t => {
  const { acquire, results, pass } = create({ perSecond: 100 })
  for (let i = 0; i < 60; i++) void acquire('flood', { subnet: 'evil', priority: 'suspect' })
  await settled()
  await pass(50)
  for (let i = 0; i < 6; i++) void acquire('honest', { subnet: 'good', priority: 'known' })
  const before = results.length
  await pass(80)
  t.equal(results.slice(before).filter(name => name === 'honest').length, 6)
  await pass(500)
  t.ok(results.filter(name => name === 'flood').length > 40)
})

t.test('a waiter that can no longer be served in time is rejected before its deadline', async t => {
  const { acquire, results, pass, clock } = create({ perSecond: 10 })
  for (let i = 0; i < 40; i++) void acquire(`a${i}`)
  await settled()
  const started = clock.now()
  const rejectedAt: number[] = []
  for (let i = 0; i < 20; i++) {
    for (const subnet of ['b', 'c']) void acquire(subnet, { subnet })
    await pass(100)
    const rejected = results.filter(result => result.includes('budget/exhausted')).length
    while (rejectedAt.length < rejected) rejectedAt.push(clock.now() - started)
  }
  t.ok(rejectedAt.length > 5, `${rejectedAt.length} of forty`)
  t.ok((rejectedAt[0] ?? 9999) < 1000, 'the first one early')
})

t.test('concurrent calls to a host are bounded, and accounts receive them round-robin', async t => {
  const { acquire, results, scheduler } = create({ perSecond: 1000, burst: 100, maxCalls: 2 })
  const first = await acquire('1')
  const second = await acquire('2')
  for (const name of ['x0', 'x1', 'x2', 'x3']) void acquire(name, { bucket: 'x' })
  for (const name of ['y0', 'y1']) void acquire(name, { bucket: 'y' })
  await settled()
  t.same(results, ['1', '2'])
  first?.()
  first?.()
  await settled()
  t.same(results.slice(2), ['x0'], 'a second release of the same permit does nothing')
  second?.()
  await settled()
  t.same(results.slice(2), ['x0', 'y0'])
  t.equal(scheduler.countPending(HOST), 6, 'two calls and four waiters')
  t.equal(scheduler.countPending('another'), 0)
  await acquire('elsewhere', { host: 'another' })
  t.equal(results.at(-1), 'elsewhere', 'another host has calls of its own')
})

t.test('made-up accounts, however many, do not keep known credentials from the calls of a host', async t => {
  const { acquire, results } = create({ perSecond: 1000, burst: 100, maxCalls: 1 })
  let release = await acquire('first')
  const next = (name: string, request: Request) =>
    void acquire(name, request).then(granted => {
      release = granted
    })
  for (let i = 0; i < 200; i++) next('made up', { bucket: `a${i}`, subnet: 'evil', priority: 'suspect' })
  for (let i = 0; i < 20; i++) next('new', { bucket: 'another', subnet: 'pod' })
  for (let i = 0; i < 20; i++) next('known', { bucket: 'honest', subnet: 'good', priority: 'known' })
  for (let i = 0; i < 16; i++) {
    await settled()
    release?.()
  }
  await settled()
  const count = (name: string) => results.slice(1).filter(result => result === name).length
  t.same([count('known'), count('new'), count('made up')], [12, 3, 1])
})

t.test('a waiter is rejected at its deadline even if the host never answers a call', async t => {
  const { acquire, results, pass, countWaiting } = create({ perSecond: 1000, burst: 10, maxCalls: 1 })
  await acquire('1')
  void acquire('2', { maxWaitMS: 300 })
  await pass(360)
  t.match(results, ['1', /^2 budget\/exhausted/])
  t.equal(countWaiting(), 0)
})

t.test('a throttle lengthens the wait', async t => {
  const { acquire, results, pass, buckets } = create({ perSecond: 10 })
  void acquire('1')
  void acquire('2')
  await settled()
  buckets.recordThrottle('one')
  await pass(120)
  t.same(results, ['1'])
  await pass(100)
  t.same(results, ['1', '2'])
})

t.test('logins of a credential that becomes known while they wait go first', async t => {
  const { acquire, results, pass, scheduler } = create({ perSecond: 10 })
  for (let i = 0; i < 20; i++) void acquire(`other ${i}`, { subnet: 'b' })
  void acquire('known', { fingerprint: 'known' })
  void acquire('known too', { fingerprint: 'known' })
  await settled()
  scheduler.promote('a', 'known')
  await pass(200)
  t.same(results, ['other 0', 'known', 'known too'])
})

t.test('tokens may be leased asynchronously, for as many as wait', async t => {
  const wanted: number[] = []
  const answers: ((tokens: number) => void)[] = []
  const acquireTokens: AcquireTokens = (_, count) => {
    wanted.push(count)
    return new Promise((resolve, reject) =>
      answers.push(tokens =>
        tokens < 0 ? reject(new Error('unreachable')) : resolve({ tokens, retryAfterMS: 20, perSecond: 50 }),
      ),
    )
  }
  const { acquire, results, pass } = create({ acquireTokens })
  for (const name of ['1', '2', '3', '4']) void acquire(name)
  await settled()
  for (const answer of answers.splice(0)) answer(0)
  await settled()
  await pass(20)
  t.equal(wanted.at(-1), 4)
  t.same(results, [])
  answers.splice(0)[0]?.(3)
  await settled()
  t.same(results, ['1', '2', '3'])
  await pass(30)
  answers.splice(0)[0]?.(-1)
  await settled()
  await pass(60)
  answers.splice(0)[0]?.(1)
  await settled()
  t.same(results, ['1', '2', '3', '4'], 'a failed request for tokens is retried')
})
