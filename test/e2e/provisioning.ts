import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createAdministrator } from '../../sandbox/src/administrator.js'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { loadWithPolicy } from '../../src/app/policy.js'
import { startProxy } from '../../src/app/proxy.js'
import { silentLog } from '../../src/log.js'
import { createMemoryDestination } from '../support/audit.js'
import { createClient } from '../support/clients.js'
import { startInProcess } from '../support/inProcessProxy.js'
import { errorCodeOf, startMongo } from '../support/mongo.js'
import { openLink } from '../support/networkLink.js'
import { waitUntil } from '../support/waitUntil.js'

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
    const proxy = await startProxy(
      loadWithPolicy({ file: 'proxy.yaml', args: {}, env: {}, readFile }),
      silentLog,
      createMemoryDestination(),
    )
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

/** A proxy with the rules of two roles, whose administrator reaches MongoDB by a link of its own. */
async function startReducible(t: Test) {
  const iam = createIam({ random: randomBytes, now: Date.now })
  const [orders, reports, auditors] = ['orders-api', 'reports', 'auditors'].map(name =>
    iam.createRole({ account: ACCOUNT, name }),
  )
  if (!orders || !reports || !auditors) throw new Error('IAM has created no role')
  const sts = await startSts({ iam })
  t.teardown(() => sts.close())
  const { server, client: root } = await startMongo(t)
  const link = await openLink(t, server.port)
  const admin = `mongodb://${createAdministrator(server, 'of the proxy')}@127.0.0.1:${link.port}/?authSource=admin`
  const configFor = (ordersRoles: string[], reportsRoles = ['readWrite@app']) => ({
    listen: { host: '127.0.0.1', port: 0 },
    upstream: { uri: `mongodb://127.0.0.1:${server.port}/?directConnection=true`, admin: { uri: admin } },
    sts: { insecure: true, hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }] },
    admin: { port: 0 },
    provision: { secretFile: 'secret' },
    directory: { enabled: true, refresh: '5s' },
    users: [
      { arn: orders.arn, roles: ordersRoles },
      { arn: reports.arn, roles: reportsRoles },
    ],
  })
  const started = await startInProcess(t, {
    config: configFor(['readWrite@app']),
    files: { secret: 'the first master secret of this fleet' },
  })
  const { proxy, uri, clock, reload } = started
  const logIn = async (role: typeof orders, name = 'pod') =>
    (await createClient(t, 'mongodb7', `${uri}&maxPoolSize=1`, iam.assumeRole(role, name))).connect()
  const write = (client: Awaited<ReturnType<typeof logIn>>) =>
    errorCodeOf(client.db('app').collection('c').insertOne({}, { maxTimeMS: 60_000 }))
  const ask = async (path: string) => (await fetch(`http://127.0.0.1:${proxy.adminPort}${path}`)).text()
  return {
    ...started,
    root,
    link,
    orders,
    reports,
    auditors,
    logIn,
    write,
    ask,
    reload: (...roles: Parameters<typeof configFor>) => reload(configFor(...roles)),
    /** Lets the time of this many refreshes pass. Announced changes keep the monitors of the upstream from timing out. */
    async refresh(count: number) {
      for (let round = 0; round < count; round++) {
        await clock.pass(5_000)
        server.announceChange()
      }
    },
  }
}

const revoked = (arn: string) => (line: Record<string, unknown>) =>
  line.event === 'connection closed' && line.fault === 'login/revoked' && String(line.arn).includes(arn)

t.test(
  'a session closes after three refreshes if a DBA has edited the mark and its roles cannot be reduced',
  async t => {
    const { orders, reports, logIn, write, root, reload, refresh, ask, log, logged } = await startReducible(t)
    const [client, other] = [await logIn(orders), await logIn(reports)]
    t.same([await write(client), await write(other)], [undefined, undefined])
    await root.db(DATABASE).command({ updateUser: orders.arn, customData: { edited: true } })
    await root.db(DATABASE).command({ updateUser: reports.arn, customData: { edited: true } })
    reload(['read@app'], ['readWrite@app', 'read@other'])
    await logged(line => line.event === 'provisioning failed' && line.arn === orders.arn)
    await refresh(2)
    t.same(
      log.filter(({ event }) => event === 'connection closed'),
      [],
    )
    t.match(await ask('/readyz'), '"unrevokedRoles":1')
    t.match(await ask('/metrics'), /mongo_iam_proxy_unrevoked_roles 1\n/)
    t.match(await ask('/metrics'), /faults_total\{kind="provision\/conflict"\} [1-9]/)
    await refresh(2)
    t.match(await logged(revoked('orders-api')), [{ cause: 'provision/overdue' }])
    t.match(await logged(line => line.event === 'roles not revoked'), [{ arn: orders.arn, roles: ['readWrite@app'] }])
    t.equal(await write(other), undefined, 'a principal that has gained roles keeps its session')
    t.equal(log.filter(revoked('reports')).length, 0)
    t.equal(await errorCodeOf(logIn(orders, 'later')), 262)
    await root.db(DATABASE).command({ dropUser: orders.arn })
    await refresh(2)
    await waitUntil(async () => (await ask('/readyz')).includes('"unrevokedRoles":0'))
    const again = await logIn(orders, 'again')
    t.equal(await write(again), 13)
    await refresh(4)
    t.equal(log.filter(revoked('orders-api')).length, 1, 'the new session stays')
  },
)

t.test(
  'a session closes after three refreshes if its roles cannot be reduced because the administrator is away',
  async t => {
    const { orders, reports, logIn, write, link, reload, refresh, log, logged, root } = await startReducible(t)
    const [client, other] = [await logIn(orders), await logIn(reports)]
    t.same([await write(client), await write(other)], [undefined, undefined])
    await link.refuseConnections()
    link.resetConnections()
    reload(['readWrite@app.orders'])
    await refresh(2)
    t.equal(await write(client), undefined)
    await refresh(2)
    await logged(revoked('orders-api'))
    t.equal(await write(other), undefined)
    await link.restore()
    await refresh(2)
    await waitUntil(async () => {
      const [user] = (await root.db(DATABASE).command({ usersInfo: orders.arn })).users
      return user?.roles[0]?.role !== 'readWrite'
    })
    t.equal(log.filter(revoked('reports')).length, 0)
  },
)

t.test('a session of a directory user closes as well if its roles cannot be reduced', async t => {
  const { auditors, logIn, write, root, refresh, log, logged } = await startReducible(t)
  const external = root.db('$external')
  const { arn } = auditors
  await external.command({ createUser: arn, roles: [{ role: 'readWrite', db: 'app' }] })
  const client = await logIn(auditors)
  t.equal(await write(client), undefined)
  await root.db(DATABASE).command({ updateUser: arn, customData: {} })
  await external.command({ updateUser: arn, roles: [{ role: 'readWrite', db: 'app' }, 'read'] })
  await refresh(4)
  t.equal(await write(client), undefined, 'a further role is no reason')
  await external.command({ updateUser: arn, roles: [{ role: 'read', db: 'app' }] })
  await refresh(1)
  t.same(log.filter(revoked('auditors')), [])
  await refresh(4)
  t.match(await logged(revoked('auditors')), [{ cause: 'provision/overdue', directoryUser: arn }])
})
