/** Each outage shows in the metrics at the next scrape and in the log at once. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectTLS } from 'node:tls'
import t from 'tap'
import { scrapeMetrics } from '../support/metrics.js'
import { logInRaw } from '../support/rawLogin.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { startTestProxy } from '../support/testProxy.js'
import { startThrottledProxy } from '../support/throttledProxy.js'
import { waitUntil } from '../support/waitUntil.js'

const pem = (name: string) => readFileSync(new URL(`../support/tls/${name}.pem`, import.meta.url))

t.test('a primary that is gone, and the next one', async t => {
  const { proxy, set, hosts, log, logged, clock } = await startReplicaSetProxy(
    t,
    { 'admin.port': '0' },
    { electionMS: null, testClock: true },
  )
  const up = (host: string) => `upstream_member_up{member="${host}"}`
  const first = set.primary()
  t.match(
    log.filter(({ event }) => event === 'primary found'),
    [{ level: 'info', upstream: first?.host }],
  )
  const before = await scrapeMetrics(proxy.adminPort)
  t.match(before, { upstream_primary: 1, upstream_elections_total: 0 })
  t.same(
    hosts.map(host => before[up(host)]),
    [1, 1, 1],
  )
  set.stepDown()
  await logged(({ event, level }) => event === 'no primary' && level === 'warn')
  t.match(await scrapeMetrics(proxy.adminPort), { upstream_primary: 0, upstream_up: 1 })
  await clock.pass(5_000)
  await logged(({ event, level }) => event === 'no primary' && level === 'error')
  const next = set.members().find(member => member !== first)
  if (!next) throw new Error('there are three members')
  set.elect(next)
  const [, found] = await logged(({ event }) => event === 'primary found', 2)
  t.match(found, { upstream: next.host })
  t.ok(Number(found?.seconds) >= 5)
  t.match(await scrapeMetrics(proxy.adminPort), { upstream_primary: 1, upstream_elections_total: 1 })
  const lost = set.members().find(member => member !== next)
  if (lost) await set.kill(lost)
  await logged(({ event, upstream }) => event === 'upstream unreachable' && upstream === lost?.host)
  t.match(await scrapeMetrics(proxy.adminPort), { [up(lost?.host ?? '')]: 0, [up(next.host)]: 1 })
})

t.test('an expired certificate of the listener, and the one that a reload brings', async t => {
  const { proxy, log, logged, reload, config } = await startReplicaSetProxy(
    t,
    { 'admin.port': '0', 'tls.certFile': '/tls.pem', 'tls.keyFile': '/tls.pem' },
    { files: { '/tls.pem': pem('expired') } },
  )
  const left = 'tls_certificate_expiry_seconds{file="/tls.pem"}'
  t.match(await logged(({ event }) => event === 'certificate expired'), [
    { level: 'error', file: '/tls.pem', certificate: 'server', setting: 'tls.certFile' },
  ])
  t.ok(Number((await scrapeMetrics(proxy.adminPort))[left]) < 0)
  reload(config, { '/tls.pem': pem('listener') })
  t.ok(Number((await scrapeMetrics(proxy.adminPort))[left]) > 86_400 * 365)
  t.equal(log.filter(({ event }) => event === 'certificate expired').length, 1)
})

t.test('drivers that reject an expired certificate show in the log with the cause, and in the metrics', async t => {
  const { proxy, logged } = await startReplicaSetProxy(
    t,
    { 'admin.port': '0', 'tls.certFile': '/tls.pem', 'tls.keyFile': '/tls.pem' },
    { files: { '/tls.pem': pem('expired') } },
  )
  for (const [nth, maxVersion] of (['TLSv1.2', 'TLSv1.3'] as const).entries()) {
    const client = connectTLS({ port: proxy.port, host: '127.0.0.1', servername: 'proxy.test', maxVersion })
    t.teardown(() => client.destroy())
    await once(client, 'error')
    const lines = await logged(({ fault }) => fault === 'tls/no-message' || fault === 'tls/handshake-failed', nth + 1)
    t.match(lines[nth], { level: 'info', why: /the certificate of the proxy expired at 2026-/ }, maxVersion)
  }
  const metrics = await scrapeMetrics(proxy.adminPort)
  const [silent, failed] = ['tls/no-message', 'tls/handshake-failed'].map(
    kind => metrics[`faults_total{kind="${kind}"}`],
  )
  t.same([silent, failed], [1, 1], 'Node.js closes the handshake of TLS 1.3 and completes that of TLS 1.2')
})

const ADMIN = { 'admin.port': '0' }

t.test('an upstream that is full', async t => {
  const { running, keyOf, links, log } = await startTestProxy(t, { settings: ADMIN })
  t.match((await logInRaw(t, running.port, keyOf('alice'))).reply, { done: true })
  links.mongo.closeNewConnections()
  t.match((await logInRaw(t, running.port, keyOf('alice'))).reply, { code: 6 })
  t.match(
    log.filter(({ event }) => event === 'upstream refuses connections'),
    [{ level: 'error', upstream: `127.0.0.1:${links.mongo.port}` }],
  )
  const metrics = await scrapeMetrics(running.adminPort)
  t.ok(Number(metrics.upstream_refused_connections_total) >= 1)
  t.match(metrics, { upstream_primary: 1, 'logins_total{outcome="upstream/unreachable"}': 1 })
})

t.test('STS that is down', async t => {
  const { running, keyOf, links, log, clock } = await startTestProxy(t, { settings: ADMIN })
  await links.sts.refuseConnections()
  links.sts.resetConnections()
  const login = logInRaw(t, running.port, keyOf('alice'))
  await clock.pass(4_000)
  t.match((await login).reply, { code: 262 })
  t.match(log.filter(({ fault }) => fault === 'sts/unavailable').slice(0, 1), [{ level: 'error' }])
  const metrics = await scrapeMetrics(running.adminPort)
  t.ok(Number(metrics['sts_calls_total{outcome="unavailable"}']) >= 1)
  t.match(metrics, { 'logins_total{outcome="sts/unavailable"}': 1 })
})

t.test('a client that hammers with a wrong secret', async t => {
  const { running, keyOf, log } = await startTestProxy(t, { settings: ADMIN })
  const key = { ...keyOf('alice'), secretAccessKey: 'wrong' }
  for (let nth = 0; nth < 12; nth++) await logInRaw(t, running.port, key)
  await waitUntil(() => log.filter(({ event }) => event === 'connection closed').length === 12)
  const closed = log.filter(({ accessKeyId }) => accessKeyId === key.accessKeyId)
  t.match(closed[0], { level: 'info', fault: 'sts/refused', peer: /^127/ })
  const metrics = await scrapeMetrics(running.adminPort)
  t.equal(metrics['logins_total{outcome="success"}'], 0)
  t.ok(Number(metrics['logins_total{outcome="sts/refused"}']) >= 10)
})

t.test('LDAP authorization that is turned on', async t => {
  const { running, keyOf, mongo, log } = await startTestProxy(t, { settings: { ...ADMIN, 'ldap.every': '1s' } })
  mongo.setLdapAuthorization(true)
  await waitUntil(() => log.some(({ event, state }) => event === 'ldap authorization checked' && state === 'on'))
  t.match(
    log.filter(({ state }) => state === 'on'),
    [{ level: 'error' }],
  )
  await logInRaw(t, running.port, keyOf('alice'))
  t.match(await scrapeMetrics(running.adminPort), {
    'ldap_authorization{state="on"}': 1,
    'logins_total{outcome="ldap/on"}': 1,
  })
})

t.test('STS that throttles', async t => {
  const { burst, keys, metrics, logged } = await startThrottledProxy(t, { quota: 120, granted: 15 })
  await burst(keys.busy, { count: 60, concurrency: 40 })
  const [line] = await logged(({ event }) => event === 'sts throttled')
  t.match(line, { level: 'warn', account: /^\d{12}$/, perSecond: Number })
  t.ok(Number((await metrics())['sts_calls_total{outcome="throttled"}']) > 0)
})

t.test('the configuration in effect, a rejected reload, and logins by rule', async t => {
  const { running, keyOf, reload } = await startTestProxy(t, { settings: ADMIN })
  await logInRaw(t, running.port, keyOf('alice'))
  const before = await scrapeMetrics(running.adminPort)
  t.ok(Object.keys(before).some(name => /^build_info\{version="\d+\.\d+\.\d+",node="v\d+\..*"\}$/.test(name)))
  t.equal(Object.entries(before).filter(([name, value]) => name.startsWith('config_hash{') && value === 1).length, 1)
  const rules = Object.entries(before).filter(([name]) => name.startsWith('rule_logins_total{'))
  t.match(
    rules.filter(([, value]) => value === 1),
    [[/user\/alice/, 1]],
  )
  reload({ listen: { port: 'none' } })
  const { 'reload_timestamp_seconds{outcome="rejected"}': rejected, ...after } = await scrapeMetrics(running.adminPort)
  t.ok(Number(rejected) > Number(after['reload_timestamp_seconds{outcome="applied"}']))
})
