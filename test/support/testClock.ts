/**
 * A clock for whole proxies under test. It follows real time in steps of at most 20 ms: where a busy machine lets the
 * process stand still for a second, 20 ms pass here, so that no timer of the proxy is due before its work had a chance to
 * run. A test moves it ahead by hand instead of sleeping.
 */
import { setImmediate as nextIteration } from 'node:timers/promises'
import type { Test } from 'tap'

const TICK_MS = 5
const MAX_STEP_MS = 20

export type TestClock = {
  /** What `src/clock.ts` exports. */
  now(): number
  after(ms: number, run: () => void): () => void
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Lets time pass at once. Timers that are due by then run in order, in the next iteration of the event loop. */
  advance(ms: number): void
  /** Lets time pass in steps, between which sockets of this process are served. */
  pass(ms: number): Promise<void>
  /** The time of day by this clock, in milliseconds since 1970: it started with the real one. */
  dateNow(): number
  /** Makes `Date.now` follow this clock until the test ends. */
  replaceDateNow(t: Test): void
}

type Timer = { due: number; run: () => void; immediate?: NodeJS.Immediate }

export function createTestClock(): TestClock {
  const started = Date.now()
  let time = 0
  let lastTick = performance.now()
  const timers = new Set<Timer>()

  const advance = (ms: number) => {
    time += ms
    const due = [...timers].filter(timer => timer.due <= time).sort((a, b) => a.due - b.due)
    for (const timer of due) {
      timers.delete(timer)
      timer.immediate = setImmediate(timer.run) // as in src/clock.ts: what has arrived by then is read before
    }
  }
  const tick = () => {
    const real = performance.now()
    advance(Math.min(real - lastTick, MAX_STEP_MS))
    lastTick = real
  }
  setInterval(tick, TICK_MS).unref()

  const after = (ms: number, run: () => void) => {
    const timer: Timer = { due: time + ms, run }
    timers.add(timer)
    return () => {
      timers.delete(timer)
      clearImmediate(timer.immediate)
    }
  }
  const dateNow = () => Math.floor(started + time)
  return {
    now: () => time,
    after,
    sleep: (ms, signal) =>
      new Promise(resolve => {
        if (signal.aborted) return resolve()
        const wake = (): void => {
          cancel()
          signal.removeEventListener('abort', wake)
          resolve()
        }
        const cancel = after(ms, wake)
        signal.addEventListener('abort', wake)
      }),
    advance,
    async pass(ms) {
      for (let passed = 0; passed < ms; passed += MAX_STEP_MS) {
        advance(MAX_STEP_MS)
        await nextIteration()
      }
    },
    dateNow,
    replaceDateNow(t) {
      const { now } = Date
      Date.now = dateNow
      t.teardown(() => {
        Date.now = now
      })
    },
  }
}
