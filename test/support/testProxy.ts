/**
 * A proxy in this process, in front of a sandbox that the test controls: its IAM, its STS, its MongoDB, and the network
 * link to each.
 *
 *     client ─▶ proxy ─▶ links.mongo ─▶ mongo
 *                 └────▶ links.sts ───▶ sts
 */
import { randomBytes } from 'node:crypto'
import type { MongoClient, MongoClientOptions } from 'mongodb'
import type { Test } from 'tap'
import { createAdministrator } from '../../sandbox/src/administrator.js'
import { createIam, type Iam } from '../../sandbox/src/aws/iam.js'
import { type StsServer, startSts } from '../../sandbox/src/aws/sts.js'
import { type MongoServer, startMongoServer } from '../../sandbox/src/mongo/server.js'
import type { RunningProxy } from '../../src/app/proxy.js'
import type { AuditLine } from './audit.js'
import { type AwsKeys, createClient, type Driver } from './clients.js'
import { type LogLine, startInProcess } from './inProcessProxy.js'
import { type NetworkLink, openLink } from './networkLink.js'
import type { TestClock } from './testClock.js'

export type { LogLine } from './inProcessProxy.js'

export const ACCOUNT = '123456789012'
const root = { name: 'root', password: 'of the sandbox' }

export type TestProxy = {
  iam: Iam
  sts: StsServer
  mongo: MongoServer
  links: { sts: NetworkLink; mongo: NetworkLink }
  /** An access key of the IAM user of that name. Alice has a rule and may write, Bob's password is wrong, Mallory has no rule. */
  keyOf(name: 'alice' | 'bob' | 'mallory'): AwsKeys
  /** A session of the role orders-api, which reads. */
  session(seconds?: number): Required<AwsKeys>
  uri: string
  running: RunningProxy
  /** The clock of the proxy. */
  clock: TestClock
  /** Moves the clock of AWS ahead, by which sessions expire. */
  advanceAwsClock(ms: number): void
  /** A client that is not connected yet; it is closed with the test. `query` is added to its connection string. */
  client(driver: Driver, keys: AwsKeys, options?: MongoClientOptions, query?: string): Promise<MongoClient>
  /** Reloads with these groups of settings in place of the first ones, and with these files. */
  reload(settings: Record<string, unknown>, files?: Record<string, string>): void
  /** What the proxy logged. */
  log: LogLine[]
  /** The events of its audit trail so far. */
  audit(): AuditLine[]
  /** Resolves with the log lines of closed connections that match, as soon as there are `count` of them. */
  closedLines(count: number, matches?: (line: LogLine) => boolean): Promise<LogLine[]>
}

export type TestProxyOptions = {
  /** Settings by their path. */
  settings?: Record<string, string>
  /** Files that settings name, by path. */
  files?: Record<string, string>
  ldapAuthorization?: boolean
}

/** Starts it and waits until it accepts logins. It ends with the test. */
export async function startTestProxy(
  t: Test,
  { settings = {}, files = {}, ldapAuthorization = false }: TestProxyOptions = {},
): Promise<TestProxy> {
  let awsAheadMS = 0
  const now = () => Date.now() + awsAheadMS
  const aws = createIam({ random: randomBytes, now })
  const [alice, bob, mallory] = (['alice', 'bob', 'mallory'] as const).map(name => {
    const user = aws.createUser({ account: ACCOUNT, name })
    return { name, arn: user.arn, key: aws.createAccessKey(user) }
  })
  const orders = aws.createRole({ account: ACCOUNT, name: 'orders-api' })
  const sts = await startSts({ iam: aws, now })
  t.teardown(() => sts.close())
  const mongo = await startMongoServer({ now: Date.now, random: randomBytes, root, ldapAuthorization })
  t.teardown(() => mongo.close())
  mongo.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  mongo.createUser({ user: 'bob', password: 'of bob', roles: [] })
  mongo.createUser({ user: 'orders-api', password: 'of orders', roles: [{ role: 'read', db: 'app' }] })
  const links = { sts: await openLink(t, sts.port), mongo: await openLink(t, mongo.port) }

  const config = {
    listen: { host: '127.0.0.1', port: 0 },
    upstream: {
      uri: `mongodb://127.0.0.1:${links.mongo.port}/`,
      admin: {
        uri: `mongodb://${createAdministrator(mongo, 'of the proxy')}@127.0.0.1:${mongo.port}/?authSource=admin`,
      },
    },
    sts: {
      insecure: true,
      hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${links.sts.port}` }],
    },
    admin: { port: 'off' },
    users: [
      { arn: alice?.arn, user: 'alice', passwordEnv: 'ALICE' },
      { arn: bob?.arn, user: 'bob', passwordEnv: 'BOB' },
      { arn: orders.arn, user: 'orders-api', passwordEnv: 'ORDERS' },
    ],
  }
  const env = { ALICE: 'of alice', BOB: 'not of bob', ORDERS: 'of orders' }
  const {
    proxy: running,
    uri,
    clock,
    reload,
    log,
    audit,
    logged,
  } = await startInProcess(t, { config, settings, env, files })
  return {
    iam: aws,
    sts,
    mongo,
    links,
    keyOf(name) {
      const found = [alice, bob, mallory].find(user => user?.name === name)
      if (!found) throw new Error(`there is no user ${name}`)
      return found.key
    },
    session: seconds => aws.assumeRole(orders, 'pod-7', seconds),
    uri,
    running,
    clock,
    advanceAwsClock(ms) {
      awsAheadMS += ms
    },
    client: (driver, keys, options, query = '') => createClient(t, driver, `${uri}${query}`, keys, options),
    reload: (changed, more) => reload({ ...config, ...changed }, more),
    log,
    audit,
    closedLines: (count, matches = () => true) =>
      logged(line => line.event === 'connection closed' && matches(line), count),
  }
}
