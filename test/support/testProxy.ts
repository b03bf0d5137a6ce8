/**
 * A proxy in this process, in front of a sandbox that a test has in its hands: its IAM, its STS, its MongoDB, and a gate
 * on the way to each.
 *
 *     client ─▶ proxy ─▶ gates.mongo ─▶ mongo
 *                 └────▶ gates.sts ───▶ sts
 */
import { randomBytes } from 'node:crypto'
import type { MongoClient, MongoClientOptions } from 'mongodb'
import type { Test } from 'tap'
import { createAdministrator } from '../../sandbox/src/administrator.js'
import { createIam, type Iam } from '../../sandbox/src/aws/iam.js'
import { type StsServer, startSts } from '../../sandbox/src/aws/sts.js'
import { type MongoServer, startMongoServer } from '../../sandbox/src/mongo/server.js'
import { loadWithPolicy } from '../../src/app/policy.js'
import { type RunningProxy, startProxy } from '../../src/app/proxy.js'
import { Fault } from '../../src/errors.js'
import { createLog } from '../../src/log.js'
import { type AwsKeys, createClient, type Driver } from './clients.js'
import { findUndocumented } from './logLines.js'
import { type NetworkLink, openLink } from './networkLink.js'

export const ACCOUNT = '123456789012'
const root = { name: 'root', password: 'of the house' }

export type TestProxy = {
  iam: Iam
  sts: StsServer
  mongo: MongoServer
  links: { sts: NetworkLink; mongo: NetworkLink }
  /** An access key of the IAM user of that name. Alice is known and writes, bob's password is wrong, nobody knows mallory. */
  keyOf(name: 'alice' | 'bob' | 'mallory'): AwsKeys
  /** A session of the role orders-api, which reads. */
  session(seconds?: number): Required<AwsKeys>
  uri: string
  proxy: RunningProxy
  /** A client that is not connected yet; it is closed with the test. `query` is added to its connection string. */
  client(driver: Driver, keys: AwsKeys, options?: MongoClientOptions, query?: string): Promise<MongoClient>
  /** Has the proxy take up these groups of settings in the place of what they were, and of these files. */
  reload(settings: Record<string, unknown>, files?: Record<string, string>): void
  /** What the proxy logged. */
  log: LogLine[]
  /** The one line of each connection that ended, as soon as there are so many of a kind. */
  closedLines(count: number, kind?: (line: LogLine) => boolean): Promise<LogLine[]>
}
export type LogLine = Record<string, unknown>

export type TestProxyOptions = {
  /** Settings by their path. */
  settings?: Record<string, string>
  /** What settings name, by path. */
  files?: Record<string, string>
  ldapAuthorization?: boolean
}

/** Builds it. It ends with the test. */
export async function startTestProxy(
  t: Test,
  { settings = {}, files = {}, ldapAuthorization = false }: TestProxyOptions = {},
): Promise<TestProxy> {
  const aws = createIam({ random: randomBytes, now: Date.now })
  const [alice, bob, mallory] = (['alice', 'bob', 'mallory'] as const).map(name => {
    const user = aws.createUser({ account: ACCOUNT, name })
    return { name, arn: user.arn, key: aws.createAccessKey(user) }
  })
  const orders = aws.createRole({ account: ACCOUNT, name: 'orders-api' })
  const sts = await startSts({ iam: aws })
  t.teardown(() => sts.close())
  const mongo = await startMongoServer({ now: Date.now, random: randomBytes, root, ldapAuthorization })
  t.teardown(() => mongo.close())
  mongo.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  mongo.createUser({ user: 'bob', password: 'of bob', roles: [] })
  mongo.createUser({ user: 'orders-api', password: 'of orders', roles: [{ role: 'read', db: 'app' }] })
  const gates = { sts: await openLink(t, sts.port), mongo: await openLink(t, mongo.port) }

  const groups = {
    listen: { host: '127.0.0.1', port: 0 },
    upstream: {
      uri: `mongodb://127.0.0.1:${gates.mongo.port}/`,
      admin: {
        uri: `mongodb://${createAdministrator(mongo, 'of the proxy')}@127.0.0.1:${mongo.port}/?authSource=admin`,
      },
    },
    sts: {
      insecure: true,
      hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${gates.sts.port}` }],
    },
    admin: { port: 'off' },
    users: [
      { arn: alice?.arn, user: 'alice', passwordEnv: 'ALICE' },
      { arn: bob?.arn, user: 'bob', passwordEnv: 'BOB' },
      { arn: orders.arn, user: 'orders-api', passwordEnv: 'ORDERS' },
    ],
  }
  const env = { ALICE: 'of alice', BOB: 'not of bob', ORDERS: 'of orders' }
  const configure = (changed: object, further: Record<string, string> = {}) => {
    const all: Record<string, string> = {
      ...files,
      ...further,
      'house.yaml': JSON.stringify({ ...groups, ...changed }),
    }
    const readFile = (path: string) => ({ bytes: Buffer.from(all[path] ?? ''), mode: 0o600 })
    return loadWithPolicy({ file: 'house.yaml', args: settings, env, readFile })
  }
  const log: LogLine[] = []
  let wake = () => {}
  const undocumented = new Set<string>()
  const write = (text: string) => {
    const line: LogLine = JSON.parse(text)
    for (const problem of findUndocumented(line)) undocumented.add(problem)
    log.push(line)
    wake()
  }
  t.teardown(() => {
    if (undocumented.size > 0) throw new Error(`missing in the table of log events: ${[...undocumented].join(', ')}`)
  })
  const proxy = await startProxy(configure({}), createLog('info', { write }))
  t.teardown(() => proxy.kill())
  await proxy.initialized

  const uri = `mongodb://127.0.0.1:${proxy.port}/?authSource=%24external&authMechanism=MONGODB-AWS`
  return {
    iam: aws,
    sts,
    mongo,
    links: gates,
    keyOf(name) {
      const found = [alice, bob, mallory].find(person => person?.name === name)
      if (!found) throw new Error(`nobody is called ${name}`)
      return found.key
    },
    session: seconds => aws.assumeRole(orders, 'pod-7', seconds),
    uri,
    proxy,
    client: (driver, keys, options, query = '') => createClient(t, driver, `${uri}${query}`, keys, options),
    reload(changed, further) {
      try {
        proxy.reload(configure(changed, further))
      } catch (thrown) {
        proxy.reload(Fault.from(thrown))
      }
    },
    log,
    async closedLines(count, kind = () => true) {
      for (;;) {
        const lines = log.filter(line => line.event === 'connection closed' && kind(line))
        if (lines.length >= count) return lines
        await new Promise<void>(resolve => {
          wake = resolve
        })
      }
    },
  }
}
