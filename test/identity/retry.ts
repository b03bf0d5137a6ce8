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
const unreachable: StsOutcome = { is: 'unavailable', why: 'reset', next: 'retry' }

/** A clock that jumps to the next timer as soon as nothing else runs. */
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

/** STS answers with these outcomes in order, and repeats the last one. 'silence' takes the whole timeout. */
function scenario(script: (StsOutcome | 'silence' | Error)[], options: Partial<RetryOptions> = {}) {
  const clock = jumpingClock()
  const calls: number[] = []
  const timeouts: number[] = []
  const call: CallSts = async (given, ms, signal) => {
    const next = script[Math.min(calls.length, script.length - 1)]
    calls.push(clock.now())
    timeouts.push(ms)
    if (given !== proof) throw new Error('another proof')
    if (next instanceof Error) throw next
    if (next !== 'silence' && next !== undefined) return next
    await clock.sleep(ms, signal)
    return { is: 'unavailable', why: `no answer within ${ms} ms`, next: 'retry' }
  }
  const all = {
    attemptMS: 1500,
    deadlineMS: 3000,
    queueMS: () => 4000,
    random: () => 1,
    shouldRetry: () => true,
    ...clock,
    ...options,
  }
  const permits = { maxWaits: [] as number[], held: 0 }
  const grant: AcquirePermit = async ms => {
    permits.maxWaits.push(ms)
    permits.held++
    return () => permits.held--
  }
  const run = (signal = new AbortController().signal, acquire = grant) => withRetry(call, all)(proof, acquire, signal)
  return { run, calls, timeouts, clock, permits }
}

t.test('a definite answer is returned without a retry', async t => {
  for (const outcome of [identity, refused]) {
    const { run, calls, clock } = scenario([outcome])
    t.equal(await run(), outcome)
    t.same(calls, [0])
    t.equal(clock.waiting.size, 0, 'no timer is left')
  }
})

t.test('a throttle, an outage and a timeout are retried, with growing pauses', async t => {
  const { run, calls } = scenario([throttled, unreachable, 'silence', identity])
  t.equal(await run(), identity)
  t.same(calls, [0, 100, 300, 2200])
})

t.test('pauses have jitter', async t => {
  const { run, calls } = scenario([throttled, throttled, identity], { random: () => 0 })
  t.equal(await run(), identity)
  t.same(calls, [0, 50, 150])
})

t.test('no retry happens if shouldRetry returns false', async t => {
  const outcomes: StsOutcome[] = []
  const shouldRetry = (_: Proof, outcome: StsOutcome) => outcomes.push(outcome) < 2
  const { run, calls } = scenario([unreachable], { shouldRetry })
  t.equal(await run(), unreachable)
  t.same(calls, [0, 100])
  t.same(outcomes, [unreachable, unreachable], 'it is called after each attempt')
})

t.test('outcomes that a retry cannot change are not retried', async t => {
  for (const next of ['first-host', 'none'] as const) {
    const outcome: StsOutcome = { is: 'unavailable', why: 'x', next }
    const { run, calls } = scenario([outcome])
    t.equal(await run(), outcome)
    t.equal(calls.length, 1, next)
  }
})

t.test('each attempt has a timeout, and all of them together have a deadline', async t => {
  const silent = scenario(['silence'])
  t.match(await silent.run(), { is: 'unavailable', why: /no answer within/, next: 'retry' })
  t.same(silent.calls, [0, 1600])
  t.same(silent.timeouts, [1500, 1400], 'no timeout exceeds the deadline')
  t.equal(silent.clock.now(), 3000)
  const busy = scenario([throttled])
  t.equal(await busy.run(), throttled, 'the last outcome is returned')
  t.same(busy.calls, [0, 100, 300, 700, 1500])
  t.same(busy.timeouts, [1500, 1500, 1500, 1500, 1500])
  t.equal(busy.clock.now(), 1500, 'a pause that would exceed the deadline is not begun')
})

t.test('each attempt acquires and releases a permit, and later ones wait within the deadline', async t => {
  const { run, permits } = scenario([throttled, unreachable, identity])
  t.equal(await run(), identity)
  t.same(permits.maxWaits, [4000, 2600, 2400])
  t.equal(permits.held, 0)
})

t.test('without a permit there is no call; without a second permit the first outcome is returned', async t => {
  const exhausted = () => Promise.reject(new Fault('budget/exhausted', undefined, { backoffMS: 1_000 }))
  const { run, calls } = scenario([throttled])
  t.equal((await faultOfAsync(() => run(undefined, exhausted)))?.kind, 'budget/exhausted')
  t.equal(calls.length, 0)
  let remaining = 2
  const acquire: AcquirePermit = () => (remaining-- > 0 ? Promise.resolve(() => {}) : exhausted())
  t.equal(await run(undefined, acquire), throttled)
  t.equal(calls.length, 2)
  const broken: AcquirePermit = ms => (ms === 4000 ? Promise.resolve(() => {}) : Promise.reject(new Error('a bug')))
  await t.rejects(run(undefined, broken), { message: 'a bug' })
})

t.test('an abort ends an attempt and a pause at once', async t => {
  for (const script of ['silence', throttled] as const) {
    const abort = new AbortController()
    const pauses: Promise<void>[] = []
    const call: CallSts = (_, __, signal) =>
      script === 'silence'
        ? new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        : Promise.resolve(script)
    /** Time stands still: only the signal ends a pause. */
    const sleep = (_: number, signal: AbortSignal) => {
      const slept = new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()))
      pauses.push(slept)
      return slept
    }
    const still = { now: () => 0, random: () => 1, sleep }
    const options = { attemptMS: 1500, deadlineMS: 3000, queueMS: () => 4000, shouldRetry: () => true, ...still }
    let released = 0
    const running = withRetry(call, options)(proof, async () => () => released++, abort.signal)
    await new Promise(setImmediate)
    abort.abort(new Fault('login/abandoned'))
    t.equal((await faultOfAsync(() => running))?.kind, 'login/abandoned')
    t.equal(released, 1)
    await Promise.all(pauses)
  }
})

t.test('a thrown fault is not retried', async t => {
  const { run, calls, clock } = scenario([new Fault('identity/partition-mismatch')])
  t.equal((await faultOfAsync(run))?.kind, 'identity/partition-mismatch')
  t.equal(calls.length, 1)
  t.equal(clock.waiting.size, 0)
})

t.test('no attempt begins without enough time, and the previous outcome is returned', async t => {
  for (const [waitMS, expectedCalls] of [
    [2_599, 2],
    [2_601, 1],
  ] as const) {
    let time = 0
    let calls = 0
    let held = 0
    const maxWaits: number[] = []
    const call = async () => {
      calls++
      return throttled
    }
    const acquire: AcquirePermit = async ms => {
      maxWaits.push(ms)
      if (maxWaits.length === 2) time += waitMS
      held++
      return () => held--
    }
    const sleep = async (ms: number) => {
      time += ms
    }
    const clock = { now: () => time, random: () => 1, sleep, after: () => () => {} }
    const options = { attemptMS: 1500, deadlineMS: 3000, queueMS: () => 4000, shouldRetry: () => true, ...clock }
    t.equal(await withRetry(call as CallSts, options)(proof, acquire, new AbortController().signal), throttled)
    t.equal(calls, expectedCalls, `${waitMS} ms`)
    t.same(maxWaits, [4000, 2600], 'a later permit would be useless')
    t.equal(held, 0)
  }
})
