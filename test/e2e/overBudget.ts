/** Over the STS budget, as applications see it through real drivers: they wait, or they come back; nobody is told 18. */
import type { MongoClient, MongoClientOptions } from 'mongodb'
import t, { type Test } from 'tap'
import { createClient, type Driver, installClient } from '../support/clients.js'
import { startThrottledProxy, type ThrottledProxy } from '../support/throttledProxy.js'

t.setTimeout(300_000) // the first time, a registry has its say
const drivers: readonly Driver[] = ['mongodb7', 'mongodb6']
for (const driver of drivers) await installClient(driver)

/** So little that the next token is longer away than a login may wait: a second login is told to come back at once. */
const NEXT_TO_NOTHING = { quota: 1, granted: 600, share: 0.02 }

const spent = ({ log }: ThrottledProxy) => log.filter(({ fault }) => fault === 'budget/exhausted').length

/** A client that reads (old drivers come back for reads alone), and how often its pool was cleared. */
async function watched(t: Test, driver: Driver, { uri, keys }: ThrottledProxy, options: MongoClientOptions = {}) {
  const client: MongoClient = await createClient(t, driver, uri, keys.busy, options)
  const pool = { cleared: 0 }
  client.on('connectionPoolCleared', () => pool.cleared++)
  return { client, pool, read: () => client.db('app').collection('any').findOne() }
}

/** Drivers come back after a random part of what they are told; here after next to none of it. */
function hurried(t: Test): void {
  const { random } = Math
  Math.random = () => 0.001
  t.teardown(() => {
    Math.random = random
  })
}

for (const driver of drivers) {
  const honours = driver === 'mongodb7'

  t.test(`${driver} waits for its turn`, async t => {
    const house = await startThrottledProxy(t, { quota: 1, granted: 600, share: 0.5 })
    const first = await watched(t, driver, house)
    await first.read()
    const second = await watched(t, driver, house)
    const began = Date.now()
    await second.read()
    t.ok(Date.now() - began > 500, 'until the next token came')
    t.equal(second.pool.cleared, 0)
    t.equal(house.sts.calls().GetCallerIdentity, 2)
  })

  t.test(`${driver} comes back when it is told to, and its application does not notice`, async t => {
    hurried(t)
    const house = await startThrottledProxy(t, NEXT_TO_NOTHING)
    const first = await watched(t, driver, house)
    await first.read()
    house.onConnectionClosed.push(() => house.setQuota(600))
    const second = await watched(t, driver, house)
    t.equal(await second.read(), null)
    t.equal(spent(house), 1)
    t.equal(second.pool.cleared > 0, !honours, honours ? 'its pool was not cleared' : 'its pool was cleared')
  })

  t.test(`${driver} while there is no budget for longer than it tries`, async t => {
    hurried(t)
    const house = await startThrottledProxy(t, NEXT_TO_NOTHING)
    const first = await watched(t, driver, house)
    await first.read()
    const second = await watched(t, driver, house)
    const error = await second.read().catch(thrown => thrown)
    t.match(error, { code: 262 })
    for (const label of ['SystemOverloadedError', 'RetryableError', 'RetryableWriteError']) {
      t.ok(error.hasErrorLabel(label), `its application sees ${label}`)
    }
    t.equal(spent(house), honours ? 3 : 2, 'tries')
    t.equal(second.pool.cleared > 0, !honours)
    t.equal(await first.read(), null, 'who is logged in does not notice')
    t.equal(house.sts.calls().GetCallerIdentity, 1, 'and STS neither')
  })
}
