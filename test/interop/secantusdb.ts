/**
 * SecantusDB, an independent server, as the upstream: in Python with the operations of operations.json, and in Rust with
 * everything that needs users with roles. It has SCRAM, and enforces roles.
 */
import { randomBytes } from 'node:crypto'
import { type Document, MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { Secret } from '../../src/log.js'
import { type Feature, listFeatures, listPrivileges, type Privilege } from '../../src/provisioning/privileges.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { type AwsKeys, createClient } from '../support/clients.js'
import { findLogins, listOperations, toEndpoint } from '../support/correlation.js'
import { startInProcess } from '../support/inProcessProxy.js'
import { errorCodeOf } from '../support/mongo.js'
import { assertNeedsEachPrivilege, features } from '../support/privileges.js'
import { DATABASE, provisionAt } from '../support/provisioning.js'
import { ACCOUNT } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'
import { compareDifferences } from './support/differences.js'
import { operations, type Results, runOperations } from './support/operations.js'
import { startProxyProcess } from './support/proxyProcess.js'
import { type SecantusdbServer, startSecantusdb } from './support/servers.js'
import { buildSecantusdb, installSecantusdb, type Program, prepareOrSkip } from './support/toolchains.js'

/** The Rust server takes up to 25 minutes to build on a slow machine. */
t.setTimeout(3_600_000)
const PASSWORD = 'of alice'
const { value: python, skip: noPython } = await prepareOrSkip(installSecantusdb)
const { value: rust, skip: noRust } = await prepareOrSkip(buildSecantusdb)

const iam = createIam({ random: randomBytes, now: Date.now })
const alice = iam.createUser({ account: ACCOUNT, name: 'alice' })
const aliceKeys = iam.createAccessKey(alice)
const role = iam.createRole({ account: ACCOUNT, name: 'orders-api' })

const ROLES = ['readWrite', 'dbAdmin'].map(role => ({ role, db: 'app' }))
const credentialOptions = {
  authMechanismProperties: { AWS_CREDENTIAL_PROVIDER: async () => ({ ...aliceKeys }) as never },
}

/** Starts a server with Alice, and an administrator that has the documented privileges, or those given. */
async function startServer(t: Test, program: Program, privileges: readonly Privilege[] = listPrivileges(DATABASE)) {
  const server = await startSecantusdb(t, program)
  await server.command('admin', { createUser: 'alice', pwd: PASSWORD, roles: ROLES })
  await server.command('admin', { createRole: 'iamProxy', roles: [], privileges })
  await server.command('admin', { createUser: 'iam-proxy', pwd: 'of the proxy', roles: ['iamProxy'] })
  return server
}

async function startStsFor(t: Test) {
  const sts = await startSts({ iam })
  t.teardown(() => sts.close())
  return sts
}

const results = new Map<string, Results>()
for (const [name, program, skip] of [
  ['the Python server of SecantusDB', python, noPython],
  ['the Rust server of SecantusDB', rust, noRust],
] as const) {
  t.test(name, { skip }, async t => {
    const sts = await startStsFor(t)
    const server = await startServer(t, program ?? [''])
    const proxy = await startProxyProcess(t, {
      upstream: {
        uri: `mongodb://127.0.0.1:${server.port}/?replicaSet=secantus`,
        admin: { uri: server.uriFor('iam-proxy', 'of the proxy') },
      },
      sts: sts.port,
      users: [{ arn: alice.arn, user: 'alice', password: PASSWORD }],
    })

    t.test('each reply is the same through the proxy', async t => {
      const direct = await runOperations(t, server.uriFor('alice', PASSWORD))
      const proxied = await runOperations(t, proxy.uri, credentialOptions)
      for (const { name } of operations) t.strictSame(proxied.get(name)?.reply, direct.get(name)?.reply, name)
      results.set(name, direct)
    })

    t.test('the session has the roles of the user, which the server enforces', async t => {
      const client = await createClient(t, 'mongodb7', proxy.uri, aliceKeys)
      const { authInfo } = await client.db('app').command({ connectionStatus: 1 })
      t.match(authInfo, { authenticatedUsers: [{ user: 'alice', db: 'admin' }], authenticatedUserRoles: ROLES })
      t.equal(await errorCodeOf(client.db('other').collection('c').insertOne({})), 13)
    })

    t.test('check finds no problem, and sees that LDAP authorization is off', async t => {
      const { code, stdout } = await proxy.run('check')
      t.equal(code, 0, stdout)
      t.comment(stdout)
    })
  })
}

t.test('differences-secantusdb.md is up to date', { skip: noPython || noRust }, async t => {
  const { stored, rendered } = compareDifferences(results)
  t.equal(stored, rendered, 'update it with TAP_SNAPSHOT=1 npm run test:interop')
})

/** Features whose every privilege the Rust server confirms. It shows neither system.users nor system.roles. */
const CONFIRMED: readonly Feature[] = ['LDAP guard', 'provisioning', 'provision.clientSource']

t.test('with the Rust server, each feature needs each of its documented privileges', { skip: noRust }, async t => {
  /** A new server whose administrator has these privileges. */
  const startWith = async (t: Test, privileges: readonly Privilege[]) => {
    const server = await startServer(t, rust ?? [''], privileges)
    const client = new MongoClient(server.adminUri)
    const { runCommand, close } = createAdminClient(new Secret(server.uriFor('iam-proxy', 'of the proxy')))
    t.teardown(() => Promise.all([client.close(), close()]))
    return { runCommand, scene: provisionAt(t, { port: server.port, uri: server.adminUri, client }) }
  }
  for (const feature of CONFIRMED) {
    t.test(feature, async t => {
      await assertNeedsEachPrivilege(t, feature, async privileges => {
        const { runCommand, scene } = await startWith(t, privileges)
        return () => features[feature](scene, runCommand)
      })
    })
  }

  t.test('a role for one collection, without its removal', async t => {
    const privilegesOf = (name: Feature) => listFeatures(DATABASE).find(([feature]) => feature === name)?.[1] ?? []
    const [find, create] = privilegesOf('roles for one collection') as [Privilege, Privilege]
    const needed = [find, { ...create, actions: ['createRole'] }]
    const logIn = async (privileges: readonly Privilege[]) => {
      const { runCommand, scene } = await startWith(t, [...privilegesOf('provisioning'), ...privileges])
      const roles = [{ role: 'read', db: 'app', collection: 'orders' }]
      return scene.logIn(scene.make({ runCommand }), { arn: role.arn, roles })
    }
    await t.resolves(logIn(needed))
    for (const missing of needed) {
      const rest = needed.filter(one => one !== missing)
      const fault = await logIn(rest).catch(thrown => thrown)
      t.match(fault, { kind: 'provision/failed', facts: { code: 13 } }, `without ${missing.actions[0]}`)
    }
  })
})

/** Starts a proxy in this process that provisions users at this server. */
async function startProvisioningProxy(t: Test, server: SecantusdbServer, ...secrets: string[]) {
  const sts = await startStsFor(t)
  const config = (roles: string[], more: object = {}) => ({
    listen: { host: '127.0.0.1', port: 0 },
    upstream: {
      uri: `mongodb://127.0.0.1:${server.port}/?replicaSet=secantus`,
      admin: { uri: server.uriFor('iam-proxy', 'of the proxy') },
    },
    sts: { insecure: true, hosts: [{ host: 'sts.us-east-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }] },
    admin: { port: 'off' },
    provision: { secretFile: 'secret', period: '1h' },
    directory: { enabled: true },
    users: [{ arn: role.arn, roles }],
    ...more,
  })
  const started = await startInProcess(t, { config: config(['readWrite@app']), files: { secret: secrets.join('\n') } })
  const client = (keys: AwsKeys = iam.assumeRole(role, 'pod-7')) =>
    createClient(t, 'mongodb7', started.uri, keys, { maxPoolSize: 1, retryReads: false, retryWrites: false })
  return { ...started, config, client }
}

const FIRST_SECRET = 'the first master secret of this fleet'
const SECOND_SECRET = 'the second one, which is as long as the first'
const outcome = async (run: Promise<unknown>) => (await errorCodeOf(run)) ?? 'works'

t.test('with the Rust server, the proxy provisions users', { skip: noRust }, async t => {
  const server = await startServer(t, rust ?? [''])
  const proxy = await startProvisioningProxy(t, server, FIRST_SECRET)
  const client = await proxy.client()
  const app = client.db('app')
  const write = () => outcome(app.collection('orders').insertOne({}))
  const read = (collection: string) => outcome(app.collection(collection).findOne({}))
  const stored = async (): Promise<Document[]> => (await server.command(DATABASE, { usersInfo: 1 })).users

  t.test('a principal logs in as the user of its ARN, with the roles of its rule', async t => {
    t.equal(await write(), 'works')
    const { authInfo } = await app.command({ connectionStatus: 1 })
    t.match(authInfo, {
      authenticatedUsers: [{ user: role.arn, db: DATABASE }],
      authenticatedUserRoles: [{ role: 'readWrite', db: 'app' }],
    })
    t.equal(await outcome(client.db('other').collection('c').findOne({})), 13)
  })

  t.test('an open session follows its rule: fewer roles, one collection, and more roles', async t => {
    for (const [roles, written, orders, invoices] of [
      [['read@app'], 13, 'works', 'works'],
      [['read@app.orders'], 13, 'works', 13],
      [['readWrite@app'], 'works', 'works', 'works'],
    ] as const) {
      proxy.reload(proxy.config([...roles]))
      await waitUntil(async () => (await write()) === written && (await read('invoices')) === invoices)
      t.equal(await read('orders'), orders, String(roles))
    }
    t.equal(proxy.log.filter(({ event }) => event === 'connection closed').length, 0, 'over the same connection')
  })

  t.test('users of the first secret log in after a second one took its place', async t => {
    const replica = await startProvisioningProxy(t, server, SECOND_SECRET, FIRST_SECRET)
    t.match(await (await replica.client()).db('app').command({ ping: 1 }), { ok: 1 })
    t.equal((await stored()).length, 1)
    t.equal(await write(), 'works', 'and the open session continues')
  })

  t.test('the user of a principal without a rule is removed, and its session ends', async t => {
    proxy.reload(proxy.config([], { users: [{ arn: alice.arn, roles: ['read@app'] }] }))
    await waitUntil(async () => (await stored()).length === 0)
    t.equal(await write(), 18)
  })
})

t.test('with the Python server, the proxy reads the directory', { skip: noPython }, async t => {
  const server = await startServer(t, python ?? [''])
  const proxy = await startProvisioningProxy(t, server, FIRST_SECRET)
  const carol = iam.createUser({ account: ACCOUNT, name: 'carol' })
  const keys = iam.createAccessKey(carol)
  const ping = async () => (await proxy.client(keys)).db('app').command({ ping: 1 })
  await t.rejects(ping(), { code: 18 }, 'there is no such user')
  const mechanisms = ['MONGODB-X509'] // the server asks for one, although the user of a directory needs none
  await server.command('$external', { createUser: carol.arn, roles: [{ role: 'read', db: 'app' }], mechanisms })
  await t.rejects(ping(), { code: 262, message: /keeps no customData/ }, 'it is found, and cannot be provisioned here')
})

t.test('with the Python server, from a connection to the person', { skip: noPython }, async t => {
  const server = await startServer(t, python ?? [''])
  const sts = await startStsFor(t)
  const proxy = await startInProcess(t, {
    config: {
      listen: { host: '127.0.0.1', port: 0 },
      upstream: {
        uri: `mongodb://127.0.0.1:${server.port}/?replicaSet=secantus`,
        admin: { uri: server.uriFor('iam-proxy', 'of the proxy') },
      },
      sts: { insecure: true, hosts: [{ host: 'sts.us-east-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }] },
      admin: { port: 'off' },
      users: [{ arn: role.arn, user: 'alice', passwordEnv: 'ALICE' }],
    },
    env: { ALICE: PASSWORD },
  })
  const people = ['bob@example.com', 'carol@example.com']
  for (const person of people) {
    const client = await createClient(t, 'mongodb7', proxy.uri, iam.assumeRole(role, person), { maxPoolSize: 1 })
    await client.db('app').collection('orders').insertOne({ person })
  }
  const operations = await listOperations(server.adminUri)
  for (const person of people) {
    const found = operations.filter(({ clientMetadata }) => clientMetadata?.platform?.includes(` session=${person} | `))
    t.equal(found.length, 1, 'a person has one connection')
    const [login, ...others] = findLogins(found[0] ?? {}, proxy.audit())
    t.equal(login?.arn, `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/${person}`)
    t.strictSame(login?.upstream, toEndpoint(found[0] ?? {}, `127.0.0.1:${server.port}`))
    t.same(others, [])
  }
})
