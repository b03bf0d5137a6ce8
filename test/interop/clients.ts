/**
 * Clients other than the Node.js driver: each logs in, works, is refused, and reconnects, as its application sees it. With
 * MONGODB_URI in the environment, the clients run what they can against that server instead, with the AWS credentials of the
 * environment.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type AwsKeys, credentialEnvironment } from '../support/clients.js'
import { type NetworkLink, openLink } from '../support/networkLink.js'
import { startTestProxy, type TestProxy } from '../support/testProxy.js'
import { startDriverProgram } from './support/driverProgram.js'
import { buildGoDriver, installMongoose, installPymongo, type Program, prepareOrSkip } from './support/toolchains.js'

const clients: Record<string, () => Promise<Program>> = {
  PyMongo: installPymongo,
  'Go 2': () => buildGoDriver('go-v2'),
  'Go 1': () => buildGoDriver('go-v1'),
  Mongoose: installMongoose,
}

/** The expected result of the step `crud`. */
const CRUD_RESULT = {
  inserted: 3,
  modified: 1,
  upserted: 1,
  deleted: 1,
  found: [
    [3, 3],
    [4, 4],
    [2, 20],
  ],
  remaining: 3,
}
const LARGE_CURSOR = { count: 10_000, batchSize: 500 }
const RETRY_LABELS = ['RetryableError', 'RetryableWriteError', 'SystemOverloadedError']

const externalUri = process.env.MONGODB_URI
const noControl = externalUri === undefined ? false : 'the test does not control the AWS and the network of MONGODB_URI'

/** Starts an application with these keys. */
async function startApplication(t: Test, program: Program | undefined, uri: string, keys: AwsKeys, query = '') {
  const options = `${query}&serverSelectionTimeoutMS=10000&heartbeatFrequencyMS=1000`
  return startDriverProgram(t, program as Program, `${uri}${options}`, credentialEnvironment(keys))
}

for (const [name, prepare] of Object.entries(clients)) {
  const { value: program, skip } = await prepareOrSkip(prepare)

  t.test(`${name} through the proxy`, { skip: skip || noControl }, async t => {
    const proxy = await startTestProxy(t)
    const clientLink = await openLink(t, Number(new URL(proxy.uri).port))
    const uri = proxy.uri.replace(/:\d+\//, `:${clientLink.port}/`)

    t.test('an IAM user logs in, writes and reads', async t => {
      const alice = await startApplication(t, program, uri, proxy.keyOf('alice'))
      t.same(await alice.step('status'), {
        users: [{ user: 'alice', db: 'admin' }],
        roles: [{ role: 'readWrite', db: 'app' }],
      })
      t.same(await alice.step('crud', { in: 'crud' }), CRUD_RESULT)
      const { getMores, ...read } = await alice.step('cursor', { in: 'many', ...LARGE_CURSOR })
      t.same(read, { count: 10_000, distinct: 10_000 }, 'each document once')
      t.ok((getMores as number) >= 19, `over ${getMores} getMores`)
      t.equal(await alice.close(), 0)
    })

    t.test('a role with a session token logs in, and is not authorized to write', async t => {
      const orders = await startApplication(t, program, uri, proxy.session())
      t.same(await orders.step('status'), {
        users: [{ user: 'orders-api', db: 'admin' }],
        roles: [{ role: 'read', db: 'app' }],
      })
      const { error } = await orders.tryStep('insert', { in: 'crud' })
      t.match(error, { code: 13 })
      t.equal(await orders.close(), 0)
    })

    t.test('a pool of 20 connections works, and survives the heartbeats of its server monitor', async t => {
      const alice = await startApplication(t, program, uri, proxy.keyOf('alice'), '&minPoolSize=20&maxPoolSize=20')
      t.same(await alice.step('pool', { count: 20 }), { ready: 20, answered: 200 })
      await sleep(3_000) // three heartbeats by the clock of the driver; a wrong hello would clear the pool
      t.same(await alice.step('pool', { count: 20 }), { ready: 20, answered: 200 })
      t.equal(await alice.close(), 0)
    })

    t.test('an unknown access key receives the error code of AWS', async t => {
      const keys = { ...proxy.keyOf('alice'), accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' }
      const app = await startApplication(t, program, uri, keys)
      const { error } = await app.tryStep('ping')
      t.match(error, { code: 18, labels: [], message: /InvalidClientTokenId/ })
    })

    t.test('an STS outage is a retryable error, not a refusal', async t => {
      await proxy.links.sts.refuseConnections()
      proxy.links.sts.resetConnections()
      const alice = await startApplication(t, program, uri, proxy.keyOf('alice'))
      const { error } = await alice.tryStep('ping')
      t.match(error, { code: 262 })
      t.strictSame(error?.labels.filter(label => RETRY_LABELS.includes(label)).sort(), RETRY_LABELS)
      await proxy.links.sts.restore()
      t.same(await alice.step('ping'), {}, 'the same client logs in after the outage')
    })

    for (const [peer, link] of breakableLinks(proxy, clientLink)) {
      t.test(`the client reconnects after the connection to the ${peer} was reset`, async t => {
        const alice = await startApplication(t, program, uri, proxy.keyOf('alice'))
        await alice.step('ping')
        const logins = proxy.sts.calls().GetCallerIdentity
        link.resetConnections()
        const first = await alice.tryStep('ping')
        t.comment(first.error ? `the first command failed: ${first.error.message}` : 'no command failed')
        t.same(await alice.step('ping'), {})
        t.same(await alice.step('crud', { in: 'crud' }), CRUD_RESULT)
        t.ok(proxy.sts.calls().GetCallerIdentity > logins, 'with a new login')
      })
    }
  })

  if (externalUri === undefined) continue
  t.test(`${name} at MONGODB_URI`, { skip }, async t => {
    const aws = Object.entries(process.env).filter(([key]) => key.startsWith('AWS_'))
    const env = Object.fromEntries(aws) as Record<string, string>
    const app = await startDriverProgram(t, program as Program, externalUri, env)
    t.same(await app.step('crud', { in: `interop_${name.replace(' ', '')}` }), CRUD_RESULT)
    const { getMores: _, ...read } = await app.step('cursor', { in: 'interop_many', ...LARGE_CURSOR })
    t.same(read, { count: 10_000, distinct: 10_000 }, 'each document once')
    const { users } = await app.step('status')
    t.comment('logged in as', users)
    const pooled = await startDriverProgram(
      t,
      program as Program,
      withOptions(externalUri, 'minPoolSize=20&maxPoolSize=20'),
      env,
    )
    t.match(await pooled.step('pool', { count: 20 }), { answered: 200 })
  })
}

function breakableLinks({ links }: TestProxy, clientLink: NetworkLink): [peer: string, NetworkLink][] {
  return [
    ['proxy', clientLink],
    ['upstream', links.mongo],
  ]
}

function withOptions(uri: string, options: string): string {
  if (uri.includes('?')) return `${uri}&${options}`
  return `${uri}${/\/\/[^/]*\//.test(uri) ? '' : '/'}?${options}`
}
