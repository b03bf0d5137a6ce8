/**
 * Logins that exceed the `maxAge` of their rule, as applications see them through drivers other than Node's (test/e2e covers
 * those). PyMongo reauthenticates on the same connection; the Go drivers open a new connection.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { credentialEnvironment } from '../support/clients.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { startDriverProgram } from './support/driverProgram.js'
import { buildGoDriver, installPymongo, type Program, prepareOrSkip } from './support/toolchains.js'

type Driver = {
  prepare(): Promise<Program>
  /** Whether the driver reauthenticates by itself after error 391 (ReauthenticationRequired). */
  reauthenticates: boolean
}

const drivers: Record<string, Driver> = {
  PyMongo: { prepare: installPymongo, reauthenticates: true },
  'Go 2': { prepare: () => buildGoDriver('go-v2'), reauthenticates: false },
  'Go 1': { prepare: () => buildGoDriver('go-v1'), reauthenticates: false },
}

const noControl = process.env.MONGODB_URI !== undefined && 'the test does not control the rules of MONGODB_URI'
/** Longer than the `maxAge` of 1 s plus the second for which the proxy observes a connection before it closes it. */
const EXPIRED_MS = 2_200

for (const [name, { prepare, reauthenticates }] of Object.entries(drivers)) {
  const { value: program, skip } = await prepareOrSkip(prepare)

  /** Starts an application and uses its only connection, then waits until the login is too old. */
  const startExpired = async (t: Test, settings: Record<string, string> = {}) => {
    const proxy = await startReplicaSetProxy(t, settings, { maxAge: '1s' })
    const uri = `${proxy.uri}&directConnection=true&maxPoolSize=1&heartbeatFrequencyMS=1000`
    const app = await startDriverProgram(t, program as Program, uri, credentialEnvironment(proxy.key))
    await app.step('insert', { in: 'expired' })
    await sleep(EXPIRED_MS) // by the clock of the proxy
    const closedSessions = () =>
      proxy.log.filter(({ event, stage }) => event === 'connection closed' && stage === 'authenticated').length
    return { app, closedSessions, logins: () => proxy.sts.calls().GetCallerIdentity ?? 0 }
  }

  t.test(`${name} goes on after its login exceeded maxAge`, { skip: skip || noControl }, async t => {
    const { app, closedSessions, logins } = await startExpired(t)
    for (let nth = 0; nth < 3; nth++) await app.step('insert', { in: 'expired' })
    t.equal(logins(), 2)
    t.equal(
      closedSessions(),
      reauthenticates ? 0 : 1,
      reauthenticates ? 'on the same connection' : 'on a new connection',
    )
  })

  t.test(`${name} goes on with listen.reauthenticate: close`, { skip: skip || noControl }, async t => {
    const { app, closedSessions, logins } = await startExpired(t, { 'listen.reauthenticate': 'close' })
    for (let nth = 0; nth < 3; nth++) await app.step('insert', { in: 'expired' })
    t.equal(logins(), 2)
    t.equal(closedSessions(), 1)
  })
}
