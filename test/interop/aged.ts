/**
 * Logins of an age that their rule does not allow any more, as applications see it through drivers that are not Node's
 * (of those, test/e2e has it): who logs in again unasked, and who has to be closed for it.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { environmentOf } from '../support/clients.js'
import { ACCOUNT, house } from '../support/house.js'
import { client } from './support/client.js'
import { clients as folder, goClient, type Program, provided, python } from './support/tools.js'

const AGE_MS = 1_000

type Driver = {
  make(): Promise<Program>
  /** Logs in again by itself when it is told 391. */
  again: boolean
}

const drivers: Record<string, Driver> = {
  PyMongo: { make: async () => [await python(), join(folder, 'pymongo/run.py')], again: true },
  'Go 2': { make: () => goClient('go-v2'), again: false },
  'Go 1': { make: () => goClient('go-v1'), again: false },
}

const elsewhere = process.env.MONGODB_URI !== undefined && 'MONGODB_URI names a server whose rules are not in our hands'

for (const [name, { make, again }] of Object.entries(drivers)) {
  const { what: program, skip } = await provided(make)

  t.test(`${name} with a login that is too old`, { skip: skip || elsewhere }, async t => {
    const home = await house(t)
    const carol = home.aws.createUser({ account: ACCOUNT, name: 'carol' })
    home.reload({ users: [{ arn: carol.arn, user: 'alice', passwordEnv: 'ALICE', maxAge: '1s' }] })
    const uri = `${home.uri}&maxPoolSize=1&retryWrites=false&heartbeatFrequencyMS=1000`
    const app = await client(t, program as Program, uri, environmentOf(home.aws.createAccessKey(carol)))
    const logins = () => home.sts.calls().GetCallerIdentity
    const ended = () => home.log.filter(({ event, stage }) => event === 'closed' && stage === 'relay').length
    await app.get('insert', { in: 'aged' })
    t.equal(logins(), 1)
    await sleep(AGE_MS + 50) // of the proxy's own clock

    if (again) {
      await app.get('insert', { in: 'aged' })
      t.equal(logins(), 2, 'it has logged in again, and its application knows nothing of it')
      const { count, different } = await app.get('cursor', { in: 'aged', count: 1000, batchSize: 100 })
      t.same([count, different], [1000, 1000])
      t.equal(ended(), 0, 'over the same connection')
      return
    }
    const told = await app.ask('insert', { in: 'aged' }); t.comment(JSON.stringify(told), home.log.map(l => JSON.stringify(l)).join('\n'))
    t.equal(logins(), 1)
  })

  t.test(`${name} where such connections are closed`, { skip: skip || elsewhere }, async t => {
    const home = await house(t, { settings: { 'listen.reauthenticate': 'close' } })
    const carol = home.aws.createUser({ account: ACCOUNT, name: 'carol' })
    home.reload({ users: [{ arn: carol.arn, user: 'alice', passwordEnv: 'ALICE', maxAge: '1s' }] })
    const app = await client(
      t,
      program as Program,
      `${home.uri}&maxPoolSize=1`,
      environmentOf(home.aws.createAccessKey(carol)),
    )
    await app.get('insert', { in: 'aged' })
    await home.closed(1, ({ fault }) => fault === 'login/aged')
    await sleep(100) // the driver sees it
    await app.get('insert', { in: 'aged' })
    t.equal(home.sts.calls().GetCallerIdentity, 2, 'the next operation has a connection of its own')
  })
}
