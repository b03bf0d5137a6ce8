import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createAdministrator } from '../../sandbox/src/administrator.js'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { loadWithPolicy } from '../../src/app/policy.js'
import { startProxy } from '../../src/app/proxy.js'
import { silentLog } from '../../src/log.js'
import { createClient } from '../support/clients.js'
import { errorCodeOf, startMongo } from '../support/mongo.js'

const ACCOUNT = '123456789012'
const DATABASE = 'mongo_iam_proxy'

/** An account, a MongoDB, and a function that starts proxies of one fleet, whose rule gives roles. */
async function startFleet(t: Test) {
  const aws = createIam({ random: randomBytes, now: Date.now })
  const role = aws.createRole({ account: ACCOUNT, name: 'orders-api' })
  const sts = await startSts({ iam: aws })
  t.teardown(() => sts.close())
  const { server, client: root } = await startMongo(t)
  const admin = `mongodb://${createAdministrator(server, 'of the proxy')}@127.0.0.1:${server.port}/?authSource=admin`
  const start = async (roles: string[], secrets = ['the first master secret of this fleet']) => {
    const file = JSON.stringify({
      listen: { host: '127.0.0.1', port: 0 },
      upstream: { uri: `mongodb://127.0.0.1:${server.port}/?directConnection=true`, admin: { uri: admin } },
      sts: { insecure: true, hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }] },
      admin: { port: 'off' },
      provision: { secretFile: 'secret', clientSource: ['127.0.0.1'] },
      users: [{ arn: role.arn, roles }],
    })
    const readFile = (path: string) => ({
      bytes: Buffer.from(path === 'secret' ? secrets.join('\n') : file),
      mode: 0o600,
    })
    const proxy = await startProxy(loadWithPolicy({ file: 'proxy.yaml', args: {}, env: {}, readFile }), silentLog)
    t.teardown(() => proxy.kill())
    await proxy.initialized
    const uri = `mongodb://127.0.0.1:${proxy.port}/?authSource=%24external&authMechanism=MONGODB-AWS`
    return async () => (await createClient(t, 'mongodb7', uri, aws.assumeRole(role, 'pod-7'))).connect()
  }
  return { start, arn: role.arn, root, server }
}

t.test('a principal logs in through two replicas at once as the user that they provision', async t => {
  const { start, arn, root, server } = await startFleet(t)
  const replicas = [await start(['readWrite@app']), await start(['readWrite@app'])]
  const clients = await Promise.all([...replicas, ...replicas, ...replicas].map(client => client()))
  for (const client of clients) {
    const { authInfo } = await client.db('app').command({ connectionStatus: 1 })
    t.match(authInfo, {
      authenticatedUsers: [{ user: arn, db: DATABASE }],
      authenticatedUserRoles: [{ role: 'readWrite', db: 'app' }],
    })
  }
  await clients[0]?.db('app').collection('orders').insertOne({ n: 1 })
  t.equal(await errorCodeOf(clients[1]?.db('other').collection('orders').findOne({}) ?? Promise.resolve()), 13)
  t.equal((await root.db(DATABASE).command({ usersInfo: 1 })).users.length, 1)
  const before = server.counted('usersInfo')
  await (await replicas[0]?.())?.db('app').command({ ping: 1 })
  t.equal(server.counted('usersInfo'), before, 'without another command of the administrator')
})

t.test('roles and master secrets change, and a user that was not provisioned is left unchanged', async t => {
  const { start, arn, root } = await startFleet(t)
  const secrets = ['the first master secret of this fleet', 'the second one, which is as long as the first']
  const first = await (await start(['read@app.orders']))()
  t.equal(await errorCodeOf(first.db('app').collection('orders').findOne({})), undefined)
  t.equal(await errorCodeOf(first.db('app').collection('invoices').findOne({})), 13)
  const second = await (await start(['read@app'], secrets.toReversed()))()
  t.equal(await errorCodeOf(second.db('app').collection('invoices').findOne({})), undefined)
  t.equal(await errorCodeOf(first.db('app').collection('invoices').findOne({})), undefined, 'open connections follow')
  await root.db(DATABASE).command({ updateUser: arn, customData: {} })
  const refused = await start(['read@app'])
  t.equal(await errorCodeOf(refused()), 262)
  t.match((await root.db(DATABASE).command({ usersInfo: arn })).users, [{ roles: [{ role: 'read', db: 'app' }] }])
})
