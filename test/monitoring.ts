/** The alerts and the dashboard use only what the proxy has, and each alert leads to its entry of the runbook. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { findUnknownNames, readAlertRules, readDashboardExpressions, readKnownMetrics } from './support/promql.js'

const rules = readAlertRules()
const known = await readKnownMetrics()
const runbook = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
const entries = [...runbook.matchAll(/^### (MongoIamProxy\w+)$/gm)].map(([, name]) => name)

t.test('alerts use metrics, labels and values that exist', async t => {
  for (const { alert, expr } of rules) t.same(findUnknownNames(expr, known), [], alert)
})

t.test('the dashboard uses metrics, labels and values that exist', async t => {
  const expressions = readDashboardExpressions()
  t.ok(expressions.length > 20)
  for (const { title, expr } of expressions) t.same(findUnknownNames(expr, known), [], title)
})

t.test('each alert has a severity, a summary, a description, and an entry of the runbook under its name', async t => {
  for (const { alert, labels, annotations } of rules) {
    t.match(alert, /^MongoIamProxy[A-Z]/)
    t.match(labels.severity, /^(critical|warning)$/, alert)
    t.match(annotations.summary, /^(mongo-iam-proxy|[A-Z])[^{}]+\.$/, alert)
    t.match(annotations.description, /^(\{\{|[A-Z]).+\.$/, alert)
    const url = new URL(annotations.runbook_url ?? '')
    t.match(url.pathname, /\/docs\/errors\.md$/, alert)
    t.equal(url.hash, `#${alert.toLowerCase()}`)
  }
  t.same(
    rules.map(({ alert }) => alert),
    entries,
    'the runbook has the alerts in the order of the rules',
  )
})

t.test('unknown metrics, labels and values are found', async t => {
  const find = (expression: string) => findUnknownNames(expression, known)
  t.same(
    find('sum by (job, outcome) (rate(mongo_iam_proxy_logins_total{outcome="success"}[5m])) > 0.5 and up == 1'),
    [],
  )
  t.same(find('histogram_quantile(0.9, mongo_iam_proxy_login_seconds_bucket{le="1"})'), [])
  t.same(find('rate(mongo_iam_proxy_nonsense[5m])'), ['metric mongo_iam_proxy_nonsense'])
  t.same(find('sum without (nonsense) (up)'), ['label nonsense'])
  t.same(find('mongo_iam_proxy_shed_total{kind="a"}'), ['label kind of mongo_iam_proxy_shed_total'])
  t.same(find('mongo_iam_proxy_faults_total{kind=~"internal|no.+sense"}'), [
    'value no.+sense of mongo_iam_proxy_faults_total',
  ])
  t.same(find('mongo_iam_proxy_login_seconds > 1'), ['metric mongo_iam_proxy_login_seconds'])
})
