import { randomBytes } from 'node:crypto'
import { AssumeRoleWithWebIdentityCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import t, { type Test } from 'tap'
import { createOidcIssuer } from '../../../test/support/oidcIssuer.js'
import { createIam } from '../../src/aws/iam.js'
import { startSts } from '../../src/aws/sts.js'
import { assumeRoleWithWebIdentity } from '../../src/aws/webIdentity.js'

const account = '123456789012'
const now = Date.now()
const hour = Math.floor(now / 1000) + 3600
const subject = 'system:serviceaccount:shop:orders'
const audience = 'sts.amazonaws.com'
const cluster = createOidcIssuer('https://oidc.eks.eu-west-1.amazonaws.com/id/1')
const unknownIssuer = createOidcIssuer('https://oidc.example.com/id/2')

const aws = createIam({ random: randomBytes, now: () => now })
const provider = aws.createProvider({ account, ...cluster, audiences: [audience, 'other'] })
const role = aws.createRole({ account, name: 'orders-api', path: '/shop/' })
aws.trustWebIdentity(role, { provider: provider.arn, subject, audience })
const hidden = aws.createRole({ account, name: 'hidden' })

const good = { sub: subject, aud: [audience], exp: hour }
const assume = (token: string, more: Record<string, string> = {}, time = now) => {
  const parameters = { RoleArn: role.arn, RoleSessionName: 'pod-7', WebIdentityToken: token, ...more }
  return assumeRoleWithWebIdentity(new URLSearchParams(parameters), aws, time)
}

t.test('a token that the role trusts opens a session of the role', async t => {
  const tree = await assume(cluster.token(good))
  t.match(tree, {
    Credentials: { AccessKeyId: /^ASIA/, Expiration: new Date(now + 3600_000) },
    SubjectFromWebIdentityToken: subject,
    AssumedRoleUser: {
      Arn: `arn:aws:sts::${account}:assumed-role/orders-api/pod-7`,
      AssumedRoleId: `${role.id}:pod-7`,
    },
    Provider: provider.arn,
    Audience: audience,
  })
})

t.test('an untrusted token is rejected', async t => {
  const mistrust = (message: RegExp) => ({ code: 'InvalidIdentityToken', message })
  const token = cluster.token(good)
  const forged = createOidcIssuer(cluster.issuer).token(good)
  for (const [what, text, refusal] of [
    ['no token', 'nothing', mistrust(/not a valid JWT/)],
    ['signed with another key', forged, mistrust(/not be validated/)],
    ['cut short', token.slice(0, -8), mistrust(/not be validated/)],
    ['a key that the issuer does not have', cluster.token(good, { kid: 'key-2' }), mistrust(/verification key/)],
    [
      'an issuer that the account does not know',
      unknownIssuer.token(good),
      mistrust(/No OpenIDConnect provider found/),
    ],
    ['for another audience', cluster.token({ ...good, aud: 'vault' }), mistrust(/token audience/)],
  ] as const) {
    t.match(await assume(text), refusal, what)
  }
})

t.test('a token expires at the second of its exp claim', async t => {
  const token = cluster.token(good)
  t.match(await assume(token, {}, hour * 1000 - 1), { AssumedRoleUser: {} })
  t.match(await assume(token, {}, hour * 1000), {
    code: 'ExpiredTokenException',
    message: `Token expired: current date/time ${hour} must be before the expiration date/time ${hour}`,
  })
  const forged = createOidcIssuer(cluster.issuer).token({ ...good, exp: 1 })
  t.match(await assume(forged), { code: 'InvalidIdentityToken' }, 'the expiry of a forged token is not reported')
})

t.test('a valid token of a subject that the role does not trust is denied, and so is a missing role', async t => {
  const denied = { code: 'AccessDenied', message: 'Not authorized to perform sts:AssumeRoleWithWebIdentity' }
  t.same(await assume(cluster.token({ ...good, sub: `${subject}-admin` })), denied)
  t.same(await assume(cluster.token({ ...good, aud: 'other' })), denied, 'another audience of the provider')
  t.same(await assume(cluster.token(good), { RoleArn: hidden.arn }), denied)
  t.same(await assume(cluster.token(good), { RoleArn: `${hidden.arn}-not` }), denied)
})

t.test('malformed parameters are rejected before the token is verified', async t => {
  for (const more of [
    { RoleArn: 'orders-api' },
    { RoleArn: `arn:aws:iam::${account}:user/alice` },
    { RoleSessionName: 'a b' },
    { WebIdentityToken: 'x' },
    { WebIdentityToken: 'x'.repeat(20_001) },
  ]) {
    t.match(await assume('nothing', more), { code: 'ValidationError' }, JSON.stringify(more).slice(0, 60))
  }
  t.match(await assume(cluster.token(good), { DurationSeconds: '1' }), { code: 'ValidationError' })
  t.match(await assumeRoleWithWebIdentity(new URLSearchParams(), aws, now), {
    code: 'ValidationError',
    message: /null/,
  })
})

/** Starts an STS. Returns a client without credentials, and a function that posts an unsigned form. */
async function startStsWithClients(t: Test) {
  const sts = await startSts({ iam: aws, now: () => now })
  t.teardown(() => sts.close())
  const client = (credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken: string }) => {
    const client = new STSClient({
      endpoint: sts.url,
      region: 'eu-west-1',
      maxAttempts: 1,
      ...(credentials && { credentials }),
    })
    t.teardown(() => client.destroy())
    return client
  }
  const post = async (token: string, headers: Record<string, string> = {}) => {
    const facts = { RoleArn: role.arn, RoleSessionName: 'pod-7', WebIdentityToken: token }
    const body = new URLSearchParams({ Action: 'AssumeRoleWithWebIdentity', Version: '2011-06-15', ...facts })
    const response = await fetch(sts.url, { method: 'POST', body, headers })
    return { status: response.status, text: await response.text() }
  }
  return { sts, client, post }
}

t.test('the AWS SDK assumes a role with a web identity token', async t => {
  const { client, sts } = await startStsWithClients(t)
  const command = (token: string) =>
    new AssumeRoleWithWebIdentityCommand({
      RoleArn: role.arn,
      RoleSessionName: 'pod-7',
      WebIdentityToken: token,
    })
  const { Credentials, ...rest } = await client().send(command(cluster.token(good)))
  t.match(rest, { SubjectFromWebIdentityToken: subject, Audience: audience, Provider: provider.arn })
  const session = {
    accessKeyId: Credentials?.AccessKeyId ?? '',
    secretAccessKey: Credentials?.SecretAccessKey ?? '',
    sessionToken: Credentials?.SessionToken ?? '',
  }
  const { Arn } = await client(session).send(new GetCallerIdentityCommand({}))
  t.equal(Arn, `arn:aws:sts::${account}:assumed-role/orders-api/pod-7`)

  const refusal = (token: string) =>
    client()
      .send(command(token))
      .catch(({ name }: Error) => name)
  t.equal(await refusal(unknownIssuer.token(good)), 'InvalidIdentityTokenException')
  t.equal(await refusal(cluster.token({ ...good, exp: 1 })), 'ExpiredTokenException')
  t.equal(await refusal(cluster.token({ ...good, sub: 'nobody' })), 'AccessDenied')
  t.match(sts.calls(), { AssumeRoleWithWebIdentity: 4, GetCallerIdentity: 1 }, 'each was counted')
})

t.test('replies are XML or JSON, in which an expiration is a text or a number', async t => {
  const { post } = await startStsWithClients(t)
  const token = cluster.token(good)
  t.match(await post(token), { status: 200, text: /<Expiration>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ<\/Expiration>/ })
  const { status, text } = await post(token, { Accept: 'application/json' })
  const { AssumeRoleWithWebIdentityResponse: response } = JSON.parse(text)
  t.equal(status, 200)
  t.equal(response.AssumeRoleWithWebIdentityResult.Credentials.Expiration, Math.floor((now + 3600_000) / 1000))
  t.match(await post('nothing'), { status: 400, text: '<Code>InvalidIdentityToken</Code>' })
  t.match(await post(cluster.token({ ...good, exp: 1 })), { status: 400, text: '<Code>ExpiredTokenException</Code>' })
  t.match(await post(cluster.token({ ...good, sub: 'nobody' })), { status: 403, text: '<Code>AccessDenied</Code>' })
})
