import t from 'tap'
import { type AcquireTokens, createTokenBuckets } from '../../src/budget/buckets.js'
import type { Priority, QueueEntry } from '../../src/budget/fairQueue.js'
import { createScheduler, type ReleasePermit } from '../../src/budget/scheduler.js'
import { Fault } from '../../src/errors.js'
import { createManualClock } from '../support/clock.js'

const HOST = 'sts.eu-west-1.amazonaws.com'

/** Ten a second after the first one, unless told. */
function standing({
  perSecond = 10,
  burst = 1,
  calls = 100,
  lend,
}: {
  perSecond?: number
  burst?: number
  calls?: number
  lend?: AcquireTokens
} = {}) {
  const clock = createManualClock(1_000_000)
  const budget = createTokenBuckets({ perSecond, burst, maxKeys: 100, now: clock.now })
  const all = createScheduler({
    acquireTokens: lend ?? budget.acquireTokens,
    maxCalls: calls,
    now: clock.now,
    after: clock.after,
  })
  const ends: string[] = []
  /** Takes a turn, and writes down how that ended. */
  const take = (
    name: string,
    {
      bucket = 'one',
      host = HOST,
      subnet = 'a',
      priority = 'plain',
      fingerprint = '',
      patience = 4000,
      signal = new AbortController().signal,
    }: Partial<QueueEntry> & {
      bucket?: string
      host?: string
      patience?: number
      signal?: AbortSignal
      priority?: Priority
    } = {},
  ): Promise<ReleasePermit | undefined> =>
    all.acquire(bucket, host, { subnet, priority, fingerprint }, patience, signal).then(
      done => {
        ends.push(name)
        return done
      },
      thrown => {
        ends.push(`${name} ${thrown instanceof Fault ? `${thrown.kind} ${thrown.facts.backoffMS}` : thrown.message}`)
        return undefined
      },
    )
  /** Lets time pass in small steps, with everything that happens in it. */
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 10) {
      clock.advance(Math.min(10, left))
      await settled()
    }
  }
  const queued = () => [...all.waitingByBucket()].reduce((sum, [, count]) => sum + count, 0)
  return { ...all, clock, budget, take, ends, pass, queued }
}
const settled = () => new Promise(setImmediate)

t.test('what is there is given at once, the rest as it comes', async t => {
  const { take, ends, pass, clock, queued } = standing({ burst: 2 })
  for (const name of ['1', '2', '3', '4']) void take(name)
  await settled()
  t.same(ends, ['1', '2'])
  t.equal(queued(), 2)
  await pass(100)
  t.same(ends, ['1', '2', '3'])
  await pass(100)
  t.same(ends, ['1', '2', '3', '4'])
  t.equal(queued(), 0)
  t.equal(clock.waiting(), 0, 'nothing goes on')
})

t.test('who would wait too long is told at once, with how long, and takes nobody a place', async t => {
  const { take, ends, pass } = standing()
  void take('1')
  void take('2')
  await settled()
  await take('impatient', { patience: 150 })
  t.same(ends, ['1', 'impatient budget/exhausted 200'])
  await pass(100)
  t.same(ends.slice(2), ['2'])
})

t.test('whoever leaves gives the place back, and costs no token', async t => {
  const { take, ends, pass, queued } = standing()
  const gone = new AbortController()
  void take('1')
  void take('leaves', { signal: gone.signal })
  void take('2')
  await settled()
  gone.abort(new Error('left'))
  await settled()
  t.same(ends, ['1', 'leaves left'])
  t.equal(queued(), 1)
  await pass(100)
  t.same(ends.slice(2), ['2'], 'the token was not for the one that left')
  const before = new AbortController()
  before.abort(new Error('left before'))
  await take('early', { signal: before.signal })
  t.equal(ends.at(-1), 'early left before')
})

t.test('a crowd behind one address waits for itself', async t => {
  const { take, ends, pass } = standing()
  for (let i = 0; i < 20; i++) void take(`a${i}`)
  await settled()
  void take('b', { subnet: 'b' })
  await pass(200)
  t.same(ends, ['a0', 'a1', 'b'])
})

t.test('the known go before a flood of suspects, which is not shut out', async t => {
  const { take, ends, pass } = standing({ perSecond: 100 })
  for (let i = 0; i < 60; i++) void take('flood', { subnet: 'evil', priority: 'suspect' })
  await settled()
  await pass(50)
  for (let i = 0; i < 6; i++) void take('honest', { subnet: 'good', priority: 'known' })
  const before = ends.length
  await pass(80)
  t.equal(ends.slice(before).filter(name => name === 'honest').length, 6)
  await pass(500)
  t.ok(ends.filter(name => name === 'flood').length > 40)
})

t.test('who is overtaken so that its time will not do is told before that time is over', async t => {
  const { take, ends, pass, clock } = standing({ perSecond: 10 })
  for (let i = 0; i < 40; i++) void take(`a${i}`)
  await settled()
  const started = clock.now()
  const told: number[] = []
  for (let i = 0; i < 20; i++) {
    for (const subnet of ['b', 'c']) void take(subnet, { subnet })
    await pass(100)
    const late = ends.filter(end => end.includes('budget/exhausted')).length
    while (told.length < late) told.push(clock.now() - started)
  }
  t.ok(told.length > 5, `${told.length} of the forty`)
  t.ok((told[0] ?? 9999) < 1000, 'the first of them soon')
})

t.test('no more calls at a time than a host has, and accounts take turns for them', async t => {
  const { take, ends, countPending } = standing({ perSecond: 1000, burst: 100, calls: 2 })
  const first = await take('1')
  const second = await take('2')
  for (const name of ['x0', 'x1', 'x2', 'x3']) void take(name, { bucket: 'x' })
  for (const name of ['y0', 'y1']) void take(name, { bucket: 'y' })
  await settled()
  t.same(ends, ['1', '2'])
  first?.()
  first?.()
  await settled()
  t.same(ends.slice(2), ['x0'], 'a turn ends once, however often that is said')
  second?.()
  await settled()
  t.same(ends.slice(2), ['x0', 'y0'])
  t.equal(countPending(HOST), 6, 'two ask, four wait')
  t.equal(countPending('another'), 0)
  await take('elsewhere', { host: 'another' })
  t.equal(ends.at(-1), 'elsewhere', 'another host has its own')
})

t.test('accounts that a stranger makes up, however many, do not keep the known from the calls of a host', async t => {
  const { take, ends } = standing({ perSecond: 1000, burst: 100, calls: 1 })
  let done = await take('first')
  const next = (name: string, place: Parameters<typeof take>[1]) =>
    void take(name, place).then(given => {
      done = given
    })
  for (let i = 0; i < 200; i++) next('made up', { bucket: `a${i}`, subnet: 'evil', priority: 'suspect' })
  for (let i = 0; i < 20; i++) next('new', { bucket: 'another', subnet: 'pod' })
  for (let i = 0; i < 20; i++) next('known', { bucket: 'honest', subnet: 'good', priority: 'known' })
  for (let i = 0; i < 16; i++) {
    await settled()
    done?.()
  }
  await settled()
  const count = (name: string) => ends.slice(1).filter(end => end === name).length
  t.same([count('known'), count('new'), count('made up')], [12, 3, 1])
})

t.test('a host that answers nobody is not waited for longer than patience lasts', async t => {
  const { take, ends, pass, queued } = standing({ perSecond: 1000, burst: 10, calls: 1 })
  await take('1')
  void take('2', { patience: 300 })
  await pass(360)
  t.match(ends, ['1', /^2 budget\/spent/])
  t.equal(queued(), 0)
})

t.test('a throttle makes the others wait longer', async t => {
  const { take, ends, pass, budget } = standing({ perSecond: 10 })
  void take('1')
  void take('2')
  await settled()
  budget.recordThrottle('one')
  await pass(120)
  t.same(ends, ['1'])
  await pass(100)
  t.same(ends, ['1', '2'])
})

t.test('who waited as a stranger goes first once its credential is known', async t => {
  const { take, ends, pass, promote } = standing({ perSecond: 10 })
  for (let i = 0; i < 20; i++) void take(`stranger ${i}`, { subnet: 'b' })
  void take('mine', { fingerprint: 'me' })
  void take('mine too', { fingerprint: 'me' })
  await settled()
  promote('a', 'me')
  await pass(200)
  t.same(ends, ['stranger 0', 'mine', 'mine too'])
})

t.test('a lease may come from somewhere else, for as many as wait', async t => {
  const asked: number[] = []
  const answers: ((tokens: number) => void)[] = []
  const lend: AcquireTokens = (_, wanted) => {
    asked.push(wanted)
    return new Promise((resolve, reject) =>
      answers.push(tokens =>
        tokens < 0 ? reject(new Error('away')) : resolve({ tokens, retryAfterMS: 20, perSecond: 50 }),
      ),
    )
  }
  const { take, ends, pass } = standing({ lend })
  for (const name of ['1', '2', '3', '4']) void take(name)
  await settled()
  for (const answer of answers.splice(0)) answer(0)
  await settled()
  await pass(20)
  t.equal(asked.at(-1), 4)
  t.same(ends, [])
  answers.splice(0)[0]?.(3)
  await settled()
  t.same(ends, ['1', '2', '3'])
  await pass(30)
  answers.splice(0)[0]?.(-1)
  await settled()
  await pass(60)
  answers.splice(0)[0]?.(1)
  await settled()
  t.same(ends, ['1', '2', '3', '4'], 'an outage of the lender is waited for')
})
