import t from 'tap'
import { Fault } from '../../src/errors.js'
import type { Proof } from '../../src/identity/proof.js'
import { type AcquirePermit, type RetryOptions, withRetry } from '../../src/identity/retry.js'
import type { CallSts, StsOutcome } from '../../src/identity/sts.js'
import { faultOfAsync } from '../support/faults.js'

const proof = { accessKeyId: 'AKIASP2TPHJSQH3FJXYZ' } as Proof
const identity = { is: 'identity', identity: {} } as StsOutcome
const refused: StsOutcome = { is: 'refused', code: 'ExpiredToken' }
const throttled: StsOutcome = { is: 'throttled', code: 'Throttling' }
const away: StsOutcome = { is: 'unavailable', why: 'reset', next: 'retry' }

/** A clock that jumps to the next thing that is waited for as soon as everybody waits. */
function jumpingClock() {
  let time = 0
  const waiting = new Set<{ due: number; run: () => void }>()
  const jump = () => {
    const [next] = [...waiting].sort((a, b) => a.due - b.due)
    if (!next) return
    waiting.delete(next)
    time = Math.max(time, next.due)
    next.run()
  }
  return {
    now: () => time,
    sleep: (ms: number, signal: AbortSignal) =>
      new Promise<void>(resolve => {
        if (signal.aborted) return resolve()
        const entry = { due: time + ms, run: resolve }
        waiting.add(entry)
        signal.addEventListener('abort', () => {
          waiting.delete(entry)
          resolve()
        })
        setImmediate(jump)
      }),
    waiting,
  }
}

/** Asks with these outcomes one after the other; the last one stays. 'silence' takes all of the time that it is given. */
function scenario(script: (StsOutcome | 'silence' | Error)[], patience: Partial<RetryOptions> = {}) {
  const clock = jumpingClock()
  const asked: number[] = []
  const allowed: number[] = []
  const ask: CallSts = async (given, ms, signal) => {
    const next = script[Math.min(asked.length, script.length - 1)]
    asked.push(clock.now())
    allowed.push(ms)
    if (given !== proof) throw new Error('another proof')
    if (next instanceof Error) throw next
    if (next !== 'silence' && next !== undefined) return next
    await clock.sleep(ms, signal)
    return { is: 'unavailable', why: `no answer within ${ms} ms`, next: 'retry' }
  }
  const all = {
    attemptMS: 1500,
    deadlineMS: 3000,
    queueMS: 4000,
    random: () => 1,
    shouldRetry: () => true,
    ...clock,
    ...patience,
  }
  const turns = { taken: [] as number[], running: 0 }
  const free: AcquirePermit = async ms => {
    turns.taken.push(ms)
    turns.running++
    return () => turns.running--
  }
  const run = (signal = new AbortController().signal, turn = free) => withRetry(ask, all)(proof, turn, signal)
  return { run, asked, allowed, clock, turns }
}

t.test('an answer is an answer', async t => {
  for (const outcome of [identity, refused]) {
    const { run, asked, clock } = scenario([outcome])
    t.equal(await run(), outcome)
    t.same(asked, [0])
    t.equal(clock.waiting.size, 0, 'nothing is waited for')
  }
})

t.test('a throttle, an outage and silence are asked again, with growing pauses', async t => {
  const { run, asked } = scenario([throttled, away, 'silence', identity])
  t.equal(await run(), identity)
  t.same(asked, [0, 100, 300, 2200])
})

t.test('pauses are uneven', async t => {
  const { run, asked } = scenario([throttled, throttled, identity], { random: () => 0 })
  t.equal(await run(), identity)
  t.same(asked, [0, 50, 150])
})

t.test('a host that was left alone meanwhile is not asked again', async t => {
  const seen: StsOutcome[] = []
  const shouldRetry = (_: Proof, outcome: StsOutcome) => seen.push(outcome) < 2
  const { run, asked } = scenario([away], { shouldRetry })
  t.equal(await run(), away)
  t.same(asked, [0, 100])
  t.same(seen, [away, away], 'each attempt was told of')
})

t.test('what asking again cannot change is not asked again', async t => {
  for (const next of ['first-host', 'none'] as const) {
    const outcome: StsOutcome = { is: 'unavailable', why: 'x', next }
    const { run, asked } = scenario([outcome])
    t.equal(await run(), outcome)
    t.equal(asked.length, 1, next)
  }
})

t.test('each attempt and all of them together have an end', async t => {
  const silent = scenario(['silence'])
  t.match(await silent.run(), { is: 'unavailable', why: /no answer within/, next: 'retry' })
  t.same(silent.asked, [0, 1600])
  t.same(silent.allowed, [1500, 1400], 'each is told how long it may take: no longer than is left')
  t.equal(silent.clock.now(), 3000)
  const busy = scenario([throttled])
  t.equal(await busy.run(), throttled, 'the last outcome is the outcome')
  t.same(busy.asked, [0, 100, 300, 700, 1500])
  t.same(busy.allowed, [1500, 1500, 1500, 1500, 1500])
  t.equal(busy.clock.now(), 1500, 'a pause that would reach the end is not begun')
})

t.test('each attempt waits for its turn and ends it, the later ones within what is left of the time', async t => {
  const { run, turns } = scenario([throttled, away, identity])
  t.equal(await run(), identity)
  t.same(turns.taken, [4000, 2600, 2400])
  t.equal(turns.running, 0)
})

t.test('without a turn nothing is asked; without a further one the outcome stays', async t => {
  const spent = () => Promise.reject(new Fault('budget/exhausted'))
  const { run, asked } = scenario([throttled])
  t.equal((await faultOfAsync(() => run(undefined, spent)))?.kind, 'budget/exhausted')
  t.equal(asked.length, 0)
  let left = 2
  const turn: AcquirePermit = () => (left-- > 0 ? Promise.resolve(() => {}) : spent())
  t.equal(await run(undefined, turn), throttled)
  t.equal(asked.length, 2)
  const broken: AcquirePermit = ms => (ms === 4000 ? Promise.resolve(() => {}) : Promise.reject(new Error('a bug')))
  await t.rejects(run(undefined, broken), { message: 'a bug' })
})

t.test('a client that leaves ends it at once, in an attempt or in a pause', async t => {
  for (const script of ['silence', throttled] as const) {
    const gone = new AbortController()
    const asked: Promise<void>[] = []
    const ask: CallSts = (_, __, signal) =>
      script === 'silence'
        ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        : Promise.resolve(script)
    /** Time stands still: only the signal ends a wait. */
    const sleep = (_: number, signal: AbortSignal) => {
      const slept = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()))
      asked.push(slept)
      return slept
    }
    const still = { now: () => 0, random: () => 1, sleep }
    const patience = { attemptMS: 1500, deadlineMS: 3000, queueMS: 4000, shouldRetry: () => true, ...still }
    let ended = 0
    const running = withRetry(ask, patience)(proof, async () => () => ended++, gone.signal)
    await new Promise(setImmediate)
    gone.abort(new Fault('login/abandoned'))
    t.equal((await faultOfAsync(() => running))?.kind, 'login/abandoned')
    t.equal(ended, 1, 'its turn is over')
    await Promise.all(asked)
  }
})

t.test('a fault is not asked again', async t => {
  const { run, asked, clock } = scenario([new Fault('identity/partition-mismatch')])
  t.equal((await faultOfAsync(run))?.kind, 'identity/partition-mismatch')
  t.equal(asked.length, 1)
  t.equal(clock.waiting.size, 0)
})

t.test('an attempt for which next to no time is left is not made, and the outcome of before stays', async t => {
  for (const [waits, asks] of [
    [2_599, 2],
    [2_601, 1],
  ] as const) {
    let time = 0
    let asked = 0
    let running = 0
    const patience: number[] = []
    const ask = async () => {
      asked++
      return throttled
    }
    const turn: AcquirePermit = async ms => {
      patience.push(ms)
      if (patience.length === 2) time += waits
      running++
      return () => running--
    }
    const sleep = async (ms: number) => {
      time += ms
    }
    const clock = { now: () => time, random: () => 1, sleep, after: () => () => {} }
    const parts = { attemptMS: 1500, deadlineMS: 3000, queueMS: 4000, shouldRetry: () => true, ...clock }
    t.equal(await withRetry(ask as CallSts, parts)(proof, turn, new AbortController().signal), throttled)
    t.equal(asked, asks, `${waits} ms`)
    t.same(patience, [4000, 2600], 'a turn that would come later is not waited for')
    t.equal(running, 0)
  }
})
