/**
 * What is measured: one table of names, kinds, labels and sentences, and functions to record that know the table.
 *
 * Label values are listed here and nowhere else, so that nobody outside can make series grow. Each series is there from
 * the start with its zero, or a rate would miss the first event.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { type FaultKind, faults } from '../errors.js'

const KINDS = Object.keys(faults) as FaultKind[]
const PREFIX = 'mongo_iam_proxy_'
/** Logins take milliseconds when all is well, and are cut at `login.timeout`. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * A `state` is a gauge of which exactly one label value is 1. `measured` ones are asked for when they are read; where the
 * table lists no values of their label, the settings do.
 */
type MetricDefinition = {
  kind: 'counter' | 'gauge' | 'histogram' | 'state' | 'measured'
  labels: Readonly<Record<string, readonly string[]>>
  about: string
}

export const metrics = {
  connections: {
    kind: 'measured',
    labels: { stage: ['connecting', 'unauthenticated', 'authenticating', 'authenticated'] },
    about: 'Client connections that are open now, by stage.',
  },
  logins_total: {
    kind: 'counter',
    labels: { outcome: ['success', ...KINDS] },
    about: 'Logins that were decided, by outcome: success or a fault.',
  },
  login_seconds: { kind: 'histogram', labels: {}, about: 'Time of a login, from the signed proof to its answer.' },
  login_stage_seconds: {
    kind: 'histogram',
    labels: { stage: ['queue', 'sts', 'upstream'] },
    about: 'Time of a login in each of its stages.',
  },
  sts_calls_total: {
    kind: 'counter',
    labels: { outcome: ['identity', 'refused', 'throttled', 'unavailable'] },
    about: 'Calls to STS, by what they gave.',
  },
  sts_host_health: {
    kind: 'measured',
    labels: { host: [] },
    about: 'How well each host of sts.hosts has answered lately, from 0 to 1; 0 while it is left alone.',
  },
  sts_bucket_tokens: {
    kind: 'measured',
    labels: { bucket: [] },
    about:
      'Calls that may be made at once for an account at a host: its tokens. Accounts that proved themselves, a hundred at most.',
  },
  sts_bucket_rate: {
    kind: 'measured',
    labels: { bucket: [] },
    about: 'Tokens that come each second: sts.quota times sts.share, less after a throttle.',
  },
  sts_bucket_throttles: {
    kind: 'measured',
    labels: { bucket: [] },
    about: 'Calls that STS throttled since the proxy started, by bucket.',
  },
  sts_bucket_waiting: {
    kind: 'measured',
    labels: { bucket: [] },
    about: 'Logins that wait for a token, by bucket; `other` are those of accounts that have not proved themselves.',
  },
  cache_hits_total: {
    kind: 'counter',
    labels: { cache: ['refusals', 'identities'] },
    about:
      'Logins that were decided without STS, by what was remembered: its refusal, or (sts.successCache) its success.',
  },
  limit_refusals_total: {
    kind: 'counter',
    labels: { limit: ['concurrency', 'failures', 'signatures'] },
    about: 'Logins that a limit refused, by limit.',
  },
  limit_shadow_total: {
    kind: 'counter',
    labels: { limit: ['concurrency', 'failures', 'signatures'] },
    about: 'Logins that a limit would have refused, had login.shadow not let them pass.',
  },
  relay_bytes_total: {
    kind: 'counter',
    labels: { direction: ['toUpstream', 'toClient'] },
    about: 'Bytes that relays passed on.',
  },
  faults_total: { kind: 'counter', labels: { kind: KINDS }, about: 'Faults, by kind.' },
  refused_commands_total: {
    kind: 'counter',
    labels: {},
    about: 'Commands refused after login, as they would change who a connection is.',
  },
  ldap_authorization: {
    kind: 'state',
    labels: { state: ['unknown', 'on', 'off'] },
    about: 'Whether LDAP authorization is on at the upstream; the state that holds is 1.',
  },
  reloads_total: {
    kind: 'counter',
    labels: { outcome: ['applied', 'rejected'] },
    about: 'Changes of the configuration or of a file that it names: applied, or rejected with the last good one kept.',
  },
  denials: { kind: 'gauge', labels: {}, about: 'Entries of the deny list, those of the admin interface included.' },
  upstream_up: { kind: 'gauge', labels: {}, about: '1 while the upstream answers hello, else 0.' },
  shed_total: { kind: 'counter', labels: {}, about: 'Connections closed because no slot was left for them.' },
  clock_skew_seconds: { kind: 'gauge', labels: {}, about: 'How far the clock of STS is ahead of ours.' },
} as const satisfies Record<string, MetricDefinition>

type Table = typeof metrics
export type MetricName = keyof Table
type OfKind<K extends MetricDefinition['kind']> = {
  [N in MetricName]: Table[N]['kind'] extends K ? N : never
}[MetricName]
type Labels<N extends MetricName> = { [L in keyof Table[N]['labels']]: Values<Table[N]['labels'][L]> }
type Values<V> = V extends readonly (infer T)[] ? T : never
/** No argument where a metric has no labels. */
type LabelsOf<N extends MetricName> = keyof Labels<N> extends never ? [] : [labels: Labels<N>]

export type Stage = (typeof metrics.connections.labels.stage)[number]
export type LdapState = (typeof metrics.ldap_authorization.labels.state)[number]

/** What a measured metric is now, by the values of its label. */
export type GaugeCollector = () => Readonly<Record<string, number>>

/** Recorders. A name, a label or a value that is not in the table does not compile. */
export type MetricsRecorder = {
  /** One more of it, or `by` more. */
  count<N extends OfKind<'counter'>>(name: N, by: number, ...labels: LabelsOf<N>): void
  observe<N extends OfKind<'histogram'>>(name: N, seconds: number, ...labels: LabelsOf<N>): void
  set<N extends OfKind<'gauge'>>(name: N, value: number): void
  setState(name: 'ldap_authorization', state: LdapState): void
  /** Adds collectors of parts that were built with this recorder. */
  addGauges(collectors: GaugeCollectors): void
  /** The text that Prometheus reads. */
  render(): Promise<string>
}

/** What is measured when somebody asks: a function for each metric of that kind. */
export type GaugeCollectors = Partial<Record<OfKind<'measured'>, GaugeCollector>>

/**
 * A registry of its own with every metric of the table. `ofProcess` adds memory, event loop and garbage collection of
 * Node.
 */
export function createMetricsRecorder(first: GaugeCollectors, { ofProcess = false } = {}): MetricsRecorder {
  const measures: GaugeCollectors = { ...first }
  const register = new Registry()
  const counters = new Map<MetricName, Counter>()
  const gauges = new Map<MetricName, Gauge>()
  const histograms = new Map<MetricName, Histogram>()

  for (const [key, row] of Object.entries(metrics) as [MetricName, MetricDefinition][]) {
    const about = { name: PREFIX + key, help: row.about, labelNames: Object.keys(row.labels), registers: [register] }
    if (row.kind === 'counter') {
      const counter = new Counter(about)
      for (const labels of series(row)) counter.inc(labels, 0)
      counters.set(key, counter)
    } else if (row.kind === 'histogram') {
      const histogram = new Histogram({ ...about, buckets: SECONDS })
      for (const labels of series(row)) histogram.zero(labels)
      histograms.set(key, histogram)
    } else if (row.kind === 'measured') {
      const [label = ''] = Object.keys(row.labels)
      const measure = (gauge: Gauge) => {
        gauge.reset()
        for (const [value, measured] of Object.entries(measures[key as OfKind<'measured'>]?.() ?? {})) {
          gauge.set({ [label]: value }, measured)
        }
      }
      new Gauge({
        ...about,
        collect: function collect(this: Gauge) {
          measure(this)
        },
      })
    } else {
      const gauge = new Gauge(about)
      for (const labels of series(row)) gauge.set(labels, 0)
      gauges.set(key, gauge)
    }
  }
  const enter = (name: 'ldap_authorization', state: LdapState) => {
    for (const each of metrics[name].labels.state) gauges.get(name)?.set({ state: each }, each === state ? 1 : 0)
  }
  enter('ldap_authorization', 'unknown')
  if (ofProcess) collectDefaultMetrics({ register })

  return {
    count: (name, by, ...labels) => counters.get(name)?.inc(plain(labels), by),
    observe: (name, seconds, ...labels) => histograms.get(name)?.observe(plain(labels), seconds),
    set: (name, value) => gauges.get(name)?.set(value),
    setState: enter,
    addGauges: collectors => void Object.assign(measures, collectors),
    render: () => register.metrics(),
  }
}

/** What the types of the recorders know already, in the type of the library. */
const plain = ([labels = {}]: readonly unknown[]) => labels as Record<string, string>

/** Every combination of label values; the table has one label at most, so that is each value once. */
function series({ labels }: MetricDefinition): Record<string, string>[] {
  const [label] = Object.entries(labels)
  return label ? label[1].map(value => ({ [label[0]]: value })) : [{}]
}

/** `| metric | kind | labels | what it says |` and a line for each metric, for README; ends with a line end. */
export function renderMetricsTable(): string {
  const lines = (Object.entries(metrics) as [string, MetricDefinition][]).map(([name, { kind, labels, about }]) => {
    const shown = Object.entries(labels).map(([label, values]) =>
      values.length === 0 || values.length > 8 ? `\`${label}\`` : `\`${label}\`: ${values.join(', ')}`,
    )
    const type = kind === 'state' || kind === 'measured' ? 'gauge' : kind
    return [`\`${PREFIX}${name}\``, type, shown.join('; '), about].join(' | ')
  })
  return ['metric | kind | labels | what it says', '--- | --- | --- | ---', ...lines]
    .map(line => `| ${line} |\n`)
    .join('')
}
