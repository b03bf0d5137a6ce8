/** A proxy in this process, in front of the sandbox's replica set of three, which the test controls. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { MongoClientOptions } from 'mongodb'
import type { Test } from 'tap'
import { createAdministrator } from '../../sandbox/src/administrator.js'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startReplicaSet } from '../../sandbox/src/mongo/replicaSet.js'
import { createClient, type Driver } from './clients.js'
import { startInProcess } from './inProcessProxy.js'

const root = { name: 'root', password: 'of the set' }
/** A certificate and its key, for localhost, proxy.test and 127.0.0.1. */
export const PEM = new URL('./tls/listener.pem', import.meta.url)

type ReplicaSetProxyOptions = {
  /** How long elections take; null: until `set.elect`. */
  electionMS?: number | null
  /** Kills the members before the proxy starts. */
  down?: boolean
  /** As the sandbox's set has it. */
  majority?: () => Promise<void>
  /** Of Alice's rule. The proxy then runs by the test clock. */
  maxAge?: string
  /** Runs the proxy by the test clock. */
  testClock?: boolean
  /** Further files that settings name. */
  files?: Record<string, Buffer>
}

/**
 * Starts it. It runs by the real clock by default: how it closes connections in a step-down is timed for drivers, which have no other
 * clock. Alice has a rule and may write. Files that `settings` name are the certificate of `PEM`. It ends
 * with the test.
 */
export async function startReplicaSetProxy(
  t: Test,
  settings: Record<string, string> = {},
  {
    electionMS = 20,
    down = false,
    majority,
    maxAge,
    testClock = maxAge !== undefined,
    files: more,
  }: ReplicaSetProxyOptions = {},
) {
  const aws = createIam({ random: randomBytes, now: Date.now })
  const alice = aws.createUser({ account: '123456789012', name: 'alice' })
  const key = aws.createAccessKey(alice)
  const sts = await startSts({ iam: aws })
  t.teardown(() => sts.close())
  const timing = { ...(electionMS !== null && { electionMS }), ...(majority && { majority }) }
  const set = await startReplicaSet({ now: Date.now, random: randomBytes, root, ...timing })
  t.teardown(() => set.close())
  set.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  const members = set.members()
  const hosts = members.map(({ host }) => host)
  const admin = createAdministrator(set, 'of the proxy')
  const adminUri = `mongodb://${admin}@${hosts.join()}/?replicaSet=rs0&authSource=admin`
  const config = {
    listen: { host: '127.0.0.1', port: 0 },
    upstream: { uri: `mongodb://${hosts[1]},${hosts[2]}/?replicaSet=rs0`, admin: { uri: adminUri } },
    sts: {
      insecure: true,
      hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }],
    },
    admin: { port: 'off' },
    users: [{ arn: alice.arn, user: 'alice', passwordEnv: 'ALICE', ...(maxAge && { maxAge }) }],
  }
  if (down) for (const member of [...members]) await set.kill(member)
  const files = { pem: readFileSync(PEM), ...more }
  const started = await startInProcess(t, {
    config,
    settings,
    env: { ALICE: 'of alice' },
    files,
    realClock: !testClock,
  })
  const { proxy, uri, clock, log, logged, reload, audit } = started
  const client = (driver: Driver = 'mongodb7', options?: MongoClientOptions) =>
    createClient(t, driver, uri, key, options)
  return { set, proxy, config, reload, clock, log, logged, audit, hosts, iam: aws, key, sts, uri, client }
}
