/** Logins beyond the STS budget as applications see them through real drivers: they wait, or the driver retries; none is refused. */
import type { MongoClient, MongoClientOptions } from 'mongodb'
import t, { type Test } from 'tap'
import { createClient, type Driver, requireClients } from '../support/clients.js'
import { BUSY, HOSTS, startThrottledProxy, type ThrottledProxy } from '../support/throttledProxy.js'
import { waitUntil } from '../support/waitUntil.js'

const drivers: readonly Driver[] = ['mongodb7', 'mongodb6']
await requireClients(...drivers)

/** One token every 50 seconds: longer than a login may wait, so a second login is asked to retry at once. */
const ALMOST_NOTHING = { quota: 1, granted: 600, share: 0.02 }
/** One token every 4 seconds, for which a login does wait. */
const LITTLE = { quota: 1, granted: 600, share: 0.25 }
const LITTLE_TOKEN_MS = 4_000

const isExhausted = ({ fault }: Record<string, unknown>) => fault === 'budget/exhausted'
const exhausted = (proxy: ThrottledProxy) => proxy.closed().filter(isExhausted).length

/** A client that reads, since old drivers retry reads only. `pool` counts how often its pool was cleared. */
async function startReader(t: Test, driver: Driver, { uri, keys }: ThrottledProxy, options: MongoClientOptions = {}) {
  const client: MongoClient = await createClient(t, driver, uri, keys.busy, options)
  const pool = { cleared: 0 }
  client.on('connectionPoolCleared', () => pool.cleared++)
  return { client, pool, read: () => client.db('app').collection('any').findOne() }
}

/** Drivers retry after a random part of the delay that they are asked for; here after almost none of it. */
function retryAtOnce(t: Test): void {
  const { random } = Math
  Math.random = () => 0.001
  t.teardown(() => {
    Math.random = random
  })
}

for (const driver of drivers) {
  const honours = driver === 'mongodb7'

  t.test(`${driver} waits in the queue until the next token`, async t => {
    const proxy = await startThrottledProxy(t, LITTLE)
    const first = await startReader(t, driver, proxy)
    await first.read()
    const second = await startReader(t, driver, proxy)
    const read = second.read()
    const bucket = `sts_bucket_waiting{bucket="${BUSY} ${HOSTS[0]}"}`
    await waitUntil(async () => (await proxy.metrics())[bucket] === 1)
    t.equal(proxy.sts.calls().GetCallerIdentity, 1)
    await proxy.clock.pass(LITTLE_TOKEN_MS)
    await read
    t.equal(second.pool.cleared, 0)
    t.equal(proxy.sts.calls().GetCallerIdentity, 2)
  })

  t.test(`${driver} retries when it is asked to, and its application does not notice`, async t => {
    retryAtOnce(t)
    const proxy = await startThrottledProxy(t, ALMOST_NOTHING)
    const first = await startReader(t, driver, proxy)
    await first.read()
    void proxy.closedLines(1, isExhausted).then(() => proxy.setQuota(600))
    const second = await startReader(t, driver, proxy)
    t.equal(await second.read(), null)
    t.equal(exhausted(proxy), 1)
    t.equal(second.pool.cleared > 0, !honours, honours ? 'its pool was not cleared' : 'its pool was cleared')
  })

  t.test(`${driver} shows the error while there is no budget for longer than it retries`, async t => {
    retryAtOnce(t)
    const proxy = await startThrottledProxy(t, ALMOST_NOTHING)
    const first = await startReader(t, driver, proxy)
    await first.read()
    const second = await startReader(t, driver, proxy)
    const error = await second.read().catch(thrown => thrown)
    t.match(error, { code: 262 })
    for (const label of ['SystemOverloadedError', 'RetryableError', 'RetryableWriteError']) {
      t.ok(error.hasErrorLabel(label), `its application sees ${label}`)
    }
    t.equal(exhausted(proxy), honours ? 3 : 2, 'attempts')
    t.equal(second.pool.cleared > 0, !honours)
    t.equal(await first.read(), null, 'a client that is logged in does not notice')
    t.equal(proxy.sts.calls().GetCallerIdentity, 1, 'and STS neither')
  })
}
