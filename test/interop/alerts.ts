/**
 * The alerts in Prometheus' own rule engine (`promtool test rules`), one incident at a time.
 *
 *     series of a healthy proxy for 10 minutes ──▶ the incident changes some of them ──▶ exactly these alerts fire
 *
 * The series of a healthy proxy come from its table of metrics, so that a renamed metric fails here.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createMetricsRecorder } from '../../src/admin/metrics.js'
import { createTempFolder } from '../support/program.js'
import { readAlertRules, readDashboardExpressions } from '../support/promql.js'
import { type Incident, incidents } from './support/incidents.js'
import { findPromtool, prepareOrSkip } from './support/toolchains.js'

const RULES = fileURLToPath(new URL('../../deploy/prometheus/alerts.yml', import.meta.url))
const TARGET = { job: 'mongo-iam-proxy', instance: 'proxy-0:9216' }
/** Samples at 15 s before the incident, and after it began. */
const HEALTHY_SAMPLES = 40
const INCIDENT_SAMPLES = 160

const { skip } = await prepareOrSkip(findPromtool)
const rules = readAlertRules()

function runPromtool(args: readonly string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

/** The samples of a proxy at rest, by series. */
async function createHealthySeries(): Promise<Map<string, string>> {
  const constant = (value: number) => () => ({ '': value })
  const recorder = createMetricsRecorder({
    connections: () => ({ connecting: 0, unauthenticated: 20, authenticating: 1, authenticated: 100 }),
    session_slots: () => ({ taken: 100, free: 900 }),
    principal_sessions: () => ({ 'arn:aws:iam::123456789012:role/orders': 100 }),
    sts_host_health: () => ({ 'sts.eu-west-1.amazonaws.com': 1 }),
    upstream_member_up: () => ({ 'mongo-0:27017': 1, 'mongo-1:27017': 1 }),
    upstream_primary: constant(1),
    reload_timestamp_seconds: () => ({ applied: 1_700_000_000, rejected: 0 }),
    tls_certificate_expiry_seconds: () => ({ '/etc/mongo-iam-proxy/tls.crt': 90 * 86_400 }),
  })
  recorder.set('audit_up', 1)
  recorder.set('upstream_up', 1)
  recorder.setState('ldap_authorization', 'off')
  recorder.setInfo('config_hash', { hash: 'aaaa' })
  const series = new Map<string, string>()
  for (const line of (await recorder.render()).split('\n')) {
    const [, name, value] = /^(\w+(?:\{.*\})?) (\S+)$/.exec(line) ?? []
    if (name && value) series.set(name, `${value}x${HEALTHY_SAMPLES + INCIDENT_SAMPLES}`)
  }
  const samples = HEALTHY_SAMPLES + INCIDENT_SAMPLES
  series.set('up', `1x${samples}`)
  series.set('process_open_fds', `300x${samples}`)
  series.set('process_max_fds', `1000x${samples}`)
  series.set('process_cpu_seconds_total', `0+1x${samples}`)
  series.set('nodejs_eventloop_lag_p99_seconds', `0.011x${samples}`)
  // A proxy at rest logs in one client per second and refuses few.
  series.set('mongo_iam_proxy_logins_total{outcome="success"}', `0+15x${samples}`)
  series.set('mongo_iam_proxy_sts_calls_total{outcome="identity"}', `0+15x${samples}`)
  return series
}

const healthy = await createHealthySeries()
const format = (labels: Record<string, string>) => Object.entries(labels).map(([label, value]) => `${label}="${value}"`)

/** Adds the labels of the target to a series as the proxy renders it. */
function withTarget(series: string, target: Record<string, string> = TARGET): string {
  const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})?$/.exec(series) ?? []
  return `${name}{${[...format(target), ...(labels ? [labels] : [])].join(',')}}`
}

function createInputSeries(incident: Incident) {
  const samples = new Map(healthy)
  for (const [series, change] of Object.entries(incident.series)) {
    const [before, after] = 'grows' in change ? ['0', `${change.grows}+${change.grows}`] : [change.from, change.to]
    samples.set(series, `${before}x${HEALTHY_SAMPLES - 1} ${after}${after === 'stale' ? '' : `x${INCIDENT_SAMPLES}`}`)
  }
  const others = incident.otherInstance ? ['mongo_iam_proxy_config_hash{hash="bbbb"}'] : []
  return [
    ...[...samples].map(([series, values]) => ({ series: withTarget(series), values })),
    ...others.map(series => ({
      series: withTarget(series, { ...TARGET, instance: 'proxy-1:9216' }),
      values: `_x${HEALTHY_SAMPLES - 1} 1x${INCIDENT_SAMPLES}`,
    })),
  ]
}

/** The alert as Prometheus sends it: with the labels and annotations of its rule. */
function createExpectedAlert(name: string, { labels = {}, description }: Incident['firing'][string]) {
  const rule = rules.find(({ alert }) => alert === name)
  const target = labels.job === undefined ? TARGET : {}
  return {
    exp_labels: { ...target, ...rule?.labels, ...labels },
    exp_annotations: { ...rule?.annotations, description },
  }
}

/** A test file for promtool, which reads YAML and therefore JSON. */
function createTestFile(incident: Incident): string {
  const countFiring = (minutes: number, names: readonly string[]) => ({
    expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
    eval_time: `${minutes}m`,
    exp_samples: names.map(alertname => ({ labels: `{alertname="${alertname}"}`, value: 1 })),
  })
  const began = (HEALTHY_SAMPLES * 15) / 60
  const test = {
    interval: '15s',
    input_series: createInputSeries(incident),
    alert_rule_test: Object.entries(incident.firing).map(([alertname, expected]) => ({
      eval_time: `${began + incident.minutes}m`,
      alertname,
      exp_alerts: [createExpectedAlert(alertname, expected)],
    })),
    promql_expr_test: [
      countFiring(began - 1, []),
      countFiring(began + incident.minutes, Object.keys(incident.firing).sort()),
    ],
  }
  return JSON.stringify({ rule_files: [RULES], evaluation_interval: '15s', tests: [test] })
}

function testRules(t: Test, incident: Incident): void {
  const file = join(createTempFolder(t), 'incident.json')
  writeFileSync(file, createTestFile(incident))
  const { status, output } = runPromtool(['test', 'rules', file])
  t.equal(status, 0, output)
}

t.test('Prometheus accepts the rules', { skip }, async t => {
  const { status, output } = runPromtool(['check', 'rules', '--lint=all', '--lint-fatal', RULES])
  t.equal(status, 0, output)
})

t.test('Prometheus can parse the expressions of the dashboard', { skip }, async t => {
  const rules = readDashboardExpressions().map(({ expr }, index) => ({
    record: `panel_${index}`,
    expr: expr.replaceAll('$__rate_interval', '1m'),
  }))
  const file = join(createTempFolder(t), 'dashboard.json')
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }))
  const { status, output } = runPromtool(['check', 'rules', file])
  t.equal(status, 0, output)
})

for (const incident of incidents) {
  t.test(incident.name, { skip }, async t => testRules(t, incident))
}

t.test('every alert fires in an incident', async t => {
  const fired = new Set(incidents.flatMap(({ firing }) => Object.keys(firing)))
  t.same(
    rules.map(({ alert }) => alert).filter(alert => !fired.has(alert)),
    [],
  )
})
