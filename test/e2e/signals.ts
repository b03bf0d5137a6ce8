/** Each outage shows in the metrics at the next scrape and in the log at once. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectTLS } from 'node:tls'
import t from 'tap'
import { scrapeMetrics } from '../support/metrics.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'

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
