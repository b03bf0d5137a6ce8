/**
 * Computes what the charts show from counters that only grow: a sample each 5 s, for 15 minutes. Pure.
 *
 *     counters ─▶ add() ─▶ samples ─▶ series(), the last sample alone ─▶ last()
 *
 * A rate covers the time since the sample before it. Quantiles cover a minute, because few logins in 5 s say little.
 */
import { type FaultKind, faults } from '../errors.js'
import type { Column, StatusSeries } from './snapshot.js'

export const SAMPLE_MS = 5_000
export const MAX_SAMPLES = 180
const QUANTILE_SAMPLES = 12
const MAX_BUCKETS = 8
/** Codes of replies that say that the identity is rejected, and that the client may retry. */
const AUTHENTICATION_FAILED = 18

/** The values of a counter by label. */
export type Counts = Readonly<Record<string, number>>
/** Observations up to each upper bound in seconds, in the order of the bounds. The last bound is infinite. */
export type Distribution = readonly (readonly [upTo: number, count: number])[]

export const STAGES = ['queue', 'sts', 'upstream'] as const
export const STS_OUTCOMES = ['identity', 'refused', 'throttled', 'unavailable'] as const
export const LOGIN_OUTCOMES = ['success', 'refused', 'unavailable', 'abandoned'] as const
type Stage = (typeof STAGES)[number]
type LoginOutcome = (typeof LOGIN_OUTCOMES)[number]

/** What one sample is computed from. Counts are totals since the start. */
export type Readings = {
  /** Milliseconds since 1970. */
  time: number
  /** Monotonic milliseconds. */
  now: number
  /** By success or kind of fault. */
  logins: Counts
  stsCalls: Counts
  stages: Readonly<Record<Stage, Distribution>>
  /** Logins that wait for a call to STS, and tokens, by bucket. */
  waiting: Counts
  tokens: Counts
  sessions: number
}

/** A value in place of each column. */
export type StatusSample = SampleOf<StatusSeries>
type SampleOf<T> = T extends readonly (infer V)[] ? V : { [K in keyof T]: SampleOf<T[K]> }

type Sample = {
  time: number
  logins: Record<LoginOutcome, number | null>
  stsCalls: Record<(typeof STS_OUTCOMES)[number], number | null>
  latency: Record<Stage, { median: number | null; p99: number | null }>
  waiting: Counts
  tokens: Counts
  sessions: number
}

export class SeriesRecorder {
  readonly #samples: Sample[] = []
  /** Those of the last minute, the oldest first. */
  readonly #readings: Readings[] = []
  #buckets: readonly string[] = []

  /** Adds a sample. The first readings have no rates. */
  add(readings: Readings): void {
    this.#samples.push(createSample(readings, this.#readings.at(-1), this.#readings[0]))
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift()
    this.#readings.push(readings)
    if (this.#readings.length > QUANTILE_SAMPLES) this.#readings.shift()
    this.#buckets = selectBuckets(this.#samples)
  }

  /** The buckets with columns of their own: the ones that are used the most. */
  get buckets(): readonly string[] {
    return this.#buckets
  }

  series(): StatusSeries {
    const missing = MAX_SAMPLES - this.#samples.length
    const first = this.#samples[0]?.time ?? 0
    const blank: Column = Array(missing).fill(null)
    const column = (value: (sample: Sample) => number | null | undefined): Column => [
      ...blank,
      ...this.#samples.map(sample => value(sample) ?? null),
    ]
    return {
      ...mapColumns(column, this.#buckets),
      times: [
        ...Array.from({ length: missing }, (_, index) => toSeconds(first - (missing - index) * SAMPLE_MS)),
        ...this.#samples.map(({ time }) => toSeconds(time)),
      ],
    }
  }

  /** The last sample; undefined before the first one. */
  last(): StatusSample | undefined {
    const sample = this.#samples.at(-1)
    if (!sample) return undefined
    const values = mapColumns(value => value(sample) ?? null, this.#buckets)
    return { ...values, times: toSeconds(sample.time) }
  }
}

/** Builds everything but the times, out of what `column` makes of a value of each sample. */
function mapColumns<T>(
  column: (value: (sample: Sample) => number | null | undefined) => T,
  buckets: readonly string[],
) {
  return {
    logins: mapKeys(LOGIN_OUTCOMES, outcome => column(({ logins }) => logins[outcome])),
    latency: mapKeys(STAGES, stage => ({
      median: column(({ latency }) => latency[stage].median),
      p99: column(({ latency }) => latency[stage].p99),
    })),
    stsCalls: mapKeys(STS_OUTCOMES, outcome => column(({ stsCalls }) => stsCalls[outcome])),
    waiting: mapKeys(buckets, bucket => column(({ waiting }) => waiting[bucket])),
    tokens: mapKeys(
      buckets.filter(bucket => bucket !== UNNAMED),
      bucket => column(({ tokens }) => tokens[bucket]),
    ),
    sessions: column(({ sessions }) => sessions),
  }
}

/** The bucket of all accounts without a name of their own has no tokens. */
const UNNAMED = 'other'

function createSample(readings: Readings, before: Readings | undefined, minuteAgo: Readings | undefined): Sample {
  const { time, now, waiting, tokens, sessions } = readings
  const seconds = before ? (now - before.now) / 1_000 : 0
  const rate = (after: number, earlier: number) => (seconds > 0 ? round(Math.max(0, after - earlier) / seconds) : null)
  const logins = sumByOutcome(readings.logins)
  const loginsBefore = sumByOutcome(before?.logins ?? {})
  return {
    time,
    logins: mapKeys(LOGIN_OUTCOMES, outcome => rate(logins[outcome], loginsBefore[outcome])),
    stsCalls: mapKeys(STS_OUTCOMES, outcome => rate(readings.stsCalls[outcome] ?? 0, before?.stsCalls[outcome] ?? 0)),
    latency: mapKeys(STAGES, stage => {
      const recent = subtract(readings.stages[stage], minuteAgo?.stages[stage] ?? [])
      return { median: toMilliseconds(findQuantile(recent, 0.5)), p99: toMilliseconds(findQuantile(recent, 0.99)) }
    }),
    waiting,
    tokens: Object.fromEntries(Object.entries(tokens).map(([bucket, value]) => [bucket, round(value)])),
    sessions,
  }
}

function sumByOutcome(logins: Counts): Record<LoginOutcome, number> {
  const sums = mapKeys(LOGIN_OUTCOMES, () => 0)
  for (const [outcome, count] of Object.entries(logins)) sums[classify(outcome)] += count
  return sums
}

/** LDAP authorization is a matter of the upstream, although its reply is final. */
export function classify(outcome: string): LoginOutcome {
  if (outcome === 'success') return 'success'
  const reply = Object.hasOwn(faults, outcome) ? faults[outcome as FaultKind].reply : null
  if (reply === null) return 'abandoned'
  return reply.code === AUTHENTICATION_FAILED && outcome !== 'ldap/on' ? 'refused' : 'unavailable'
}

function subtract(after: Distribution, before: Distribution): Distribution {
  return after.map(([upTo, count], index) => [upTo, count - (before[index]?.[1] ?? 0)])
}

/**
 * The value below which this share of the observations lies, in seconds, as `histogram_quantile` of Prometheus estimates it.
 * Null without an observation.
 */
export function findQuantile(distribution: Distribution, share: number): number | null {
  const total = distribution.at(-1)?.[1] ?? 0
  if (total <= 0) return null
  const rank = share * total
  const index = distribution.findIndex(([, count]) => count >= rank)
  const [upTo, count] = distribution[index] ?? [0, 0]
  const [from, below] = distribution[index - 1] ?? [0, 0]
  if (!Number.isFinite(upTo)) return from
  return from + ((upTo - from) * (rank - below)) / (count - below)
}

/** Logins that wait come first, then buckets with few tokens: only calls take them. */
function selectBuckets(samples: readonly Sample[]): string[] {
  const waiting = new Map<string, number>()
  const tokens = new Map<string, number>()
  for (const sample of samples) {
    for (const [bucket, value] of Object.entries(sample.waiting)) add(waiting, bucket, value)
    for (const [bucket, value] of Object.entries(sample.tokens)) add(tokens, bucket, value)
  }
  const levelOf = (bucket: string) => tokens.get(bucket) ?? Number.POSITIVE_INFINITY
  return [...waiting.keys()]
    .sort((one, other) => {
      const byWaiting = (waiting.get(other) ?? 0) - (waiting.get(one) ?? 0)
      return byWaiting || Math.sign(levelOf(one) - levelOf(other)) || one.localeCompare(other)
    })
    .slice(0, MAX_BUCKETS)
}

function add(sums: Map<string, number>, key: string, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value)
}

function mapKeys<K extends string, V>(keys: readonly K[], value: (key: K) => V): Record<K, V> {
  return Object.fromEntries(keys.map(key => [key, value(key)])) as Record<K, V>
}

const round = (value: number): number => Math.round(value * 1_000) / 1_000
const toSeconds = (ms: number): number => Math.round(ms / 100) / 10
const toMilliseconds = (seconds: number | null): number | null => (seconds === null ? null : round(seconds * 1_000))
