/**
 * AWS through independent implementations: botocore as a client of the sandbox's STS, and moto, a mock of AWS by others, as
 * the STS behind the proxy.
 *
 * moto checks the signature of every call, STS included, once its count of unchecked calls is set to 0
 * (`/moto-api/reset-auth`; INITIAL_NO_AUTH_ACTION_COUNT). It checks neither the date nor the region and service of the
 * credential scope. Its user ids and errors differ from the format of AWS, and the proxy accepts only that format.
 */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { type AwsKeys, createClient } from '../support/clients.js'
import { ACCOUNT } from '../support/testProxy.js'
import { startBotocore } from './support/botocore.js'
import { startProxyProcess } from './support/proxyProcess.js'
import { startMoto, startMotoAdapter } from './support/servers.js'
import { installPython, prepareOrSkip } from './support/toolchains.js'

const { value: program = '', skip } = await prepareOrSkip(installPython)

t.test('botocore as a client of the sandbox STS', { skip }, async t => {
  const iam = createIam({ random: randomBytes, now: Date.now })
  const user = iam.createUser({ account: ACCOUNT, name: 'alice' })
  const keys: AwsKeys = iam.createAccessKey(user)
  const role = iam.createRole({ account: ACCOUNT, name: 'orders-api', trusts: [user.arn] })
  const sts = await startSts({ iam })
  t.teardown(() => sts.close())
  const botocore = startBotocore(t, program, sts.url)

  t.test('GetCallerIdentity returns the identity of a user', async t => {
    const identity = await botocore.call({ operation: 'get_caller_identity', keys })
    t.match(identity, { Account: ACCOUNT, Arn: user.arn, UserId: user.id })
  })

  t.test('AssumeRole returns a session with the identity of the role', async t => {
    const { Credentials, AssumedRoleUser } = await botocore.call({
      operation: 'assume_role',
      keys,
      args: { RoleArn: role.arn, RoleSessionName: 'pod-7', DurationSeconds: 900 },
    })
    const arn = `arn:aws:sts::${ACCOUNT}:assumed-role/orders-api/pod-7`
    t.match(AssumedRoleUser, { Arn: arn, AssumedRoleId: `${role.id}:pod-7` })
    const seconds = (Date.parse((Credentials as { Expiration: string }).Expiration) - Date.now()) / 1000
    t.ok(seconds > 800 && seconds <= 900, `valid for another ${seconds} seconds`)
    t.match(await botocore.call({ operation: 'get_caller_identity', keys: toKeys(Credentials) }), { Arn: arn })
  })

  t.test('GetSessionToken returns a session with the identity of the user', async t => {
    const { Credentials } = await botocore.call({ operation: 'get_session_token', keys })
    t.match(await botocore.call({ operation: 'get_caller_identity', keys: toKeys(Credentials) }), { Arn: user.arn })
  })

  const unknownKeys = { ...keys, accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' }
  const refusals: Record<string, [AwsKeys, code: string, status: number, call?: object]> = {
    'an unknown access key': [unknownKeys, 'InvalidClientTokenId', 403],
    'a wrong secret': [{ ...keys, secretAccessKey: 'guessed' }, 'SignatureDoesNotMatch', 403],
    'an invalid session token': [{ ...keys, sessionToken: 'made up' }, 'InvalidClientTokenId', 403],
    'an expired session token': [iam.assumeRole(role, 'late', 0), 'ExpiredToken', 403],
    'a role that does not exist': [
      keys,
      'AccessDenied',
      403,
      { operation: 'assume_role', args: { RoleArn: `${role.arn}x`, RoleSessionName: 'pod-7' } },
    ],
    'an invalid session name': [
      keys,
      'ValidationError',
      400,
      { operation: 'assume_role', args: { RoleArn: role.arn, RoleSessionName: 'a b' } },
    ],
  }
  for (const [name, [keys, code, status, call]] of Object.entries(refusals)) {
    t.test(`${name} is refused with a code that botocore understands`, async t => {
      const { error } = await botocore.tryCall({ operation: 'get_caller_identity', keys, ...call })
      t.match(error, { code, status, message: /./ })
    })
  }
})

t.test('the proxy with moto as its STS', { skip }, async t => {
  const moto = await startMoto(t, program)
  const botocore = startBotocore(t, program, moto.url)
  const { alice, orders } = await createMotoPrincipals(botocore)
  // From here on moto checks the signature of each call.
  await fetch(`${moto.url}/moto-api/reset-auth`, { method: 'POST', body: '0' })

  const mongo = await startMongoServer({ now: Date.now, random: randomBytes, root: { name: 'root', password: 'r' } })
  t.teardown(() => mongo.close())
  mongo.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  mongo.createUser({ user: 'orders', password: 'of orders', roles: [{ role: 'read', db: 'app' }] })
  const options = {
    upstream: { uri: `mongodb://127.0.0.1:${mongo.port}/`, admin: { uri: mongo.uri } },
    users: [
      { arn: `arn:aws:iam::${ACCOUNT}:user/alice`, user: 'alice', password: 'of alice' },
      { arn: `arn:aws:iam::${ACCOUNT}:role/orders-api`, user: 'orders', password: 'of orders' },
    ],
  }
  const proxy = await startProxyProcess(t, { ...options, sts: await startMotoAdapter(t, moto.port) })
  const proxyOfPlainMoto = await startProxyProcess(t, { ...options, sts: moto.port })

  t.test('moto checks signatures', async t => {
    const wrongKeys = { ...alice, secretAccessKey: 'guessed' }
    const { error } = await botocore.tryCall({ operation: 'get_caller_identity', keys: wrongKeys })
    t.match(error, { code: 'SignatureDoesNotMatch', status: 403 })
    t.match(await botocore.call({ operation: 'get_caller_identity', keys: alice }), { Account: ACCOUNT })
  })

  t.test('a user logs in: the rebuilt request carries a valid signature', async t => {
    t.match(await login(t, proxy, alice), [{ user: 'alice', db: 'admin' }])
  })

  t.test('a role with a session token logs in', async t => {
    t.match(await login(t, proxy, orders), [{ user: 'orders', db: 'admin' }])
  })

  t.test('a wrong secret is refused', async t => {
    const refused = login(t, proxy, { ...alice, secretAccessKey: 'guessed' })
    await t.rejects(refused, { code: 18, message: /SignatureDoesNotMatch/ })
  })

  t.test('an unknown access key is refused', async t => {
    const refused = login(t, proxy, { ...alice, accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' })
    await t.rejects(refused, { code: 18, message: /InvalidClientTokenId/ })
  })

  t.test('a session token of another session is refused', async t => {
    const sessionToken = `${orders.sessionToken?.slice(0, -8)}AAAAAAAA`
    await t.rejects(login(t, proxy, { ...orders, sessionToken }), { code: 18, message: /InvalidClientTokenId/ })
  })

  t.test('a role logs in with the unchanged responses of moto', async t => {
    t.match(await login(t, proxyOfPlainMoto, orders), [{ user: 'orders', db: 'admin' }])
  })

  t.test('a response that is not in the format of AWS is an unavailable STS, not a refusal', async t => {
    await t.rejects(login(t, proxyOfPlainMoto, { ...alice, secretAccessKey: 'guessed' }), { code: 262 })
    await t.rejects(login(t, proxyOfPlainMoto, alice), { code: 262 })
  })
})

/** Logs in with these keys and returns the authenticated users of connectionStatus. */
async function login(t: Test, { uri }: { uri: string }, keys: AwsKeys): Promise<unknown> {
  const client = await createClient(t, 'mongodb7', uri, keys, { serverSelectionTimeoutMS: 10_000 })
  const { authInfo } = await client.db('app').command({ connectionStatus: 1 })
  return authInfo.authenticatedUsers
}

/** Creates the user alice and a session of the role orders-api, while moto does not check signatures yet. */
async function createMotoPrincipals(botocore: ReturnType<typeof startBotocore>) {
  const keys: AwsKeys = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'anything' }
  const callIam = (operation: string, args: object) => botocore.call({ operation, service: 'iam', keys, args })
  await callIam('create_user', { UserName: 'alice' })
  const { AccessKey } = await callIam('create_access_key', { UserName: 'alice' })
  await callIam('create_role', { RoleName: 'orders-api', AssumeRolePolicyDocument: '{"Statement":[]}' })
  const { Credentials } = await botocore.call({
    operation: 'assume_role',
    keys,
    args: { RoleArn: `arn:aws:iam::${ACCOUNT}:role/orders-api`, RoleSessionName: 'pod-7' },
  })
  return { alice: toKeys(AccessKey), orders: toKeys(Credentials) }
}

/** Converts credentials from the spelling of the AWS API. */
function toKeys(credentials: unknown): AwsKeys {
  const { AccessKeyId, SecretAccessKey, SessionToken } = credentials as Record<string, string>
  const keys = { accessKeyId: AccessKeyId ?? '', secretAccessKey: SecretAccessKey ?? '' }
  return SessionToken === undefined ? keys : { ...keys, sessionToken: SessionToken }
}
