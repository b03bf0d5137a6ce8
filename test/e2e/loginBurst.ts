/** Crowds against a small quota: everybody gets in, AWS never has to throttle, and who is not of the crowd hardly notices. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { connectClient } from '../../bench/client.js'
import type { BurstResult } from '../../bench/loginBurst.js'
import { BUSY, HOSTS, startThrottledProxy, type ThrottledProxy } from '../support/throttledProxy.js'

t.setTimeout(120_000)

/** All of them were let in, and nobody was told anything but to come back. */
function allIn(t: Test, { succeeded, refused }: BurstResult, count: number): void {
  t.equal(succeeded, count, 'everybody got in')
  t.same(refused, {}, 'and nobody was told that the login was wrong')
}

/** What STS saw stays within what it grants, and it threw nobody back. */
function withinQuota(t: Test, { sts }: ThrottledProxy, quota: number): void {
  const { GetCallerIdentity, throttled } = sts.calls()
  t.ok(throttled < GetCallerIdentity * 0.005, `${throttled} of ${GetCallerIdentity} calls were throttled`)
  t.ok(sts.peakCallsPerSecond() <= quota, `${sts.peakCallsPerSecond()} calls in the fullest second`)
}

/** How many wait for a turn at STS, whosever. */
function waitingIn(metrics: Record<string, number>): number {
  const lines = Object.entries(metrics).filter(([name]) => name.startsWith('sts_bucket_waiting'))
  return lines.reduce((sum, [, count]) => sum + count, 0)
}

/** Waits until it holds, half a minute at most. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 30_000; !(await holds()) && Date.now() < end; )
    await new Promise(resolve => setTimeout(resolve, 10))
}

t.test('a crowd that is more than the queue takes comes back as told, and gets in', async t => {
  const house = await startThrottledProxy(t, { quota: 20 })
  const seen = await house.crowd(house.keys.busy, { count: 110, concurrency: 110 })
  allIn(t, seen, 110)
  t.ok(seen.retries > 0, `${seen.retries} times somebody was told to come back`)
  t.ok(seen.ms >= (1000 * (110 - 4)) / 12 - 500, 'not faster than the quota allows')
  t.ok(house.sts.calls().GetCallerIdentity <= 115, 'one call each, but for answers that came late')
  withinQuota(t, house, 20)
  const metrics = await house.metrics()
  t.equal(metrics['logins_total{outcome="budget/exhausted"}'], seen.retries)
  const lines = house.log.filter(({ fault }) => fault === 'budget/exhausted')
  t.ok(lines.length >= Math.min(20, seen.retries), 'of which the log has some, if not all')
})

t.test('a burst that the queue takes waits, and nobody is told to come back', async t => {
  const house = await startThrottledProxy(t, { quota: 60 })
  const seen = await house.crowd(house.keys.busy, { count: 90, concurrency: 90 })
  allIn(t, seen, 90)
  t.equal(seen.retries, 0)
  withinQuota(t, house, 60)
})

t.test('while one account storms, the other gets in as if it were alone', async t => {
  const house = await startThrottledProxy(t, { quota: 30 })
  const crowd = house.crowd(house.keys.busy, { count: 70, concurrency: 70 })
  await until(async () => waitingIn(await house.metrics()) > 10)
  const quiet = await house.crowd(house.keys.quiet, { count: 6, concurrency: 1, firstAddress: 100 })
  allIn(t, quiet, 6)
  t.equal(quiet.retries, 0)
  t.ok(waitingIn(await house.metrics()) > 0, 'the storm was not over')
  allIn(t, await crowd, 70)
  withinQuota(t, house, 2 * 30) // of two accounts
})

t.test('a crash loop with an expired token costs one call', async t => {
  const house = await startThrottledProxy(t, { quota: 60 })
  const { refused } = await house.crowd(house.keys.session(-1), { count: 50, concurrency: 1, addresses: 1 })
  t.same(refused, { 18: 50 })
  t.equal(house.sts.calls().GetCallerIdentity, 1)
})

t.test('a fleet whose session has expired is told so as soon as one of them was', async t => {
  const house = await startThrottledProxy(t, { quota: 60 })
  const { refused, retries } = await house.crowd(house.keys.session(-1), { count: 150, concurrency: 150 })
  t.same(refused, { 18: 150 })
  t.equal(retries, 0)
  const { GetCallerIdentity } = house.sts.calls()
  t.ok(GetCallerIdentity < 50, `${GetCallerIdentity} calls, of those that were under way already`)
})

t.test('made-up keys of an account take nothing from its clients', async t => {
  const house = await startThrottledProxy(t, { quota: 60 })
  const victim = { ...house.keys.busy }
  await house.crowd(victim, { count: 1, concurrency: 1, firstAddress: 100 })
  const flood = house.crowd(victim, { count: 100_000, concurrency: 100, unknownKeys: true, maxMS: 2_000 })
  const seen = await house.crowd(victim, { count: 20, concurrency: 2, addresses: 1, firstAddress: 100 })
  allIn(t, seen, 20)
  t.equal(seen.retries, 0)
  const { succeeded, refused } = await flood
  t.equal(succeeded, 0)
  t.same(Object.keys(refused), ['18'])
  withinQuota(t, house, 60)
})

t.test('with one of two hosts down everybody gets in', async t => {
  const nobody = createServer().listen(0, '127.0.0.1')
  await once(nobody, 'listening')
  const { port } = nobody.address() as AddressInfo
  nobody.close()
  const house = await startThrottledProxy(t, { quota: 60, otherStsPorts: [port] })
  const seen = await house.crowd(house.keys.busy, { count: 60, concurrency: 20 })
  allIn(t, seen, 60)
  withinQuota(t, house, 60)
  const health = await house.metrics()
  t.equal(health[`sts_host_health{host="${HOSTS[1]}"}`], 0, 'it is left alone')
})

t.test('who leaves the queue frees the place and costs no call', async t => {
  const house = await startThrottledProxy(t, { quota: 1, share: 0.5 })
  const { accessKeyId, secretAccessKey } = house.keys.busy
  const login = { by: 'aws', accessKeyId, secretAccessKey } as const
  const first = await connectClient({ port: house.port }, login)
  t.teardown(first.close)
  const waiting = async () => (await house.metrics())[`sts_bucket_waiting{bucket="${BUSY} ${HOSTS[0]}"}`]
  t.equal(await waiting(), 0)
  const leaving = new AbortController()
  const second = t.rejects(connectClient({ port: house.port, signal: leaving.signal }, login))
  await until(async () => (await waiting()) === 1)
  leaving.abort()
  await second
  await until(async () => (await waiting()) === 0)
  t.equal(house.sts.calls().GetCallerIdentity, 1)
  await until(async () => house.log.length > 0)
  t.match(house.log, [{ fault: 'login/abandoned' }])
})

t.test('where AWS grants less than was said, the calls come down to that, and everybody gets in', async t => {
  const house = await startThrottledProxy(t, { quota: 120, granted: 15 })
  const seen = await house.crowd(house.keys.busy, { count: 100, concurrency: 40 })
  allIn(t, seen, 100)
  const { GetCallerIdentity, throttled } = house.sts.calls()
  t.ok(throttled < GetCallerIdentity / 2, `${throttled} of ${GetCallerIdentity} calls were throttled`)
  const rate = (await house.metrics())[`sts_bucket_rate{bucket="${BUSY} ${HOSTS[0]}"}`]
  t.ok((rate ?? 72) < 40, `${rate} a second by now`)
})
