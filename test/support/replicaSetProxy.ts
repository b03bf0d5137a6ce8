/** A proxy in this process, in front of the sandbox's set of three, which the test has in its hands. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { MongoClientOptions } from 'mongodb'
import type { Test } from 'tap'
import { createAdministrator } from '../../sandbox/src/administrator.js'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startReplicaSet } from '../../sandbox/src/mongo/replicaSet.js'
import { loadWithPolicy } from '../../src/app/policy.js'
import { startProxy } from '../../src/app/proxy.js'
import { createLog } from '../../src/log.js'
import { createClient, type Driver } from './clients.js'

const root = { name: 'root', password: 'of the set' }
/** A certificate and its key, for localhost, proxy.test and 127.0.0.1. */
export const PEM = new URL('./tls/listener.pem', import.meta.url)

type ReplicaSetProxyOptions = {
  electionMS?: number | null
  down?: boolean
  majority?: () => Promise<void>
  maxAge?: string
}

/**
 * Alice may write, and the proxy logs into `log`. Elections take 20 ms, or where `electionMS` is null until `set.elect`;
 * `down`: the members are killed before the proxy starts; `majority`: as the set has it; `maxAge`: of Alice's rule.
 */
export async function startReplicaSetProxy(
  t: Test,
  settings: Record<string, string> = {},
  { electionMS = 20, down = false, majority, maxAge }: ReplicaSetProxyOptions = {},
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
  const file = JSON.stringify({
    listen: { host: '127.0.0.1', port: 0 },
    upstream: { uri: `mongodb://${hosts[1]},${hosts[2]}/?replicaSet=rs0`, admin: { uri: adminUri } },
    sts: {
      insecure: true,
      hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }],
    },
    admin: { port: 'off' },
    users: [{ arn: alice.arn, user: 'alice', passwordEnv: 'ALICE', ...(maxAge && { maxAge }) }],
  })
  const pem = readFileSync(PEM)
  const readFile = (path: string) => ({ bytes: path === 'house.yaml' ? Buffer.from(file) : pem, mode: 0o600 })
  const log: Record<string, unknown>[] = []
  const config = loadWithPolicy({ file: 'house.yaml', args: settings, env: { ALICE: 'of alice' }, readFile })
  if (down) for (const member of [...members]) await set.kill(member)
  const proxy = await startProxy(config, createLog('info', { write: line => log.push(JSON.parse(line)) }))
  t.teardown(() => proxy.kill())
  await proxy.initialized
  const uri = `mongodb://127.0.0.1:${proxy.port}/?authSource=%24external&authMechanism=MONGODB-AWS`
  const client = (driver: Driver = 'mongodb7', options?: MongoClientOptions) =>
    createClient(t, driver, uri, key, options)
  return { set, proxy, log, hosts, key, sts, uri, client }
}
