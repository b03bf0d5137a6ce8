/**
 * Over the STS budget, as applications see it through drivers that are not Node's (of those, test/e2e has it): each
 * waits for its turn; what it does when it is told to come back is listed here, and in README.md.
 */
import { join } from 'node:path'
import t from 'tap'
import { credentialEnvironment } from '../support/clients.js'
import { startThrottledProxy, type ThrottledProxy } from '../support/throttledProxy.js'
import { client } from './support/driverProgram.js'
import { clients as folder, goClient, type Program, provided, python } from './support/toolchains.js'

type Driver = {
  make(): Promise<Program>
  /** Logins that one read tries while it is told to come back, and whether each of them clears the pool. */
  tries: number
  clears: boolean
  /** Pauses can be cut short. */
  hurries?: true
}

const drivers: Record<string, Driver> = {
  PyMongo: {
    make: async () => [await python(), join(folder, 'pymongo/storm.py')],
    tries: 3,
    clears: true,
    hurries: true,
  },
  'Go 2': { make: () => goClient('go-v2'), tries: 1, clears: false },
  'Go 1': { make: () => goClient('go-v1'), tries: 1, clears: true },
}

/** So little that the next token is longer away than a login may wait: a second login is told to come back at once. */
const NEXT_TO_NOTHING = { quota: 1, granted: 600, share: 0.02 }
const LABELS = ['RetryableError', 'RetryableWriteError', 'SystemOverloadedError']

const elsewhere = process.env.MONGODB_URI !== undefined && 'MONGODB_URI names a server whose budget is not in our hands'

for (const [name, { make, tries, clears, hurries }] of Object.entries(drivers)) {
  const { what: program, skip } = await provided(make)

  /** One that has logged in, so that the budget is spent, and another one. */
  const two = async (t: Parameters<typeof startThrottledProxy>[0], { uri, keys }: ThrottledProxy) => {
    const limits = `${uri}&serverSelectionTimeoutMS=20000&heartbeatFrequencyMS=1000`
    const all = [0, 1].map(async () => {
      const app = await client(t, program as Program, limits, credentialEnvironment(keys.busy))
      await app.get('watch', { uri: limits })
      if (hurries) await app.get('hurry')
      return app
    })
    const [first, second] = await Promise.all(all)
    if (!first || !second) throw new Error('there are two of them')
    await first.get('read', { in: 'any' })
    return { first, second }
  }

  t.test(`${name} waits for its turn`, { skip: skip || elsewhere }, async t => {
    const house = await startThrottledProxy(t, { quota: 1, granted: 600, share: 0.5 })
    const { second } = await two(t, house)
    const began = Date.now()
    await second.get('read', { in: 'any' })
    t.ok(Date.now() - began > 500, 'until the next token came')
    t.same(await second.get('events'), { cleared: 0 })
    t.equal(house.sts.calls().GetCallerIdentity, 2)
  })

  t.test(`${name} while there is no budget`, { skip: skip || elsewhere }, async t => {
    const house = await startThrottledProxy(t, NEXT_TO_NOTHING)
    const { first, second } = await two(t, house)
    const { error } = await second.ask('read', { in: 'any' })
    t.match(error, { code: 262 })
    t.strictSame(error?.labels.filter(label => LABELS.includes(label)).sort(), LABELS)
    t.equal(house.log.filter(({ fault }) => fault === 'budget/exhausted').length, tries, 'tries')
    t.same(await second.get('events'), { cleared: clears ? tries : 0 })
    await first.get('read', { in: 'any' })
    t.equal(house.sts.calls().GetCallerIdentity, 1, 'who is logged in does not notice, and STS neither')

    house.setQuota(1_000)
    await second.get('read', { in: 'any' })
    t.equal(house.sts.calls().GetCallerIdentity, 2, 'it gets in once there is a budget')
  })
}
