/** From a connection of MongoDB to the person behind it, with real drivers. */
import { calculateObjectSize } from 'bson'
import t from 'tap'
import { createClient, requireClients } from '../support/clients.js'
import { findLogins, listOperations, toEndpoint } from '../support/correlation.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { ACCOUNT, startTestProxy } from '../support/testProxy.js'

await requireClients('mongodb7')

/** More than the time that a test takes by the clock of the proxy. */
const MAX_AGE_MS = 60_000

t.test('from a connection of MongoDB to the person, also after a reauthentication', async t => {
  const maxAge = `${MAX_AGE_MS}ms`
  const proxy = await startReplicaSetProxy(t, {}, { maxAge })
  const role = proxy.iam.createRole({ account: ACCOUNT, name: 'orders-api' })
  proxy.reload({ ...proxy.config, users: [{ arn: role.arn, user: 'alice', passwordEnv: 'ALICE', maxAge }] })
  const options = { maxPoolSize: 1, appName: 'orders' }
  const client = await createClient(t, 'mongodb7', proxy.uri, proxy.iam.assumeRole(role, 'alice@example.com'), options)
  const insert = () => client.db('app').collection('numbers').insertOne({ n: 1 })
  await insert()
  const findOperation = async () => {
    const operations = await listOperations(proxy.set.uri())
    return operations.filter(({ clientMetadata }) => clientMetadata.platform?.includes('session=alice@example.com'))
  }
  const [operation, ...others] = await findOperation()
  t.same(others, [], 'the session has one connection')
  if (!operation) throw new Error('the session has none')
  t.match(operation.clientMetadata, {
    application: { name: 'orders' },
    driver: { name: 'nodejs' },
    platform: /^mongo-iam-proxy\/\S+ [0-9a-f]{12}-\d+ session=alice@example\.com \| Node\.js v/,
  })
  const upstream = toEndpoint(operation, proxy.set.primary()?.host ?? '')
  const arn = `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/alice@example.com`
  t.match(findLogins(operation, proxy.audit()), [{ arn, loginKind: 'first', appName: 'orders' }])
  t.strictSame(findLogins(operation, proxy.audit())[0]?.upstream, upstream)

  proxy.clock.advance(MAX_AGE_MS)
  await insert()
  const [first, second] = findLogins(operation, proxy.audit())
  t.match([first, second], [{ loginKind: 'first' }, { loginKind: 'reauthentication', arn, upstream }])
  t.not(first?.sts, second?.sts)
  t.same((await findOperation())[0]?.clientMetadata, operation.clientMetadata, 'the metadata cannot change')
})

t.test('with hashed session names, the marker and the trail have the same hash', async t => {
  const settings = { 'audit.sessionName': 'hash', 'audit.hashKeyFile': '/key' }
  const proxy = await startTestProxy(t, { settings, files: { '/key': 'a-key-of-at-least-20-characters' } })
  const client = await proxy.client('mongodb7', proxy.session(), { maxPoolSize: 1 })
  await client.db('app').collection('numbers').findOne()
  const metadata = JSON.stringify(proxy.mongo.accepted().map(({ metadata }) => metadata))
  const [, hash] = /[0-9a-f]{12}-\d+ session=(hash-[0-9a-f]{32}) \| Node/.exec(metadata) ?? []
  const login = proxy.audit().find(({ type }) => type === 'login')
  t.equal(login?.arn, `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/${hash}`)
  t.notMatch(metadata, /pod-7/)
})

t.test('a client that fills its metadata and forges a marker is marked all the same', async t => {
  const proxy = await startTestProxy(t)
  const forged = `mongo-iam-proxy/0.1.0 ffffffffffff-1 session=bob | ${'é'.repeat(80)}`
  const driverInfo = { name: 'framework', version: '1.2.3', platform: forged }
  const client = await proxy.client('mongodb7', proxy.keyOf('alice'), { maxPoolSize: 1, appName: 'orders', driverInfo })
  await client.db('app').collection('numbers').insertOne({ n: 1 })
  const login = proxy.audit().find(({ type }) => type === 'login')
  const mark = `mongo-iam-proxy/0.1.0 ${login?.connection} | `
  const marked = proxy.mongo.accepted().filter(({ metadata }) => metadata?.platform?.startsWith(mark))
  t.equal(marked.length, 1)
  const { metadata = {} } = marked[0] ?? {}
  t.match(metadata, { application: { name: 'orders' }, driver: { name: 'nodejs|framework', version: /\|1\.2\.3$/ } })
  t.equal(metadata.platform.split('mongo-iam-proxy/').length, 2)
  t.match(metadata.platform, /mongo-iam-proxy_0\.1\.0 ffffffffffff-1/)
  t.ok(calculateObjectSize(metadata) <= 512)
})
