/**
 * The table of metrics, and a recorder that is typed by it: a name, a label or a value that is not in the table does not
 * compile.
 *
 * All label values are listed here, so that clients cannot create series. Every series starts at zero, because `rate()`
 * would otherwise miss its first event.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { type AuditEventType, auditEvents } from '../audit/events.js'
import { type FaultKind, faults } from '../errors.js'

const ALL_KINDS = Object.keys(faults) as FaultKind[]
/** They end a program or answer a request to the admin interface, so no connection is counted with them. */
const NOT_OF_CONNECTIONS: readonly FaultKind[] = [
  ...([
    'usage',
    'admin/failed',
    'demo/sandbox-missing',
    'listener/address-unavailable',
    'denials/not-persisted',
  ] as const),
]
const FAULT_KINDS = ALL_KINDS.filter(kind => !NOT_OF_CONNECTIONS.includes(kind))
/** They end a connection, or refuse a command, before or after a login. */
const OUTSIDE_LOGINS =
  /^(frame|message|hello|command|sasl|connection|listener|tls)\/|^(login\/(expired|revoked)|provision\/overdue|upstream\/stepped-down)$/
const LOGIN_FAULTS = FAULT_KINDS.filter(kind => !OUTSIDE_LOGINS.test(kind))
const AUDIT_EVENT_TYPES = Object.keys(auditEvents) as AuditEventType[]
const PREFIX = 'mongo_iam_proxy_'
/** Upper bounds in seconds. A login takes milliseconds, and `login.timeout` (8 s) at most. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export type MetricDefinition = {
  /**
   * `state`: a gauge for each value of the label, of which one is 1. `collected`: a gauge that is computed for each scrape;
   * an empty list of label values means that the configuration or the running proxy determines them. `collectedCounter`:
   * the same as a counter. `info`: a gauge that is 1 and whose labels are the information.
   */
  kind: 'counter' | 'gauge' | 'histogram' | 'state' | 'collected' | 'collectedCounter' | 'info'
  labels: Readonly<Record<string, readonly string[]>>
  help: string
}

export const metrics = {
  connections: {
    kind: 'collected',
    labels: { stage: ['connecting', 'unauthenticated', 'authenticating', 'authenticated'] },
    help: 'Open client connections by stage.',
  },
  session_slots: {
    kind: 'collected',
    labels: { state: ['taken', 'free'] },
    help: 'Session slots: listen.connections less listen.reserve, or fewer if the file descriptors do not suffice. Logins under way hold one.',
  },
  principal_sessions: {
    kind: 'collected',
    labels: { arn: [] },
    help: 'Sessions of the ten principals that have the most.',
  },
  audit_up: {
    kind: 'gauge',
    labels: {},
    help: '1 if the audit trail can be written, otherwise 0.',
  },
  audit_waiting_bytes: {
    kind: 'gauge',
    labels: {},
    help: 'Bytes of the audit trail that wait to be written. Above 16 MiB events are lost.',
  },
  audit_events_total: {
    kind: 'counter',
    labels: { type: AUDIT_EVENT_TYPES },
    help: 'Events of the audit trail by type, lost ones included.',
  },
  audit_lost_events_total: {
    kind: 'counter',
    labels: {},
    help: 'Events of the audit trail that were lost. The event audit.gap names them.',
  },
  failed_accepts_total: {
    kind: 'counter',
    labels: {},
    help: 'Connections that the proxy could not accept, because file descriptors are running out or the operating system failed.',
  },
  logins_total: {
    kind: 'counter',
    labels: { outcome: ['success', ...LOGIN_FAULTS] },
    help: 'Logins by outcome: success, or the kind of the fault.',
  },
  rule_logins_total: {
    kind: 'collectedCounter',
    labels: { rule: [] },
    help: 'Successful logins by the ARN of their rule as written: the first 100, and other for the rest. The rule directory stands for the users of $external.',
  },
  login_seconds: { kind: 'histogram', labels: {}, help: 'Duration of logins, from the signed request to the reply.' },
  login_stage_seconds: {
    kind: 'histogram',
    labels: { stage: ['queue', 'sts', 'upstream'] },
    help: 'Duration of the stages of logins: waiting for the STS budget, calling STS, logging in upstream.',
  },
  sts_calls_total: {
    kind: 'counter',
    labels: { outcome: ['identity', 'refused', 'throttled', 'unavailable'] },
    help: 'Calls to STS by outcome.',
  },
  sts_host_health: {
    kind: 'collected',
    labels: { host: [] },
    help: 'Moving average of good answers of each host in sts.hosts, from 0 to 1. 0 while the host is ejected.',
  },
  sts_bucket_tokens: {
    kind: 'collected',
    labels: { bucket: [] },
    help: 'Tokens in the bucket of an account at an STS host: calls that can start at once. At most 100 accounts, and only accounts that have logged in.',
  },
  sts_bucket_rate: {
    kind: 'collected',
    labels: { bucket: [] },
    help: 'Tokens added per second: sts.quota times sts.share, and less after a throttle.',
  },
  sts_bucket_throttles: {
    kind: 'collected',
    labels: { bucket: [] },
    help: 'Calls that STS throttled since the proxy started, by bucket.',
  },
  sts_bucket_waiting: {
    kind: 'collected',
    labels: { bucket: [] },
    help: 'Logins that wait for a token, by bucket. The bucket `other` is for accounts that have not logged in yet.',
  },
  upstream_logins: {
    kind: 'collected',
    labels: { state: ['dialing', 'waiting'] },
    help: 'Logins that dial the primary, at most 100, and logins that wait for a primary or behind these. Zero with upstream.topology single.',
  },
  cache_hits_total: {
    kind: 'counter',
    labels: { cache: ['refusals', 'identities'] },
    help: 'Logins decided without an STS call: by a cached refusal, or by a cached identity (sts.successCache).',
  },
  limit_refusals_total: {
    kind: 'counter',
    labels: { limit: ['concurrency', 'failures', 'signatures'] },
    help: 'Logins that a limit refused: too many at once, too many failures, too many wrong signatures.',
  },
  limit_shadow_total: {
    kind: 'counter',
    labels: { limit: ['concurrency', 'failures', 'signatures'] },
    help: 'Logins that a limit would have refused without login.shadow.',
  },
  relay_bytes_total: {
    kind: 'counter',
    labels: { direction: ['toUpstream', 'toClient'] },
    help: 'Bytes relayed after logins, counted when a connection closes.',
  },
  faults_total: { kind: 'counter', labels: { kind: FAULT_KINDS }, help: 'Faults by kind.' },
  refused_commands_total: {
    kind: 'counter',
    labels: {},
    help: 'Commands refused after a login because they would change the identity of the connection.',
  },
  ldap_authorization: {
    kind: 'state',
    labels: { state: ['unknown', 'on', 'off'] },
    help: 'Whether LDAP authorization is on at the upstream. The current state is 1, the others are 0.',
  },
  reloads_total: {
    kind: 'counter',
    labels: { outcome: ['applied', 'rejected'] },
    help: 'Reloads of the configuration by outcome. After a rejected one the previous configuration stays in effect.',
  },
  reload_timestamp_seconds: {
    kind: 'collected',
    labels: { outcome: ['applied', 'rejected'] },
    help: 'Time of the last reload by outcome, in seconds since 1970: applied has the time of the start before the first one, rejected has 0.',
  },
  config_hash: {
    kind: 'info',
    labels: { hash: [] },
    help: '1. The label is the SHA-256 of the configuration file in effect; replicas with the same file have the same one.',
  },
  build_info: {
    kind: 'info',
    labels: { version: [], node: [] },
    help: '1. The labels are the versions of the proxy and of Node.js.',
  },
  weakened_protections_total: {
    kind: 'counter',
    labels: {},
    help: 'Protections that a reload removed or widened: denials, conditions of rules, and settings. The log names each.',
  },
  denials: { kind: 'gauge', labels: {}, help: 'Entries of the deny list, from deny.file and from POST /deny.' },
  unrevoked_roles: {
    kind: 'gauge',
    labels: {},
    help: 'Principals whose database user still has roles that a rule or a directory user took away. More than 0 for longer than three refreshes: MongoDB refuses the change, or upstream.admin is unreachable.',
  },
  directory_invalid_users: {
    kind: 'gauge',
    labels: {},
    help: 'Users of $external that do not do what their names suggest: malformed ARNs, sessions, duplicates. The log and check name them.',
  },
  upstream_up: { kind: 'gauge', labels: {}, help: '1 while the upstream answers hello, otherwise 0.' },
  tls_certificate_expiry_seconds: {
    kind: 'collected',
    labels: { file: [] },
    help: 'Seconds until a certificate expires, negative afterwards: of a certificate file the first of its chain, of a CA file the last. Files of tls.* and of the connection strings.',
  },
  upstream_member_up: {
    kind: 'collected',
    labels: { member: [] },
    help: '1 while this member of the upstream answers hello, otherwise 0. At most 50 members.',
  },
  upstream_primary: {
    kind: 'collected',
    labels: {},
    help: '1 while logins have a member to go to, otherwise 0: the primary, or with upstream.topology single the one member.',
  },
  upstream_elections_total: {
    kind: 'counter',
    labels: {},
    help: 'Elections since the proxy started: a primary of another election replaced the last known one.',
  },
  upstream_refused_connections_total: {
    kind: 'counter',
    labels: {},
    help: 'Connections of logins that the primary closed although it answers its monitor: it has probably reached net.maxIncomingConnections.',
  },
  shed_total: {
    kind: 'counter',
    labels: {},
    help: 'Connections closed because listen.connections or listen.perAddress was reached.',
  },
  clock_skew_seconds: { kind: 'gauge', labels: {}, help: 'How far the clock of STS is ahead of the local clock.' },
} as const satisfies Record<string, MetricDefinition>

type Table = typeof metrics
export type MetricName = keyof Table
type NameOf<K extends MetricDefinition['kind']> = {
  [N in MetricName]: Table[N]['kind'] extends K ? N : never
}[MetricName]
type LabelValues<N extends MetricName> = { [L in keyof Table[N]['labels']]: Element<Table[N]['labels'][L]> }
type Element<A> = A extends readonly (infer E)[] ? E : never
/** No argument for a metric without labels. */
type LabelArguments<N extends MetricName> = keyof LabelValues<N> extends never ? [] : [labels: LabelValues<N>]

export type Stage = (typeof metrics.connections.labels.stage)[number]
export type LdapState = (typeof metrics.ldap_authorization.labels.state)[number]

/** Returns the current value of a collected metric for each value of its label. Without a label, the key does not matter. */
export type GaugeCollector = () => Readonly<Record<string, number>>
export type GaugeCollectors = Partial<Record<NameOf<'collected' | 'collectedCounter'>, GaugeCollector>>

export type MetricsRecorder = {
  count<N extends NameOf<'counter'>>(name: N, by: number, ...labels: LabelArguments<N>): void
  observe<N extends NameOf<'histogram'>>(name: N, seconds: number, ...labels: LabelArguments<N>): void
  set<N extends NameOf<'gauge'>>(name: N, value: number): void
  setState(name: NameOf<'state'>, state: LdapState): void
  /** Replaces the labels of an `info` metric. */
  setInfo<N extends NameOf<'info'>>(name: N, labels: Record<keyof Table[N]['labels'], string>): void
  /** Adds collectors of parts that were built with this recorder. */
  addGauges(collectors: GaugeCollectors): void
  /** Returns the totals of a counter by the value of its label; by the empty string without a label. */
  readCounter(name: NameOf<'counter'>): Promise<Record<string, number>>
  /** Returns, by the value of the label, how many observations each upper bound has. The last bound is infinite. */
  readHistogram(name: NameOf<'histogram'>): Promise<Record<string, [upTo: number, count: number][]>>
  /** Returns all metrics in the Prometheus text format. */
  render(): Promise<string>
}

/**
 * Creates a recorder with a registry of its own. `includeProcess` adds the default metrics of Node.js: memory, event loop,
 * garbage collection.
 */
export function createMetricsRecorder(initial: GaugeCollectors, { includeProcess = false } = {}): MetricsRecorder {
  const register = new Registry()
  const collectors: GaugeCollectors = { ...initial }
  const counters = new Map<MetricName, Counter>()
  const gauges = new Map<MetricName, Gauge>()
  const histograms = new Map<MetricName, Histogram>()

  for (const [name, definition] of Object.entries(metrics) as [MetricName, MetricDefinition][]) {
    const { kind, help, labels } = definition
    const config = { name: PREFIX + name, help, labelNames: Object.keys(labels), registers: [register] }
    if (kind === 'counter') counters.set(name, zeroed(new Counter(config), definition))
    else if (kind === 'histogram') histograms.set(name, createHistogram(config, definition))
    else if (kind === 'collected' || kind === 'collectedCounter') {
      createCollected(config, kind, () => collectors[name as NameOf<typeof kind>]?.() ?? {})
    } else if (kind === 'info') gauges.set(name, new Gauge(config))
    else gauges.set(name, zeroed(new Gauge(config), definition))
  }
  const setState: MetricsRecorder['setState'] = (name, state) => {
    for (const value of metrics[name].labels.state) gauges.get(name)?.set({ state: value }, value === state ? 1 : 0)
  }
  setState('ldap_authorization', 'unknown')
  if (includeProcess) collectDefaultMetrics({ register })

  return {
    count: (name, by, ...labels) => counters.get(name)?.inc(untyped(labels), by),
    observe: (name, seconds, ...labels) => histograms.get(name)?.observe(untyped(labels), seconds),
    set: (name, value) => gauges.get(name)?.set(value),
    setState,
    setInfo(name, labels) {
      gauges.get(name)?.reset()
      gauges.get(name)?.set(labels, 1)
    },
    addGauges: more => void Object.assign(collectors, more),
    async readCounter(name) {
      const { values = [] } = (await counters.get(name)?.get()) ?? {}
      return Object.fromEntries(values.map(({ labels, value }) => [Object.values(labels)[0] ?? '', value]))
    },
    async readHistogram(name) {
      const { values = [] } = (await histograms.get(name)?.get()) ?? {}
      return readDistributions(values)
    },
    render: () => register.metrics(),
  }
}

type MetricConfig = { name: string; help: string; labelNames: string[]; registers: Registry[] }

function zeroed<M extends Counter | Gauge>(metric: M, definition: MetricDefinition): M {
  for (const labels of seriesOf(definition)) metric.inc(labels, 0)
  return metric
}

function createHistogram(config: MetricConfig, definition: MetricDefinition): Histogram {
  const histogram = new Histogram({ ...config, buckets: BUCKETS })
  for (const labels of seriesOf(definition)) histogram.zero(labels)
  return histogram
}

function createCollected(config: MetricConfig, kind: 'collected' | 'collectedCounter', collect: GaugeCollector): void {
  const [label] = config.labelNames
  const entries = () =>
    Object.entries(collect()).map(([value, number]) => [label === undefined ? {} : { [label]: value }, number] as const)
  if (kind === 'collected') {
    new Gauge({
      ...config,
      collect() {
        this.reset()
        for (const [labels, number] of entries()) this.set(labels, number)
      },
    })
    return
  }
  new Counter({
    ...config,
    collect() {
      this.reset()
      for (const [labels, number] of entries()) this.inc(labels, number)
    },
  })
}

type HistogramValue = { labels: Partial<Record<string, string | number>>; value: number }

/** Only the values of buckets have a bound, the label `le`. */
function readDistributions(values: readonly HistogramValue[]): Record<string, [number, number][]> {
  const distributions: Record<string, [number, number][]> = {}
  for (const { labels, value } of values) {
    const { le, ...rest } = labels
    if (le === undefined) continue
    const key = String(Object.values(rest)[0] ?? '')
    distributions[key] ??= []
    distributions[key].push([le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le), value])
  }
  return distributions
}

/** prom-client does not know the types of the table. */
const untyped = ([labels = {}]: readonly unknown[]) => labels as Record<string, string>

/** Returns the labels of every series. A metric has at most one label. */
function seriesOf({ labels }: MetricDefinition): Record<string, string>[] {
  const [label] = Object.entries(labels)
  return label ? label[1].map(value => ({ [label[0]]: value })) : [{}]
}
