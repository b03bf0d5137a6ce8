/**
 * A proxy in this process in front of an STS that checks signatures and throttles, for crowds that all want in at once.
 *
 *     crowd ─▶ proxy ─▶ mongo
 *                └────▶ sts, under the names of one host or two
 */
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { type BurstOptions, type BurstResult, runLoginBurst } from '../../bench/loginBurst.js'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { type StsServer, startSts } from '../../sandbox/src/aws/sts.js'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { loadWithPolicy } from '../../src/app/policy.js'
import { startProxy } from '../../src/app/proxy.js'
import { createLog } from '../../src/log.js'
import type { AwsKeys } from './clients.js'

export const HOSTS = ['sts.eu-west-1.amazonaws.com', 'sts.us-east-1.amazonaws.com'] as const
/** The account that storms, and another one. */
export const [BUSY, QUIET] = ['123456789012', '210987654321'] as const

export type ThrottledProxy = {
  sts: StsServer
  uri: string
  port: number
  /** Users of either account, who write, and a role's session of the first, which reads. */
  keys: { busy: AwsKeys; quiet: AwsKeys; session(seconds?: number): Required<AwsKeys> }
  crowd(of: AwsKeys, how: Pick<BurstOptions, 'count' | 'concurrency'> & Partial<BurstOptions>): Promise<BurstResult>
  /** The proxy's metrics: the value of each line by its name and labels. */
  metrics(): Promise<Record<string, number>>
  /** From now on AWS grants so much, as the proxy believes. */
  setQuota(quota: number): void
  /** What the proxy logged of each connection that ended; `ended` is told of each. */
  log: Record<string, unknown>[]
  onConnectionClosed: ((line: Record<string, unknown>) => void)[]
}

export type ThrottledProxyOptions = {
  /** Calls a second of one account: as the proxy believes, what STS grants, and the part that logins may use. */
  quota: number
  granted?: number
  share?: number
  latencyMS?: number
  /** Ports of further hosts, in the order of HOSTS. */
  otherStsPorts?: readonly number[]
}

/** Builds it. It ends with the test. */
export async function startThrottledProxy(
  t: Test,
  { quota, granted = quota, share = 0.6, latencyMS = 5, otherStsPorts = [] }: ThrottledProxyOptions,
): Promise<ThrottledProxy> {
  const aws = createIam({ random: randomBytes, now: Date.now })
  const users = [BUSY, QUIET].map(account => aws.createUser({ account, name: 'worker' }))
  const [storming, quiet] = users.map(user => aws.createAccessKey(user)) as [AwsKeys, AwsKeys]
  const orders = aws.createRole({ account: BUSY, name: 'orders-api' })
  const sts = await startSts({ iam: aws, quotaPerSecond: granted, latencyMS })
  t.teardown(() => sts.close())
  const mongo = await startMongoServer({
    now: Date.now,
    random: randomBytes,
    root: { name: 'root', password: 'of it all' },
  })
  t.teardown(() => mongo.close())
  mongo.createUser({ user: 'worker', password: 'of workers', roles: [{ role: 'readWrite', db: 'app' }] })

  const groups = (believed: number) => ({
    listen: { host: '127.0.0.1', port: 0 },
    upstream: { uri: `mongodb://127.0.0.1:${mongo.port}/` },
    sts: {
      insecure: true,
      quota: believed,
      share,
      hosts: [sts.port, ...otherStsPorts].map((port, nth) => ({ host: HOSTS[nth], connect: `127.0.0.1:${port}` })),
    },
    ldap: { assume: 'off' },
    admin: { port: 0 },
    users: [...users, orders].map(({ arn }) => ({ arn, user: 'worker', passwordEnv: 'WORKERS' })),
  })
  const configure = (believed: number) => {
    const readFile = () => ({ bytes: Buffer.from(JSON.stringify(groups(believed))), mode: 0o600 })
    return loadWithPolicy({ file: 'storm.yaml', args: {}, env: { WORKERS: 'of workers' }, readFile })
  }
  const log: ThrottledProxy['log'] = []
  const ended: ThrottledProxy['onConnectionClosed'] = []
  const write = (line: string) => {
    const read = JSON.parse(line)
    if (read.event !== 'connection closed') return
    log.push(read)
    for (const tell of ended) tell(read)
  }
  const {
    port,
    adminPort,
    initialized: settled,
    kill,
    reload,
  } = await startProxy(configure(quota), createLog('info', { write }))
  t.teardown(() => kill())
  await settled

  return {
    sts,
    port,
    uri: `mongodb://127.0.0.1:${port}/?authSource=%24external&authMechanism=MONGODB-AWS`,
    keys: { busy: storming, quiet, session: seconds => aws.assumeRole(orders, 'pod-7', seconds) },
    crowd({ accessKeyId, secretAccessKey, sessionToken }, how) {
      const token = sessionToken === undefined ? {} : { token: sessionToken }
      return runLoginBurst({ addresses: 4, ...how, port, login: { by: 'aws', accessKeyId, secretAccessKey, ...token } })
    },
    async metrics() {
      const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
      const lines = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
      return Object.fromEntries(
        lines.map(line => {
          const at = line.lastIndexOf(' ')
          return [line.slice(0, at).replace('mongo_iam_proxy_', ''), Number(line.slice(at + 1))]
        }),
      )
    },
    setQuota: believed => reload(configure(believed)),
    log,
    onConnectionClosed: ended,
  }
}
