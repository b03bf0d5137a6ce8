/** Bursts of logins against a small STS quota: every login succeeds, STS never has to throttle, and other clients hardly notice. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { connectClient } from '../../bench/client.js'
import type { BurstResult } from '../../bench/loginBurst.js'
import { BUSY, HOSTS, startThrottledProxy, type ThrottledProxy } from '../support/throttledProxy.js'
import { waitUntil } from '../support/waitUntil.js'

t.setTimeout(600_000)

/** All logins succeeded, and no reply said more than to retry. */
function expectAllSucceeded(t: Test, { succeeded, refused }: BurstResult, count: number): void {
  t.equal(succeeded, count, 'every login succeeded')
  t.same(refused, {}, 'and none was refused')
}

/** The calls stayed within what STS grants, and it throttled almost none. */
function expectWithinQuota(t: Test, { sts }: ThrottledProxy, quota: number): void {
  const { GetCallerIdentity, throttled } = sts.calls()
  t.ok(throttled < GetCallerIdentity * 0.005, `${throttled} of ${GetCallerIdentity} calls were throttled`)
  t.ok(sts.peakCallsPerSecond() <= quota, `${sts.peakCallsPerSecond()} calls in the fullest second`)
}

/** How many logins of all accounts wait for a permit to call STS. */
function waitingLogins(metrics: Record<string, number>): number {
  const lines = Object.entries(metrics).filter(([name]) => name.startsWith('sts_bucket_waiting'))
  return lines.reduce((sum, [, count]) => sum + count, 0)
}

t.test('a burst beyond the capacity of the queue is retried as drivers are asked to, and succeeds', async t => {
  const proxy = await startThrottledProxy(t, { quota: 20 })
  const result = await proxy.burst(proxy.keys.busy, { count: 110, concurrency: 110 })
  expectAllSucceeded(t, result, 110)
  t.ok(result.retries > 0, `${result.retries} replies asked to retry`)
  t.ok(proxy.sts.calls().GetCallerIdentity <= 115, 'one call for each, and a few for answers that came late')
  expectWithinQuota(t, proxy, 20)
  const metrics = await proxy.metrics()
  t.equal(metrics['logins_total{outcome="budget/exhausted"}'], result.retries)
  const lines = proxy.closed().filter(({ fault }) => fault === 'budget/exhausted')
  t.ok(lines.length >= Math.min(20, result.retries), 'the log has a sample of them')
})

t.test('a burst within the capacity of the queue waits, and needs no retry', async t => {
  const proxy = await startThrottledProxy(t, { quota: 60 })
  const result = await proxy.burst(proxy.keys.busy, { count: 90, concurrency: 90 })
  expectAllSucceeded(t, result, 90)
  t.equal(result.retries, 0)
  expectWithinQuota(t, proxy, 60)
})

t.test('a burst of one account does not delay another account', async t => {
  const proxy = await startThrottledProxy(t, { quota: 30 })
  const burst = proxy.burst(proxy.keys.busy, { count: 70, concurrency: 70 })
  await waitUntil(async () => waitingLogins(await proxy.metrics()) > 10)
  const quiet = await proxy.burst(proxy.keys.quiet, { count: 6, concurrency: 1, firstAddress: 100 })
  expectAllSucceeded(t, quiet, 6)
  t.equal(quiet.retries, 0)
  t.ok(waitingLogins(await proxy.metrics()) > 0, 'the burst was not over')
  expectAllSucceeded(t, await burst, 70)
  expectWithinQuota(t, proxy, 2 * 30) // of two accounts
})

t.test('a client that loops with an expired token costs one call', async t => {
  const proxy = await startThrottledProxy(t, { quota: 60 })
  const { refused } = await proxy.burst(proxy.keys.session(-1), { count: 50, concurrency: 1, addresses: 1 })
  t.same(refused, { 18: 50 })
  t.equal(proxy.sts.calls().GetCallerIdentity, 1)
})

t.test('once the expired session of a fleet was refused, the other logins are refused without a call', async t => {
  const proxy = await startThrottledProxy(t, { quota: 60 })
  const { refused, retries } = await proxy.burst(proxy.keys.session(-1), { count: 150, concurrency: 150 })
  t.same(refused, { 18: 150 })
  t.equal(retries, 0)
  const { GetCallerIdentity } = proxy.sts.calls()
  t.ok(GetCallerIdentity < 50, `${GetCallerIdentity} calls, which were under way already`)
})

t.test('invented access keys of an account take no budget from its clients', async t => {
  const proxy = await startThrottledProxy(t, { quota: 60 })
  const victim = { ...proxy.keys.busy }
  await proxy.burst(victim, { count: 1, concurrency: 1, firstAddress: 100 })
  const flood = proxy.burst(victim, { count: 100_000, concurrency: 100, unknownKeys: true, maxMS: 2_000 })
  const result = await proxy.burst(victim, { count: 20, concurrency: 2, addresses: 1, firstAddress: 100 })
  expectAllSucceeded(t, result, 20)
  t.equal(result.retries, 0)
  const { succeeded, refused } = await flood
  t.equal(succeeded, 0)
  t.same(Object.keys(refused), ['18'])
  expectWithinQuota(t, proxy, 60)
})

t.test('the owner of a key logs in while another client of its address sends bad signatures with it', async t => {
  const proxy = await startThrottledProxy(t, { quota: 600 })
  const key = proxy.keys.busy
  const isAttackOver = { now: false }
  const attackers = Array.from({ length: 20 }, async () => {
    while (!isAttackOver.now) {
      await proxy.burst({ ...key, secretAccessKey: 'guessed' }, { count: 1, concurrency: 1, addresses: 1 })
    }
  })
  await waitUntil(async () => Number((await proxy.metrics())['limit_refusals_total{limit="signatures"}']) > 0)
  const [startedAt, callsBefore] = [proxy.clock.now(), proxy.sts.calls().GetCallerIdentity ?? 0]
  const owner = await proxy.burst(key, { count: 1, concurrency: 1, addresses: 1 })
  expectAllSucceeded(t, owner, 1)
  const seconds = (proxy.clock.now() - startedAt) / 1000
  const calls = (proxy.sts.calls().GetCallerIdentity ?? 0) - callsBefore
  t.ok(calls <= 10 * (seconds + 1), `${calls} calls in ${seconds} s`)
  isAttackOver.now = true
  await Promise.all(attackers)
})

t.test('with one of two STS hosts down every login succeeds', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  const proxy = await startThrottledProxy(t, { quota: 60, otherStsPorts: [port] })
  const result = await proxy.burst(proxy.keys.busy, { count: 60, concurrency: 20 })
  expectAllSucceeded(t, result, 60)
  expectWithinQuota(t, proxy, 60)
  const metrics = await proxy.metrics()
  t.equal(metrics[`sts_host_health{host="${HOSTS[1]}"}`], 0, 'the host that is down is ejected')
})

t.test('a login waits as long as login.queueTimeout allows, which a reload changes', async t => {
  const proxy = await startThrottledProxy(t, { quota: 1, granted: 600, share: 0.1 }) // one token every ten seconds
  const { accessKeyId, secretAccessKey } = proxy.keys.busy
  const logIn = async () => {
    const { close } = await connectClient({ port: proxy.port }, { by: 'aws', accessKeyId, secretAccessKey })
    t.teardown(close)
  }
  await logIn()
  await t.rejects(logIn(), /"code":262/, 'ten seconds are more than the default')
  proxy.setLogin({ queueTimeout: '20s' })
  const waiting = async () => (await proxy.metrics())[`sts_bucket_waiting{bucket="${BUSY} ${HOSTS[0]}"}`]
  const login = logIn()
  await waitUntil(async () => (await waiting()) === 1)
  await proxy.clock.pass(10_000)
  await login
  t.match(await proxy.closedLines(1), [{ fault: 'budget/exhausted' }])
})

t.test('a client that disconnects while it waits costs no call', async t => {
  const proxy = await startThrottledProxy(t, { quota: 1, share: 0.5 })
  const { accessKeyId, secretAccessKey } = proxy.keys.busy
  const login = { by: 'aws', accessKeyId, secretAccessKey } as const
  const first = await connectClient({ port: proxy.port }, login)
  t.teardown(first.close)
  const waiting = async () => (await proxy.metrics())[`sts_bucket_waiting{bucket="${BUSY} ${HOSTS[0]}"}`]
  t.equal(await waiting(), 0)
  const disconnect = new AbortController()
  const second = t.rejects(connectClient({ port: proxy.port, signal: disconnect.signal }, login))
  await waitUntil(async () => (await waiting()) === 1)
  disconnect.abort()
  await second
  await waitUntil(async () => (await waiting()) === 0)
  t.equal(proxy.sts.calls().GetCallerIdentity, 1)
  t.match(await proxy.closedLines(1), [{ fault: 'login/abandoned' }])
})

t.test('where AWS grants less than sts.quota says, the calls adapt, and every login succeeds', async t => {
  const proxy = await startThrottledProxy(t, { quota: 120, granted: 15 })
  const result = await proxy.burst(proxy.keys.busy, { count: 100, concurrency: 40 })
  expectAllSucceeded(t, result, 100)
  const { GetCallerIdentity, throttled } = proxy.sts.calls()
  t.ok(throttled < GetCallerIdentity / 2, `${throttled} of ${GetCallerIdentity} calls were throttled`)
  const rate = (await proxy.metrics())[`sts_bucket_rate{bucket="${BUSY} ${HOSTS[0]}"}`]
  t.ok((rate ?? 72) < 40, `${rate} calls per second by now`)
})
