/**
 * AWS from two more sides. botocore asks the sandbox's STS as it asks the real one; and moto, somebody else's AWS, is the
 * STS behind the proxy.
 *
 * moto checks the signature of every call, STS included, once its count of unchecked calls is set to 0
 * (`/moto-api/reset-auth`; INITIAL_NO_AUTH_ACTION_COUNT). It checks neither dates nor that region and service are its own.
 * Its replies to users and its errors are not spelled as AWS's; the proxy takes AWS's alone.
 */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { type AwsKeys, loadDriver } from '../support/clients.js'
import { ACCOUNT } from '../support/testProxy.js'
import { botocore } from './support/botocore.js'
import { serve } from './support/proxyProcess.js'
import { moto, spelled } from './support/servers.js'
import { provided, python } from './support/toolchains.js'

const { what: program = '', skip } = await provided(python)

t.test('botocore as a client of the sandbox STS', { skip }, async t => {
  const aws = createIam({ random: randomBytes, now: Date.now })
  const user = aws.createUser({ account: ACCOUNT, name: 'alice' })
  const keys: AwsKeys = aws.createAccessKey(user)
  const role = aws.createRole({ account: ACCOUNT, name: 'orders-api', trusts: [user.arn] })
  const sts = await startSts({ iam: aws })
  t.teardown(() => sts.close())
  const python = botocore(t, program, sts.url)

  t.test('it learns who it is', async t => {
    const identity = await python.get({ call: 'get_caller_identity', keys })
    t.match(identity, { Account: ACCOUNT, Arn: user.arn, UserId: user.id })
  })

  t.test('it assumes a role, and is that role then', async t => {
    const { Credentials, AssumedRoleUser } = await python.get({
      call: 'assume_role',
      keys,
      with: { RoleArn: role.arn, RoleSessionName: 'pod-7', DurationSeconds: 900 },
    })
    const arn = `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/pod-7`
    t.match(AssumedRoleUser, { Arn: arn, AssumedRoleId: `${role.id}:pod-7` })
    const seconds = (Date.parse((Credentials as { Expiration: string }).Expiration) - Date.now()) / 1000
    t.ok(seconds > 800 && seconds <= 900, `for ${seconds} seconds more`)
    t.match(await python.get({ call: 'get_caller_identity', keys: keysOf(Credentials) }), { Arn: arn })
  })

  t.test('it gets a session of its own', async t => {
    const { Credentials } = await python.get({ call: 'get_session_token', keys })
    t.match(await python.get({ call: 'get_caller_identity', keys: keysOf(Credentials) }), { Arn: user.arn })
  })

  const stranger = { ...keys, accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' }
  const refusals: Record<string, [AwsKeys, code: string, status: number, call?: object]> = {
    'an unknown key': [stranger, 'InvalidClientTokenId', 403],
    'a wrong secret': [{ ...keys, secretAccessKey: 'guessed' }, 'SignatureDoesNotMatch', 403],
    'a token that is none': [{ ...keys, sessionToken: 'made up' }, 'InvalidClientTokenId', 403],
    'an expired token': [aws.assumeRole(role, 'late', 0), 'ExpiredToken', 403],
    'a role that is not there': [
      keys,
      'AccessDenied',
      403,
      { call: 'assume_role', with: { RoleArn: `${role.arn}x`, RoleSessionName: 'pod-7' } },
    ],
    'a session name that is none': [
      keys,
      'ValidationError',
      400,
      { call: 'assume_role', with: { RoleArn: role.arn, RoleSessionName: 'a b' } },
    ],
  }
  for (const [name, [by, code, status, call]] of Object.entries(refusals)) {
    t.test(`${name} is refused with a code that botocore reads`, async t => {
      const { error } = await python.ask({ call: 'get_caller_identity', keys: by, ...call })
      t.match(error, { code, status, message: /./ })
    })
  }
})

t.test('the proxy with moto as its STS', { skip }, async t => {
  const server = await moto(t, program)
  const python = botocore(t, program, server.url)
  const anybody: AwsKeys = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'anything' }
  const iamCall = (call: string, facts: object) => python.get({ call, service: 'iam', keys: anybody, with: facts })

  await iamCall('create_user', { UserName: 'alice' })
  const { AccessKey } = await iamCall('create_access_key', { UserName: 'alice' })
  const alice = keysOf(AccessKey)
  await iamCall('create_role', { RoleName: 'orders-api', AssumeRolePolicyDocument: '{"Statement":[]}' })
  const { Credentials } = await python.get({
    call: 'assume_role',
    keys: anybody,
    with: { RoleArn: `arn:aws:iam::${ACCOUNT}:role/orders-api`, RoleSessionName: 'pod-7' },
  })
  const orders = keysOf(Credentials)
  // From here on each call's signature is checked.
  await fetch(`${server.url}/moto-api/reset-auth`, { method: 'POST', body: '0' })

  const mongo = await startMongoServer({ now: Date.now, random: randomBytes, root: { name: 'root', password: 'r' } })
  t.teardown(() => mongo.close())
  mongo.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  mongo.createUser({ user: 'orders', password: 'of orders', roles: [{ role: 'read', db: 'app' }] })
  const parts = {
    upstream: { uri: `mongodb://127.0.0.1:${mongo.port}/`, admin: { uri: mongo.uri } },
    users: [
      { arn: `arn:aws:iam::${ACCOUNT}:user/alice`, user: 'alice', password: 'of alice' },
      { arn: `arn:aws:iam::${ACCOUNT}:role/orders-api`, user: 'orders', password: 'of orders' },
    ],
  }
  const proxy = await serve(t, { ...parts, sts: await spelled(t, server.port) })
  const raw = await serve(t, { ...parts, sts: server.port })
  /** Who these keys are in the database. */
  const login = async (t: Test, keys: AwsKeys, { uri } = proxy) => {
    const { MongoClient } = await loadDriver('mongodb7')
    const client = new MongoClient(uri, {
      serverSelectionTimeoutMS: 10_000,
      authMechanismProperties: { AWS_CREDENTIAL_PROVIDER: async () => ({ ...keys }) as never },
    })
    t.teardown(() => client.close())
    const { authInfo } = await client.db('app').command({ connectionStatus: 1 })
    return authInfo.authenticatedUsers
  }

  t.test('moto does check signatures', async t => {
    const { error } = await python.ask({ call: 'get_caller_identity', keys: { ...alice, secretAccessKey: 'guessed' } })
    t.match(error, { code: 'SignatureDoesNotMatch', status: 403 })
    t.match(await python.get({ call: 'get_caller_identity', keys: alice }), { Account: ACCOUNT })
  })

  t.test('a user logs in: the rebuilt request carries its signature', async t => {
    t.match(await login(t, alice), [{ user: 'alice', db: 'admin' }])
  })

  t.test('a role with a session token logs in', async t => {
    t.match(await login(t, orders), [{ user: 'orders', db: 'admin' }])
  })

  t.test('a wrong secret is refused', async t => {
    const refused = login(t, { ...alice, secretAccessKey: 'guessed' })
    await t.rejects(refused, { code: 18, message: /SignatureDoesNotMatch/ })
  })

  t.test('an unknown key is refused', async t => {
    const refused = login(t, { ...alice, accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' })
    await t.rejects(refused, { code: 18, message: /InvalidClientTokenId/ })
  })

  t.test('a token that is not of that session is refused', async t => {
    const sessionToken = `${orders.sessionToken?.slice(0, -8)}AAAAAAAA`
    await t.rejects(login(t, { ...orders, sessionToken }), { code: 18, message: /InvalidClientTokenId/ })
  })

  t.test('as it is, moto suffices for roles', async t => {
    t.match(await login(t, orders, raw), [{ user: 'orders', db: 'admin' }])
  })

  t.test('what is not spelled as AWS spells it refuses nobody: the login may be tried again', async t => {
    await t.rejects(login(t, { ...alice, secretAccessKey: 'guessed' }, raw), { code: 262 })
    await t.rejects(login(t, alice, raw), { code: 262 })
  })
})

/** Credentials as AWS writes them. */
function keysOf(credentials: unknown): AwsKeys {
  const { AccessKeyId, SecretAccessKey, SessionToken } = credentials as Record<string, string>
  const keys = { accessKeyId: AccessKeyId ?? '', secretAccessKey: SecretAccessKey ?? '' }
  return SessionToken === undefined ? keys : { ...keys, sessionToken: SessionToken }
}
