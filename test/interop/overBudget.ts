/**
 * Logins over the STS budget, as applications see them through drivers other than Node's (test/e2e covers those). A login
 * waits in the queue if it can be served in time. Otherwise it is rejected with a retryable error; this file and README.md
 * record how each driver reacts.
 */
import t, { type Test } from 'tap'
import { credentialEnvironment } from '../support/clients.js'
import { BUSY, HOSTS, startThrottledProxy, type ThrottledProxy } from '../support/throttledProxy.js'
import { waitUntil } from '../support/waitUntil.js'
import { startDriverProgram } from './support/driverProgram.js'
import { buildGoDriver, installPymongo, type Program, prepareOrSkip } from './support/toolchains.js'

type Driver = {
  prepare(): Promise<Program>
  /** How many logins the driver attempts for one read while each is rejected. */
  attempts: number
  /** Whether each rejected login clears the pool. */
  clearsPool: boolean
  /** Whether the program has the step `shortenBackoff`. */
  shortensBackoff?: true
}

const drivers: Record<string, Driver> = {
  PyMongo: { prepare: installPymongo, attempts: 3, clearsPool: true, shortensBackoff: true },
  'Go 2': { prepare: () => buildGoDriver('go-v2'), attempts: 1, clearsPool: false },
  'Go 1': { prepare: () => buildGoDriver('go-v1'), attempts: 1, clearsPool: true },
}

/** The next token comes later than a login may wait, so a second login is rejected at once. */
const EXHAUSTED_BUDGET = { quota: 1, granted: 600, share: 0.02 }
const RETRY_LABELS = ['RetryableError', 'RetryableWriteError', 'SystemOverloadedError']

const noControl = process.env.MONGODB_URI !== undefined && 'the test does not control the STS budget of MONGODB_URI'

for (const [name, { prepare, attempts, clearsPool, shortensBackoff }] of Object.entries(drivers)) {
  const { value: program, skip } = await prepareOrSkip(prepare)

  /** Starts two applications. The first logs in and so uses up the budget; the second has not connected yet. */
  const startTwo = async (t: Test, { uri, keys }: ThrottledProxy) => {
    const options = `${uri}&serverSelectionTimeoutMS=20000&heartbeatFrequencyMS=1000`
    const start = async () => {
      const app = await startDriverProgram(t, program as Program, options, credentialEnvironment(keys.busy))
      if (shortensBackoff) await app.step('shortenBackoff')
      return app
    }
    const [first, second] = await Promise.all([start(), start()])
    await first.step('read', { in: 'any' })
    return { first, second }
  }

  t.test(`a login of ${name} waits in the queue for the next token`, { skip: skip || noControl }, async t => {
    const proxy = await startThrottledProxy(t, { quota: 1, granted: 600, share: 0.25 })
    const { second } = await startTwo(t, proxy)
    const read = second.step('read', { in: 'any' })
    const bucket = `sts_bucket_waiting{bucket="${BUSY} ${HOSTS[0]}"}`
    await waitUntil(async () => (await proxy.metrics())[bucket] === 1)
    await proxy.clock.pass(4_000) // until the next token is available
    await read
    t.same(await second.step('events'), { cleared: 0 })
    t.equal(proxy.sts.calls().GetCallerIdentity, 2)
  })

  t.test(`a login of ${name} is rejected while there is no STS budget`, { skip: skip || noControl }, async t => {
    const proxy = await startThrottledProxy(t, EXHAUSTED_BUDGET)
    const { first, second } = await startTwo(t, proxy)
    const { error } = await second.tryStep('read', { in: 'any' })
    t.match(error, { code: 262 })
    t.strictSame(error?.labels.filter(label => RETRY_LABELS.includes(label)).sort(), RETRY_LABELS)
    t.equal(proxy.closed().filter(({ fault }) => fault === 'budget/exhausted').length, attempts, 'login attempts')
    t.same(await second.step('events'), { cleared: clearsPool ? attempts : 0 })
    await first.step('read', { in: 'any' })
    t.equal(proxy.sts.calls().GetCallerIdentity, 1, 'the authenticated connection goes on without an STS call')

    proxy.setQuota(1_000)
    await second.step('read', { in: 'any' })
    t.equal(proxy.sts.calls().GetCallerIdentity, 2, 'the login succeeds once there is budget')
  })
}
