import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { startCredentialEndpoints } from '../../src/aws/credentialEndpoints.js'
import { createIam } from '../../src/aws/iam.js'

const ROLES = '/latest/meta-data/iam/security-credentials/'

/** The metadata of an instance with or without a role. */
async function instance(t: Test, name?: string) {
  const clock = { now: Date.now() }
  const now = () => clock.now
  const aws = createIam({ random: randomBytes, now })
  const endpoints = await startCredentialEndpoints({ iam: aws, now })
  t.teardown(() => endpoints.close())
  if (name !== undefined) endpoints.setInstanceRole(aws.createRole({ account: '123456789012', name }))
  const ask = async (method: string, path: string, headers: Record<string, string> = {}) => {
    const response = await fetch(endpoints.url + path, { method, headers })
    return { status: response.status, text: await response.text(), headers: response.headers }
  }
  const tokenFor = (seconds: string, more: Record<string, string> = {}) =>
    ask('PUT', '/latest/api/token', { 'X-aws-ec2-metadata-token-ttl-seconds': seconds, ...more })
  const get = (path: string, token: string) => ask('GET', path, { 'X-aws-ec2-metadata-token': token })
  return { clock, aws, ask, tokenFor, get }
}

t.test('an instance gets a token, then the name of its role, then credentials', async t => {
  const { aws, clock, tokenFor, get } = await instance(t, 'orders-api')
  const { status, text: token, headers } = await tokenFor('30')
  t.equal(status, 200)
  t.equal(headers.get('X-Aws-Ec2-Metadata-Token-Ttl-Seconds'), '30')
  for (const path of [ROLES, ROLES.slice(0, -1)]) t.match(await get(path, token), { status: 200, text: 'orders-api' })
  const session = JSON.parse((await get(`${ROLES}orders-api`, token)).text)
  t.match(session, { Code: 'Success', Type: 'AWS-HMAC', AccessKeyId: /^ASIA/ })
  t.equal(session.LastUpdated, `${new Date(clock.now).toISOString().slice(0, 19)}Z`)
  t.match(aws.key(session.AccessKeyId), {
    session: { token: session.Token },
    caller: { arn: /:assumed-role\/orders-api\/i-0[0-9a-f]{16}$/ },
  })
  t.equal((await get(`${ROLES}admin`, token)).status, 404)
})

t.test('requests without a valid token are rejected', async t => {
  const { clock, ask, tokenFor, get } = await instance(t, 'orders-api')
  const { text: token } = await tokenFor('30')
  t.equal((await ask('GET', ROLES)).status, 401)
  t.equal(
    (
      await get(
        ROLES,
        token.replace(/^\d+/, end => `${Number(end) + 1}`),
      )
    ).status,
    401,
    'made to last longer',
  )
  clock.now += 30_000
  for (const path of [ROLES, `${ROLES}orders-api`]) t.equal((await get(path, token)).status, 401, 'it has expired')
})

t.test('a metadata token lasts one second to six hours, and forwarded requests are rejected', async t => {
  const { ask, tokenFor } = await instance(t, 'orders-api')
  for (const [seconds, status] of [
    ['1', 200],
    ['21600', 200],
    ['0', 400],
    ['21601', 400],
    ['x', 400],
  ] as const) {
    t.equal((await tokenFor(seconds)).status, status, seconds)
  }
  t.equal((await ask('PUT', '/latest/api/token')).status, 400)
  t.equal((await tokenFor('30', { 'X-Forwarded-For': '10.0.0.1' })).status, 403)
})

t.test('an instance without a role has no credentials', async t => {
  const { tokenFor, get } = await instance(t)
  const { text: token } = await tokenFor('30')
  t.equal((await get(ROLES, token)).status, 404)
})
