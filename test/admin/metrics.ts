import { readFileSync } from 'node:fs'
import t from 'tap'
import { createMetricsRecorder, type MetricsRecorder, metrics } from '../../src/admin/metrics.js'

const sizes = () => ({ connecting: 1, unauthenticated: 2, authenticating: 3, authenticated: 4 })
const lines = async (from: MetricsRecorder) =>
  (await from.render())
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .map(line => line.replace('mongo_iam_proxy_', ''))

t.test('every series starts at zero', async t => {
  const shown = await lines(createMetricsRecorder({ connections: sizes }))
  for (const line of [
    'connections{stage="connecting"} 1',
    'connections{stage="authenticated"} 4',
    'logins_total{outcome="success"} 0',
    'logins_total{outcome="sts/refused"} 0',
    'login_seconds_count 0',
    'login_stage_seconds_bucket{le="0.005",stage="sts"} 0',
    'sts_calls_total{outcome="throttled"} 0',
    'relay_bytes_total{direction="toClient"} 0',
    'faults_total{kind="internal"} 0',
    'refused_commands_total 0',
    'ldap_authorization{state="unknown"} 1',
    'ldap_authorization{state="on"} 0',
    'upstream_up 0',
    'shed_total 0',
    'cache_hits_total{cache="refusals"} 0',
    'limit_refusals_total{limit="concurrency"} 0',
    'limit_shadow_total{limit="signatures"} 0',
    'clock_skew_seconds 0',
  ]) {
    t.ok(shown.includes(line), line)
  }
})

t.test('recorded values are rendered', async t => {
  const record = createMetricsRecorder({ connections: sizes })
  record.count('logins_total', 1, { outcome: 'success' })
  record.count('logins_total', 1, { outcome: 'users/no-rule' })
  record.count('relay_bytes_total', 500, { direction: 'toUpstream' })
  record.count('shed_total', 1)
  record.observe('login_seconds', 0.02)
  record.observe('login_stage_seconds', 3, { stage: 'queue' })
  record.set('upstream_up', 1)
  record.set('clock_skew_seconds', -2.5)
  record.setState('ldap_authorization', 'off')
  const shown = await lines(record)
  for (const line of [
    'logins_total{outcome="success"} 1',
    'logins_total{outcome="users/no-rule"} 1',
    'relay_bytes_total{direction="toUpstream"} 500',
    'shed_total 1',
    'login_seconds_bucket{le="0.01"} 0',
    'login_seconds_bucket{le="0.025"} 1',
    'login_stage_seconds_sum{stage="queue"} 3',
    'upstream_up 1',
    'clock_skew_seconds -2.5',
    'ldap_authorization{state="off"} 1',
    'ldap_authorization{state="unknown"} 0',
  ]) {
    t.ok(shown.includes(line), line)
  }
})

t.test('a collected gauge is computed for each scrape', async t => {
  const health: Record<string, number> = { 'sts.amazonaws.com': 1, 'sts.eu-west-1.amazonaws.com': 0.25 }
  const record = createMetricsRecorder({ connections: sizes, sts_host_health: () => health })
  t.ok((await lines(record)).includes('sts_host_health{host="sts.eu-west-1.amazonaws.com"} 0.25'))
  delete health['sts.eu-west-1.amazonaws.com']
  const shown = await lines(record)
  t.ok(shown.includes('sts_host_health{host="sts.amazonaws.com"} 1'))
  t.notOk(
    shown.some(line => line.includes('eu-west-1')),
    'a host that was removed has no series',
  )
})

t.test('a collected counter has the type of a counter', async t => {
  const record = createMetricsRecorder({ rule_logins_total: () => ({ 'arn:aws:iam::123456789012:user/alice': 7 }) })
  t.match(await record.render(), '# TYPE mongo_iam_proxy_rule_logins_total counter\n')
  for (let nth = 0; nth < 2; nth++) {
    t.ok((await lines(record)).includes('rule_logins_total{rule="arn:aws:iam::123456789012:user/alice"} 7'))
  }
})

t.test('an info metric is 1 and has the last labels alone', async t => {
  const record = createMetricsRecorder({})
  record.setInfo('build_info', { version: '1.0.0', node: 'v20' })
  record.setInfo('build_info', { version: '1.0.1', node: 'v20' })
  t.same(
    (await lines(record)).filter(line => line.startsWith('build_info')),
    ['build_info{version="1.0.1",node="v20"} 1'],
  )
})

t.test('there is no series for an outcome that can never occur', async t => {
  const shown = (await lines(createMetricsRecorder({}))).join('\n')
  for (const kind of ['usage', 'demo/sandbox-missing', 'listener/address-unavailable', 'denials/not-persisted']) {
    t.notMatch(shown, `"${kind}"`)
  }
  for (const kind of ['frame/length', 'hello/metadata-repeated', 'tls/no-message', 'upstream/stepped-down']) {
    t.match(shown, `faults_total{kind="${kind}"} 0`)
    t.notMatch(shown, `logins_total{outcome="${kind}"}`)
  }
  for (const kind of ['internal', 'config/invalid', 'proxy/shutdown', 'upstream/unreachable', 'proof/malformed']) {
    t.match(shown, `logins_total{outcome="${kind}"} 0`, kind)
  }
})

t.test('recorders do not share a registry', async t => {
  const [one, other] = [createMetricsRecorder({ connections: sizes }), createMetricsRecorder({ connections: sizes })]
  one.count('shed_total', 1)
  t.ok((await lines(other)).includes('shed_total 0'))
})

t.test('names and labels that are not in the table do not compile', async t => {
  const record = createMetricsRecorder({ connections: sizes })
  const misspelt = () => {
    // @ts-expect-error
    record.count('login_total', 1, { outcome: 'success' })
    // @ts-expect-error
    record.count('logins_total', 1, { outcome: 'admited' })
    // @ts-expect-error
    record.count('logins_total', 1)
    // @ts-expect-error
    record.count('shed_total', 1, { outcome: 'success' })
    // @ts-expect-error: a histogram
    record.count('login_seconds', 1)
    // @ts-expect-error: collected
    record.set('connections', 1)
    // @ts-expect-error
    record.setState('ldap_authorization', 'maybe')
  }
  t.type(misspelt, 'function')
})

t.test('each metric has a help sentence, and a line on the reference page', async t => {
  const page = readFileSync(new URL('../../docs/reference/metrics.md', import.meta.url), 'utf8')
  for (const [name, { help }] of Object.entries(metrics)) {
    t.match(help, /^[A-Z0-9][^\n|]+\.$/, name)
    t.match(page, `| \`mongo_iam_proxy_${name}\` | `)
  }
  t.match(
    page,
    '| `mongo_iam_proxy_sts_calls_total` | counter | `outcome`: identity, refused, throttled, unavailable |',
  )
})

t.test('metrics of the process are optional, and do not keep a process running', async t => {
  t.match(
    await createMetricsRecorder({ connections: sizes }, { includeProcess: true }).render(),
    /^process_resident_memory_bytes \d+$/m,
  )
  t.notMatch(await createMetricsRecorder({ connections: sizes }).render(), 'process_resident_memory_bytes')
})

t.test('totals of counters and histograms can be read', async t => {
  const record = createMetricsRecorder({})
  record.count('sts_calls_total', 2, { outcome: 'throttled' })
  record.count('shed_total', 3)
  record.observe('login_stage_seconds', 0.007, { stage: 'sts' })
  record.observe('login_stage_seconds', 60, { stage: 'sts' })
  t.same(await record.readCounter('sts_calls_total'), { identity: 0, refused: 0, throttled: 2, unavailable: 0 })
  t.same(await record.readCounter('shed_total'), { '': 3 })
  const { sts = [], queue = [] } = await record.readHistogram('login_stage_seconds')
  t.same(sts.slice(0, 3), [
    [0.005, 0],
    [0.01, 1],
    [0.025, 1],
  ])
  t.same(sts.at(-1), [Number.POSITIVE_INFINITY, 2])
  t.equal(sts.length, queue.length)
})
