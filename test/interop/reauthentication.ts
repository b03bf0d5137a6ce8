/**
 * Logins of an age that their rule does not allow any more, as applications see it through drivers that are not Node's
 * (of those, test/e2e has it): one logs in again on the same connection, the others by another one.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { credentialEnvironment } from '../support/clients.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { client } from './support/driverProgram.js'
import { clients as folder, goClient, type Program, provided, python } from './support/toolchains.js'

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
/** Behind its rule's second, and behind the one in which a connection is closed that is not asked. Milliseconds. */
const OLD_MS = 2_200

for (const [name, { make, again }] of Object.entries(drivers)) {
  const { what: program, skip } = await provided(make)

  /** An application that has worked over its one connection until its login was too old. */
  const aged = async (t: Test, settings: Record<string, string> = {}) => {
    const home = await startReplicaSetProxy(t, settings, { maxAge: '1s' })
    const uri = `${home.uri}&directConnection=true&maxPoolSize=1&heartbeatFrequencyMS=1000`
    const app = await client(t, program as Program, uri, credentialEnvironment(home.key))
    await app.get('insert', { in: 'aged' })
    await sleep(OLD_MS) // of the proxy's own clock
    const ended = () =>
      home.log.filter(({ event, stage }) => event === 'connection closed' && stage === 'authenticated').length
    return { app, ended, logins: () => home.sts.calls().GetCallerIdentity ?? 0 }
  }

  t.test(`${name} goes on with a login that was too old`, { skip: skip || elsewhere }, async t => {
    const { app, ended, logins } = await aged(t)
    for (let nth = 0; nth < 3; nth++) await app.get('insert', { in: 'aged' })
    t.equal(logins(), 2)
    t.equal(ended(), again ? 0 : 1, again ? 'over the same connection' : 'over another connection')
  })

  t.test(`${name} goes on where nobody is asked`, { skip: skip || elsewhere }, async t => {
    const { app, ended, logins } = await aged(t, { 'listen.reauthenticate': 'close' })
    for (let nth = 0; nth < 3; nth++) await app.get('insert', { in: 'aged' })
    t.equal(logins(), 2)
    t.equal(ended(), 1)
  })
}
