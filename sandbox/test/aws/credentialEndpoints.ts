import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { createOidcIssuer } from '../../../test/support/oidcIssuer.js'
import { POD_AUDIENCE, startCredentialEndpoints } from '../../src/aws/credentialEndpoints.js'
import { createIam } from '../../src/aws/iam.js'
import { errorOfAsync } from '../support/errors.js'

const account = '123456789012'
const cluster = createOidcIssuer('https://oidc.eks.eu-west-1.amazonaws.com/id/1')

/** Starts endpoints with a manual clock, a role, and an account that trusts the cluster. */
async function sandbox(t: Test, seconds?: number) {
  const clock = { now: Date.now() }
  const now = () => clock.now
  const aws = createIam({ random: randomBytes, now })
  const role = aws.createRole({ account, name: 'orders-api' })
  aws.createProvider({ account, ...cluster, audiences: ['sts.amazonaws.com', POD_AUDIENCE] })
  const endpoints = await startCredentialEndpoints({ iam: aws, now, ...(seconds !== undefined && { seconds }) })
  t.teardown(() => endpoints.close())
  const get = async (path: string, authorization?: string) => {
    const headers = authorization === undefined ? {} : { authorization }
    const response = await fetch(endpoints.url + path, { headers })
    return { status: response.status, body: (await response.json().catch(() => ({}))) as Record<string, string> }
  }
  const callerOf = ({ AccessKeyId = '' }) => aws.key(AccessKeyId)?.caller.arn
  return { clock, aws, role, endpoints, get, callerOf }
}

t.test('an ECS task gets a session of its role', async t => {
  const { aws, clock, role, endpoints, get, callerOf } = await sandbox(t)
  const { status, body } = await get(endpoints.addEcsTask(role))
  t.equal(status, 200)
  t.same(Object.keys(body), ['RoleArn', 'AccessKeyId', 'SecretAccessKey', 'Token', 'Expiration'])
  t.equal(body.Expiration, `${new Date(clock.now + 3600_000).toISOString().slice(0, 19)}Z`)
  t.match(callerOf(body), /^arn:aws:sts::123456789012:assumed-role\/orders-api\/[0-9a-f]{32}$/)
  t.match(aws.key(body.AccessKeyId ?? ''), { secretAccessKey: body.SecretAccessKey, session: { token: body.Token } })
  t.match(await get('/v2/credentials/1'), { status: 400, body: { code: 'InvalidIdInRequest' } })
})

t.test('a task with a token requires that token', async t => {
  const { role, endpoints, get } = await sandbox(t)
  const path = endpoints.addEcsTask(role, 'Basic of the task')
  t.equal((await get(path, 'Basic of the task')).status, 200)
  t.equal((await get(path, 'Basic of another')).status, 401)
  t.equal((await get(path)).status, 401)
  t.same(endpoints.issuedKeys().length, 1)
})

t.test('an EKS pod gets the role of its service account for a token of its cluster', async t => {
  const { clock, role, endpoints, get, callerOf } = await sandbox(t)
  const subject = 'system:serviceaccount:shop:orders'
  const path = endpoints.addEksPod({ role, issuer: cluster.issuer, subject })
  const claims = { sub: subject, aud: [POD_AUDIENCE], exp: Math.floor(clock.now / 1000) + 60 }
  const { status, body } = await get(path, cluster.token(claims))
  t.match({ status, body }, { status: 200, body: { AccountId: account } })
  t.equal(callerOf(body), `arn:aws:sts::${account}:assumed-role/orders-api/eks-shop-orders`)
  for (const [what, token, refusal] of [
    ['no token', '', { status: 400, body: { code: 'MissingAuthenticationTokenException' } }],
    ['a word', 'word', { status: 400, body: { code: 'InvalidIdentityToken' } }],
    [
      'a forgery',
      createOidcIssuer(cluster.issuer).token(claims),
      { status: 400, body: { code: 'InvalidIdentityToken' } },
    ],
    ['a late token', cluster.token({ ...claims, exp: 1 }), { status: 400, body: { code: 'ExpiredTokenException' } }],
    [
      'a token that is for STS',
      cluster.token({ ...claims, aud: 'sts.amazonaws.com' }),
      { status: 400, body: { code: 'InvalidTokenException' } },
    ],
    [
      'a service account without an association',
      cluster.token({ ...claims, sub: `${subject}-2` }),
      { status: 404, body: { code: 'ResourceNotFoundException' } },
    ],
  ] as const) {
    t.match(await get(path, token), refusal, what)
  }
})

t.test('a session is reused until it has ten minutes left', async t => {
  const { clock, role, endpoints, get } = await sandbox(t)
  const path = endpoints.addEcsTask(role)
  for (const minutes of [0, 49, 1]) {
    clock.now += minutes * 60_000
    await get(path)
  }
  const [first, again, next] = endpoints.issuedKeys()
  t.equal(again, first)
  t.not(next, first)
  const short = await sandbox(t, 2)
  const task = short.endpoints.addEcsTask(short.role)
  await short.get(task)
  await short.get(task)
  t.equal(new Set(short.endpoints.issuedKeys()).size, 2, 'short sessions are not reused')
})

t.test('a path with two slashes is redirected', async t => {
  const { endpoints, role } = await sandbox(t)
  const path = endpoints.addEcsTask(role)
  const { status, headers } = await fetch(`${endpoints.url}/${path}`, { redirect: 'manual' })
  t.same([status, headers.get('location')], [301, path])
  t.equal((await fetch(`${endpoints.url}/${path}`)).status, 200)
})

t.test('an unknown path is 404, and another method 405', async t => {
  const { endpoints, role, get } = await sandbox(t)
  t.equal((await get('/')).status, 404)
  t.equal((await fetch(endpoints.url + endpoints.addEcsTask(role), { method: 'PUT' })).status, 405)
})

t.test('a port in use is an error', async t => {
  const { endpoints, aws } = await sandbox(t)
  t.equal(
    (await errorOfAsync(() => startCredentialEndpoints({ iam: aws, port: endpoints.port })))?.code,
    'addressInUse',
  )
})
