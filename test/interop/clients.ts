/**
 * Clients that are not Node's driver: each logs in, works, is refused, and comes back, as its users would see it. With
 * MONGODB_URI in the environment they do what they can at that server instead, with the AWS credentials of the environment.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type AwsKeys, credentialEnvironment } from '../support/clients.js'
import { type NetworkLink, openLink } from '../support/networkLink.js'
import { startTestProxy, type TestProxy } from '../support/testProxy.js'
import { client } from './support/driverProgram.js'
import { clients as folder, goClient, mongoose, type Program, provided, python } from './support/toolchains.js'

const clients: Record<string, () => Promise<Program>> = {
  PyMongo: async () => [await python(), join(folder, 'pymongo/run.py')],
  'Go 2': () => goClient('go-v2'),
  'Go 1': () => goClient('go-v1'),
  Mongoose: mongoose,
}

/** What each has to come to in `crud`. */
const crud = {
  inserted: 3,
  modified: 1,
  upserted: 1,
  deleted: 1,
  found: [
    [3, 3],
    [4, 4],
    [2, 20],
  ],
  left: 3,
}
const MANY = { count: 10_000, batchSize: 500 }
const LABELS = ['RetryableError', 'RetryableWriteError', 'SystemOverloadedError']

const elsewhere = process.env.MONGODB_URI
const ours = elsewhere === undefined ? false : 'MONGODB_URI names a server whose AWS and network are not in our hands'

for (const [name, make] of Object.entries(clients)) {
  const { what: program, skip } = await provided(make)

  /** An application with these keys, and a gate between it and the proxy. */
  const application = async (t: Test, { uri }: { uri: string }, keys: AwsKeys, query = '') => {
    const limits = `${query}&serverSelectionTimeoutMS=10000&heartbeatFrequencyMS=1000`
    return client(t, program as Program, `${uri}${limits}`, credentialEnvironment(keys))
  }

  t.test(`${name} through the proxy`, { skip: skip || ours }, async t => {
    const home = await startTestProxy(t)
    const front = await openLink(t, Number(new URL(home.uri).port))
    const uri = home.uri.replace(/:\d+\//, `:${front.port}/`)

    t.test('an IAM user logs in, writes and reads', async t => {
      const alice = await application(t, { uri }, home.keyOf('alice'))
      t.same(await alice.get('status'), {
        users: [{ user: 'alice', db: 'admin' }],
        roles: [{ role: 'readWrite', db: 'app' }],
      })
      t.same(await alice.get('crud', { in: 'crud' }), crud)
      const { getMores, ...read } = await alice.get('cursor', { in: 'many', ...MANY })
      t.same(read, { count: 10_000, different: 10_000 }, 'each document once')
      t.ok((getMores as number) >= 19, `over ${getMores} getMores`)
      t.equal(await alice.close(), 0)
    })

    t.test('a role with a session token logs in, and may not write', async t => {
      const orders = await application(t, { uri }, home.session())
      t.same(await orders.get('status'), {
        users: [{ user: 'orders-api', db: 'admin' }],
        roles: [{ role: 'read', db: 'app' }],
      })
      const { error } = await orders.ask('insert', { in: 'crud' })
      t.match(error, { code: 13 })
      t.equal(await orders.close(), 0)
    })

    t.test('a pool of 20 works at once, and lives on while its monitor is answered', async t => {
      const alice = await application(t, { uri }, home.keyOf('alice'), '&minPoolSize=20&maxPoolSize=20')
      t.same(await alice.get('pool', { count: 20 }), { ready: 20, answered: 200 })
      await sleep(3_000) // of the driver's own clock: three heartbeats, after each of which a wrong one would clear the pool
      t.same(await alice.get('pool', { count: 20 }), { ready: 20, answered: 200 })
      t.equal(await alice.close(), 0)
    })

    t.test('an unknown key is told what AWS said', async t => {
      const keys = { ...home.keyOf('alice'), accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' }
      const nobody = await application(t, { uri }, keys)
      const { error } = await nobody.ask('ping')
      t.match(error, { code: 18, labels: [], message: /InvalidClientTokenId/ })
    })

    t.test('nobody is turned away for an STS that is down', async t => {
      await home.links.sts.refuseConnections()
      home.links.sts.resetConnections()
      const alice = await application(t, { uri }, home.keyOf('alice'))
      const { error } = await alice.ask('ping')
      t.match(error, { code: 262 })
      t.strictSame(error?.labels.filter(label => LABELS.includes(label)).sort(), LABELS)
      await home.links.sts.restore()
      t.same(await alice.get('ping'), {}, 'the same client logs in once STS is back')
    })

    for (const [where, gate] of ways(home, front)) {
      t.test(`comes back after its connection to the ${where} dropped`, async t => {
        const alice = await application(t, { uri }, home.keyOf('alice'))
        await alice.get('ping')
        const logins = home.sts.calls().GetCallerIdentity
        gate.resetConnections()
        const first = await alice.ask('ping')
        t.comment(first.error ? `the first command after it: ${first.error.message}` : 'no command noticed')
        t.same(await alice.get('ping'), {})
        t.same(await alice.get('crud', { in: 'crud' }), crud)
        t.ok(home.sts.calls().GetCallerIdentity > logins, 'with a login of its own')
      })
    }
  })

  if (elsewhere === undefined) continue
  t.test(`${name} at MONGODB_URI`, { skip }, async t => {
    const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => key.startsWith('AWS_')))
    const uri = elsewhere
    const { users } = await (async () => {
      const app = await client(t, program as Program, uri, env as Record<string, string>)
      t.same(await app.get('crud', { in: `interop_${name.replace(' ', '')}` }), crud)
      const { getMores: _, ...read } = await app.get('cursor', { in: 'interop_many', ...MANY })
      t.same(read, { count: 10_000, different: 10_000 }, 'each document once')
      return app.get('status')
    })()
    t.comment('logged in as', users)
    const pooled = await client(t, program as Program, withOptions(uri, 'minPoolSize=20&maxPoolSize=20'), env as never)
    t.match(await pooled.get('pool', { count: 20 }), { answered: 200 })
  })
}

function ways({ links: gates }: TestProxy, front: NetworkLink): [string, NetworkLink][] {
  return [
    ['proxy', front],
    ['upstream', gates.mongo],
  ]
}

function withOptions(uri: string, options: string): string {
  if (uri.includes('?')) return `${uri}&${options}`
  return `${uri}${/\/\/[^/]*\//.test(uri) ? '' : '/'}?${options}`
}
