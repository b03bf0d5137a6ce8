/**
 * Logins that exceed the `maxAge` of their rule, as applications see them through drivers other than Node's (test/e2e covers
 * those). PyMongo and the Java driver reauthenticate on the same connection. The Go drivers, and the Java driver before 5.1, open a
 * new one.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { credentialEnvironment } from '../support/clients.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { startDriverProgram } from './support/driverProgram.js'
import { buildGoDriver, buildJavaDriver, installPymongo, type Program, prepareOrSkip } from './support/toolchains.js'

type Driver = {
  prepare(): Promise<Program>
  /** Whether the driver reauthenticates by itself after error 391 (ReauthenticationRequired). */
  reauthenticates: boolean
}

const drivers: Record<string, Driver> = {
  PyMongo: { prepare: installPymongo, reauthenticates: true },
  'Go 2': { prepare: () => buildGoDriver('go-v2'), reauthenticates: false },
  'Go 1': { prepare: () => buildGoDriver('go-v1'), reauthenticates: false },
  'Java 5.14': { prepare: () => buildJavaDriver('5.14.0'), reauthenticates: true },
  'Java 5.0': { prepare: () => buildJavaDriver('5.0.1'), reauthenticates: false },
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

  t.test(
    `a transaction of ${name} that pauses while its login expires is committed`,
    { skip: skip || noControl },
    async t => {
      for (const setting of [{}, { 'listen.reauthenticate': 'close' }] as Record<string, string>[]) {
        const proxy = await startReplicaSetProxy(t, setting, { maxAge: '1s' })
        const uri = `${proxy.uri}&directConnection=true&maxPoolSize=1&heartbeatFrequencyMS=1000`
        const app = await startDriverProgram(t, program as Program, uri, credentialEnvironment(proxy.key))
        await app.step('transaction', { in: 'paused', pauseMS: EXPIRED_MS })
        t.equal(proxy.set.store.find('app', 'paused')?.entries.size, 2)
        await app.step('insert', { in: 'paused' })
      }
    },
  )
}
