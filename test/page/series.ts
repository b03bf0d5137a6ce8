import t from 'tap'
import { classify, findQuantile, MAX_SAMPLES, type Readings, SAMPLE_MS, SeriesRecorder } from '../../src/page/series.js'

const INFINITE = Number.POSITIVE_INFINITY
const START = Date.parse('2026-03-14T03:00:00Z')
const NO_LOGINS = [
  [0.1, 0],
  [0.2, 0],
  [INFINITE, 0],
] as const

/** Readings after so many samples, each of which lasts 5 s. */
const readings = (index: number, changes: Partial<Readings> = {}): Readings => ({
  time: START + index * SAMPLE_MS,
  now: index * SAMPLE_MS,
  logins: {},
  stsCalls: {},
  stages: { queue: NO_LOGINS, sts: NO_LOGINS, upstream: NO_LOGINS },
  waiting: { other: 0 },
  tokens: {},
  sessions: 0,
  ...changes,
})

t.test('every column has 180 samples from the beginning, and null before the start', async t => {
  const recorder = new SeriesRecorder()
  t.equal(recorder.last(), undefined)
  recorder.add(readings(0))
  recorder.add(readings(1, { sessions: 3 }))
  const series = recorder.series()
  t.equal(series.times.length, MAX_SAMPLES)
  t.equal(series.times.at(-1), START / 1_000 + 5)
  t.equal(series.times.at(0), START / 1_000 + 5 - 179 * 5)
  t.same(series.sessions.slice(-3), [null, 0, 3])
  for (const column of [
    series.logins.success,
    series.stsCalls.throttled,
    series.latency.sts.p99,
    series.waiting.other,
  ]) {
    t.equal(column?.length, MAX_SAMPLES)
  }
  t.equal(series.logins.success?.at(-2), null, 'the first sample has no rate')
  t.match(recorder.last(), { times: START / 1_000 + 5, sessions: 3, logins: { success: 0 }, waiting: { other: 0 } })
})

t.test('the oldest sample makes room for the newest', async t => {
  const recorder = new SeriesRecorder()
  for (let index = 0; index < MAX_SAMPLES + 10; index += 1) recorder.add(readings(index, { sessions: index }))
  const { sessions, times } = recorder.series()
  t.equal(sessions.length, MAX_SAMPLES)
  t.equal(sessions[0], 10)
  t.equal(times[0], START / 1_000 + 50)
})

t.test('rates are per second of the time that has passed, also if a sample is late', async t => {
  const recorder = new SeriesRecorder()
  recorder.add(readings(0))
  const logins = { success: 20, 'users/no-rule': 5, 'sts/refused': 5, 'sts/throttled': 30, 'login/abandoned': 10 }
  recorder.add(readings(2, { logins, stsCalls: { identity: 20, refused: 5, throttled: 40 } }))
  t.match(recorder.last(), {
    logins: { success: 2, refused: 1, unavailable: 3, abandoned: 1 },
    stsCalls: { identity: 2, refused: 0.5, throttled: 4, unavailable: 0 },
  })
})

t.test('the fault of a login decides which outcome it counts as', async t => {
  for (const [fault, outcome] of [
    ['success', 'success'],
    ['users/no-rule', 'refused'],
    ['login/failure-limit', 'refused'],
    ['budget/exhausted', 'unavailable'],
    ['upstream/unreachable', 'unavailable'],
    ['internal', 'unavailable'],
    ['ldap/on', 'unavailable'],
    ['login/abandoned', 'abandoned'],
  ] as const) {
    t.equal(classify(fault), outcome, fault)
  }
})

t.test('quantiles are estimated as Prometheus does', async t => {
  const distribution = [
    [0.25, 50],
    [0.5, 100],
    [INFINITE, 100],
  ] as const
  t.equal(findQuantile(distribution, 0.5), 0.25)
  t.equal(findQuantile(distribution, 0.75), 0.375)
  t.equal(findQuantile([...distribution.slice(0, 2), [INFINITE, 300]], 0.99), 0.5, 'no bound above: the last one')
  t.equal(findQuantile(NO_LOGINS, 0.5), null)
  t.equal(findQuantile([], 0.5), null)
})

t.test('a latency covers the last minute', async t => {
  const recorder = new SeriesRecorder()
  recorder.add(readings(0))
  const slow = [
    [0.1, 0],
    [0.2, 10],
    [INFINITE, 10],
  ] as const
  const stages = { queue: NO_LOGINS, sts: slow, upstream: NO_LOGINS }
  for (let index = 1; index <= 12; index += 1) recorder.add(readings(index, { stages }))
  t.match(recorder.last(), { latency: { sts: { median: 150, p99: 199 }, queue: { median: null, p99: null } } })
  recorder.add(readings(13, { stages }))
  t.match(recorder.last(), { latency: { sts: { median: null } } })
})

t.test('the eight buckets that are used the most have columns', async t => {
  const recorder = new SeriesRecorder()
  const names = Array.from({ length: 20 }, (_, index) => `${index}`.padStart(12, '0'))
  const waiting = { ...Object.fromEntries(names.map(name => [name, 0])), other: 0 }
  const tokens = Object.fromEntries(names.map((name, index) => [name, index === 7 ? 2 : 60]))
  recorder.add(readings(0, { waiting: { ...waiting, [names[13] ?? '']: 4 }, tokens }))
  t.equal(recorder.buckets.length, 8)
  t.same(recorder.buckets.slice(0, 2), [names[13], names[7]])
  const series = recorder.series()
  t.same(Object.keys(series.waiting), recorder.buckets)
  t.equal(series.tokens[names[7] ?? '']?.at(-1), 2)
  t.equal(series.waiting[names[13] ?? '']?.at(-1), 4)
})

t.test('the bucket of accounts without a name has no tokens', async t => {
  const recorder = new SeriesRecorder()
  recorder.add(readings(0))
  t.same(recorder.series().tokens, {})
})
