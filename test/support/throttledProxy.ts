/**
 * A proxy in this process in front of an STS that checks signatures and throttles, for bursts of logins.
 *
 *     clients ─▶ proxy ─▶ mongo
 *                  └────▶ sts, under the names of one or two hosts
 *
 * Proxy and STS share one clock, so that a busy machine delays both alike.
 */
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { type BurstOptions, type BurstResult, runLoginBurst } from '../../bench/loginBurst.js'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { type StsServer, startSts } from '../../sandbox/src/aws/sts.js'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import type { AwsKeys } from './clients.js'
import { type LogLine, loadClock, startInProcess } from './inProcessProxy.js'
import { scrapeMetrics } from './metrics.js'
import type { TestClock } from './testClock.js'

export const HOSTS = ['sts.eu-west-1.amazonaws.com', 'sts.us-east-1.amazonaws.com'] as const
/** The account of the burst, and another one. */
export const [BUSY, QUIET] = ['123456789012', '210987654321'] as const

export type ThrottledProxy = {
  sts: StsServer
  uri: string
  port: number
  /** The clock of the proxy and of STS. */
  clock: TestClock
  /** Users of either account, who write, and a role's session of the first, which reads. */
  keys: { busy: AwsKeys; quiet: AwsKeys; session(seconds?: number): Required<AwsKeys> }
  /** Logs in many times with these keys. */
  burst(
    keys: AwsKeys,
    options: Pick<BurstOptions, 'count' | 'concurrency'> & Partial<BurstOptions>,
  ): Promise<BurstResult>
  /** The proxy's metrics: the value of each line by its name and labels. */
  metrics(): Promise<Record<string, number>>
  /** Reloads with this `sts.quota`. */
  setQuota(quota: number): void
  /** Reloads with these settings of `login`. */
  setLogin(login: Record<string, string>): void
  /** The log lines of closed connections. */
  closed(): LogLine[]
  /** Resolves with the lines that match, as soon as there is one. */
  logged(matches: (line: LogLine) => boolean): Promise<LogLine[]>
  /** Resolves with the log lines of closed connections that match, as soon as there are `count` of them. */
  closedLines(count: number, matches?: (line: LogLine) => boolean): Promise<LogLine[]>
}

export type ThrottledProxyOptions = {
  /** Calls per second of one account: as the proxy believes, as STS grants, and the share that logins may use. */
  quota: number
  granted?: number
  share?: number
  latencyMS?: number
  /** Ports of further hosts, in the order of HOSTS. */
  otherStsPorts?: readonly number[]
  /** Settings by their path. */
  settings?: Record<string, string>
}

/** Starts it. It ends with the test. */
export async function startThrottledProxy(
  t: Test,
  { quota, granted = quota, share = 0.6, latencyMS = 5, otherStsPorts = [], settings = {} }: ThrottledProxyOptions,
): Promise<ThrottledProxy> {
  const clock = await loadClock(t)
  const aws = createIam({ random: randomBytes, now: clock.dateNow })
  const users = [BUSY, QUIET].map(account => aws.createUser({ account, name: 'worker' }))
  const [busy, quiet] = users.map(user => aws.createAccessKey(user)) as [AwsKeys, AwsKeys]
  const orders = aws.createRole({ account: BUSY, name: 'orders-api' })
  const wait = (ms: number) => new Promise<void>(resolve => void clock.after(ms, resolve))
  const sts = await startSts({ iam: aws, quotaPerSecond: granted, latencyMS, now: clock.dateNow, wait })
  t.teardown(() => sts.close())
  const mongo = await startMongoServer({
    now: Date.now,
    random: randomBytes,
    root: { name: 'root', password: 'of it all' },
  })
  t.teardown(() => mongo.close())
  mongo.createUser({ user: 'worker', password: 'of workers', roles: [{ role: 'readWrite', db: 'app' }] })

  const configOf = (believed: number, login = {}) => ({
    login,
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
  const env = { WORKERS: 'of workers' }
  const { proxy, uri, log, logged, reload } = await startInProcess(t, { config: configOf(quota), env, settings })
  const isClosed = (line: LogLine) => line.event === 'connection closed'
  return {
    sts,
    port: proxy.port,
    uri,
    clock,
    keys: { busy, quiet, session: seconds => aws.assumeRole(orders, 'pod-7', seconds) },
    burst({ accessKeyId, secretAccessKey, sessionToken }, options) {
      const token = sessionToken === undefined ? {} : { token: sessionToken }
      const login = { by: 'aws', accessKeyId, secretAccessKey, ...token } as const
      return runLoginBurst({ addresses: 4, maxMS: 3_600_000, ...options, port: proxy.port, login })
    },
    metrics: () => scrapeMetrics(proxy.adminPort),
    setQuota: believed => reload(configOf(believed)),
    setLogin: login => reload(configOf(quota, login)),
    closed: () => log.filter(isClosed),
    logged,
    closedLines: (count, matches = () => true) => logged(line => isClosed(line) && matches(line), count),
  }
}
