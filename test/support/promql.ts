/** Reads alert rules and checks PromQL expressions against the metrics that the proxy really has. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { createMetricsRecorder, type MetricDefinition, metrics } from '../../src/admin/metrics.js'

export type AlertRule = {
  alert: string
  expr: string
  for?: string
  labels: Record<string, string>
  annotations: Record<string, string>
}

const ALERTS_FILE = new URL('../../deploy/prometheus/alerts.yml', import.meta.url)

export function readAlertRules(): AlertRule[] {
  const { groups } = parse(readFileSync(ALERTS_FILE, 'utf8')) as { groups: { rules: AlertRule[] }[] }
  return groups.flatMap(({ rules }) => rules)
}

const DASHBOARD_FILE = new URL('../../deploy/grafana/mongo-iam-proxy.json', import.meta.url)
type Panel = { title: string; targets?: { expr: string }[] }

/** The expressions of the Grafana dashboard, by the title of their panel. */
export function readDashboardExpressions(): { title: string; expr: string }[] {
  const { panels } = JSON.parse(readFileSync(DASHBOARD_FILE, 'utf8')) as { panels: Panel[] }
  return panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
}

/** Labels that Prometheus adds to each series. */
const TARGET_LABELS = ['job', 'instance']
const KEYWORDS = new Set(['and', 'or', 'unless', 'bool', 'offset'])

/** The labels of each metric, with their values. An empty list stands for any value. */
export type KnownMetrics = ReadonlyMap<string, Readonly<Record<string, readonly string[]>>>

/** The metrics of the table and those of Node.js, as a scrape shows them. */
export async function readKnownMetrics(): Promise<KnownMetrics> {
  const known = new Map<string, Record<string, readonly string[]>>([['up', {}]])
  const text = await createMetricsRecorder({}, { includeProcess: true }).render()
  for (const [, name = '', type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    const table: Record<string, MetricDefinition> = metrics
    const labels = table[name.replace('mongo_iam_proxy_', '')]?.labels ?? {}
    known.set(name, labels)
    if (type !== 'histogram') continue
    known.delete(name)
    known
      .set(`${name}_bucket`, { ...labels, le: [] })
      .set(`${name}_sum`, labels)
      .set(`${name}_count`, labels)
  }
  return known
}

/** What an expression names and the proxy does not have: metrics, labels and values of labels. */
export function findUnknownNames(expression: string, known: KnownMetrics): string[] {
  const unknown: string[] = []
  const allLabels = new Set([...known.values()].flatMap(labels => Object.keys(labels)).concat(TARGET_LABELS))
  const selectors = expression
    .replace(/\[[^\]]*\]/g, '')
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g, (_, list: string) => {
      const labels = list.split(',').map(label => label.trim())
      unknown.push(...labels.filter(label => label !== '' && !allLabels.has(label)).map(label => `label ${label}`))
      return ' '
    })
  for (const [, name = '', matchers = ''] of selectors.matchAll(
    /(?<![\w."$])([a-z_][\w:]*)(?![\w:]|\s*\()(?:\{([^}]*)\})?/gi,
  )) {
    if (KEYWORDS.has(name)) continue
    const labels = known.get(name)
    if (labels) unknown.push(...findUnknownMatchers(name, matchers, labels))
    else unknown.push(`metric ${name}`)
  }
  return unknown
}

function findUnknownMatchers(name: string, matchers: string, labels: Record<string, readonly string[]>): string[] {
  return [...matchers.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].flatMap(([, label = '', operator, text = '']) => {
    if (TARGET_LABELS.includes(label)) return []
    const values = labels[label]
    if (!values) return [`label ${label} of ${name}`]
    if (values.length === 0) return []
    const isPattern = operator?.endsWith('~')
    const alternatives = isPattern ? text.split('|') : [text]
    return alternatives
      .filter(one => !values.some(value => (isPattern ? new RegExp(`^(?:${one})$`).test(value) : value === one)))
      .map(one => `value ${one} of ${name}`)
  })
}
