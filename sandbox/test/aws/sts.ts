import { randomBytes } from 'node:crypto'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { AssumeRoleCommand, GetCallerIdentityCommand, GetSessionTokenCommand, STSClient } from '@aws-sdk/client-sts'
import t, { type Test } from 'tap'
import {
  BODY,
  type ClientCredentials,
  type SigningOptions,
  signClientFinal,
  stsHeaders,
} from '../../../test/support/signingClient.js'
import { failFirstCalls, stsFailures } from '../../../test/support/stsFailures.js'
import { createIam } from '../../src/aws/iam.js'
import { type StsOptions, startSts } from '../../src/aws/sts.js'
import { errorOfAsync } from '../support/errors.js'

const account = '123456789012'

/** Starts an STS with alice, whom the role orders-api trusts, and a manual clock. It stops with the test. */
async function sandbox(t: Test, options: Partial<StsOptions> = {}) {
  const clock = { now: Date.now() }
  const aws = createIam({ random: randomBytes, now: () => clock.now })
  const alice = aws.createUser({ account, name: 'alice', path: '/staff/' })
  const key = aws.createAccessKey(alice)
  const orders = aws.createRole({ account, name: 'orders-api', trusts: [alice.arn] })
  const sts = await startSts({ iam: aws, now: () => clock.now, ...options })
  t.teardown(() => sts.close())
  const client = (credentials: ClientCredentials) => {
    const client = new STSClient({ endpoint: sts.url, region: 'us-east-1', credentials, maxAttempts: 1 })
    t.teardown(() => client.destroy())
    return client
  }
  const login = (
    credentials: ClientCredentials,
    more: Partial<SigningOptions> = {},
    change: Record<string, string> = {},
  ) => post(sts.port, credentials, { date: new Date(clock.now), ...more }, change)
  return { clock, aws, alice, key, orders, sts, client, login }
}

type Answer = { status: number; headers: IncomingHttpHeaders; text: string }

function send(port: number, method: string, path: string, headers: Record<string, string>, body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString(),
        }),
      )
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}

/** Sends a login's request as the proxy does. `change` modifies the headers after signing. */
async function post(
  port: number,
  credentials: ClientCredentials,
  options: Partial<SigningOptions>,
  change: Record<string, string>,
) {
  const signing = { nonce: Buffer.alloc(64, 7), host: 'sts.eu-west-1.amazonaws.com', ...options }
  const headers = stsHeaders(await signClientFinal(credentials, signing), signing)
  return send(port, 'POST', '/', { ...headers, ...change }, signing.body ?? BODY)
}

/** The name and message of the error that rejects a promise. */
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: Error) => ({ name: error.name, message: error.message }),
  )

t.test('the AWS SDK gets the identity of a user', async t => {
  const { client, key, alice } = await sandbox(t)
  const { Arn, UserId, Account } = await client(key).send(new GetCallerIdentityCommand({}))
  t.same([Arn, UserId, Account], [`arn:aws:iam::${account}:user/staff/alice`, alice.id, account])
})

t.test('the AWS SDK assumes a role and gets the identity of the session', async t => {
  const { client, key, orders, clock } = await sandbox(t)
  const command = new AssumeRoleCommand({ RoleArn: orders.arn, RoleSessionName: 'pod-7', DurationSeconds: 900 })
  const { AssumedRoleUser, Credentials } = await client(key).send(command)
  t.match(AssumedRoleUser, { AssumedRoleId: `${orders.id}:pod-7` })
  t.equal(Credentials?.Expiration?.getTime(), Math.floor((clock.now + 900_000) / 1000) * 1000)
  const session = {
    accessKeyId: Credentials?.AccessKeyId ?? '',
    secretAccessKey: Credentials?.SecretAccessKey ?? '',
    sessionToken: Credentials?.SessionToken ?? '',
  }
  const { Arn, UserId } = await client(session).send(new GetCallerIdentityCommand({}))
  t.same([Arn, UserId], [`arn:aws:sts::${account}:assumed-role/orders-api/pod-7`, `${orders.id}:pod-7`])
  t.match(await client(key).send(new GetSessionTokenCommand({})), { Credentials: { AccessKeyId: /^ASIA/ } })
})

t.test('the AWS SDK parses each error', async t => {
  const { client, key, aws, orders, clock } = await sandbox(t)
  const callerIdentity = (credentials: ClientCredentials) =>
    refusal(client(credentials).send(new GetCallerIdentityCommand({})))
  const session = aws.assumeRole(orders, 'pod-7', 0)
  t.match(await callerIdentity({ ...key, secretAccessKey: 'wrong' }), { name: 'SignatureDoesNotMatch' })
  t.match(await callerIdentity({ ...key, accessKeyId: 'AKIAQAAAAAAAAAAAAAAA' }), { name: 'InvalidClientTokenId' })
  // The SDK has another name for the ExpiredToken of STS.
  t.match(await callerIdentity(session), { name: /^ExpiredToken/, message: /is expired/ })
  const bob = aws.createAccessKey(aws.createUser({ account, name: 'bob' }))
  const assume = new AssumeRoleCommand({ RoleArn: orders.arn, RoleSessionName: 'pod-7' })
  t.match(await refusal(client(bob).send(assume)), { name: 'AccessDenied', message: /not authorized to perform/ })
  clock.now += 20 * 60_000
  t.match(await callerIdentity(key), { name: 'SignatureDoesNotMatch', message: /^Signature expired: / })
})

t.test('an account above its quota is throttled, another account is not', async t => {
  const { client, key, aws, sts, clock } = await sandbox(t, { quotaPerSecond: 2 })
  const other = aws.createAccessKey(aws.createUser({ account: '210987654321', name: 'alice' }))
  const callerIdentity = (credentials: ClientCredentials) => client(credentials).send(new GetCallerIdentityCommand({}))
  await callerIdentity(key)
  await callerIdentity(key)
  t.match(await refusal(callerIdentity(key)), { name: 'Throttling', message: 'Rate exceeded' })
  t.ok(await callerIdentity(other))
  clock.now += 1000
  t.ok(await callerIdentity(key))
  t.match(sts.calls(), { GetCallerIdentity: 5, throttled: 1 })
})

t.test('throttling is a 400, and the global endpoint has a quota of its own', async t => {
  const { login, key } = await sandbox(t, { quotaPerSecond: 1 })
  const global = { host: 'sts.amazonaws.com' }
  t.equal((await login(key)).status, 200)
  t.match(await login(key), { status: 400, text: '<Code>Throttling</Code>' })
  t.equal((await login(key, global)).status, 200)
  t.equal((await login(key, global)).status, 400)
})

t.test('a bad signature does not count towards the quota', async t => {
  const { login, key } = await sandbox(t, { quotaPerSecond: 1 })
  for (let i = 0; i < 3; i++) t.equal((await login({ ...key, secretAccessKey: 'wrong' })).status, 403)
  t.equal((await login(key)).status, 200)
})

t.test('the request of a login verifies, and with one byte of the nonce altered it does not', async t => {
  const { login, key, aws, orders } = await sandbox(t)
  const name = 'x-mongodb-server-nonce'
  const other = Buffer.alloc(64, 7)
  other[0] = 6
  for (const credentials of [key, aws.assumeRole(orders, 'pod-7')]) {
    t.match(await login(credentials), { status: 200, text: '<Arn>' })
    t.match(await login(credentials, {}, { [name]: other.toString('base64') }), {
      status: 403,
      text: '<Code>SignatureDoesNotMatch</Code>',
    })
  }
})

t.test('a reply has the headers and the format of AWS', async t => {
  const { login, key, alice, clock } = await sandbox(t)
  const { status, headers, text } = await login(key)
  const id = headers['x-amzn-requestid']
  t.match({ status, headers }, { status: 200, headers: { 'content-type': 'text/xml' } })
  t.match(headers['x-amz-sts-extended-request-id'], /^.{20}/)
  t.equal(headers.date, new Date(clock.now).toUTCString())
  t.equal(
    text,
    `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>${alice.arn}</Arn>
    <UserId>${alice.id}</UserId>
    <Account>${account}</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>${id}</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
`,
  )
})

t.test('a client that accepts JSON gets JSON, signed or not', async t => {
  const { login, key, alice } = await sandbox(t)
  const accept = { accept: 'application/json' }
  const good = await login(key, {}, accept)
  t.equal(good.headers['content-type'], 'application/json')
  t.match(JSON.parse(good.text), { GetCallerIdentityResponse: { GetCallerIdentityResult: { Arn: alice.arn } } })
  const bad = await login({ ...key, secretAccessKey: 'wrong' }, { extraHeaders: accept })
  t.equal(bad.status, 403)
  t.match(JSON.parse(bad.text), { Error: { Code: 'SignatureDoesNotMatch', Type: 'Sender' }, RequestId: /-/ })
})

t.test('an unknown path is 404 and an unknown action is InvalidAction, before the signature is verified', async t => {
  const { sts } = await sandbox(t)
  t.match(await send(sts.port, 'POST', '/x', {}, BODY), { status: 404, text: 'UnknownOperationException' })
  t.match(await send(sts.port, 'POST', '/', {}, 'Action=Nothing&Version=2011-06-15'), {
    status: 400,
    text: '<Code>InvalidAction</Code>',
  })
  t.match(await send(sts.port, 'POST', '/', {}, 'Action=GetCallerIdentity'), {
    text: '<Code>InvalidAction</Code>',
  })
  t.match(await send(sts.port, 'POST', '/', {}, ''), { status: 400, text: '<Code>MissingAction</Code>' })
  t.match(await send(sts.port, 'POST', '/', {}, BODY), { status: 403, text: 'MissingAuthenticationToken' })
})

t.test('an action can be in the query, and the first of duplicate parameters counts', async t => {
  const { sts } = await sandbox(t)
  const errorCode = (method: string, path: string, body = '') =>
    send(sts.port, method, path, {}, body).then(({ text }) => /<Code>(\w+)/.exec(text)?.[1])
  t.equal(await errorCode('GET', `/?${BODY}`), 'MissingAuthenticationToken')
  t.equal(await errorCode('POST', '/', `${BODY}&Action=Nothing&Other=1`), 'MissingAuthenticationToken')
  t.equal(await errorCode('POST', '/', `Action=Nothing&${BODY}`), 'InvalidAction')
  t.equal(await errorCode('POST', '/?Action=Nothing', BODY), 'MissingAuthenticationToken')
})

t.test('the call counts are reported byte for byte, and reading them is not counted', async t => {
  const { login, sts, client, key, orders } = await sandbox(t)
  const calls = () => send(sts.port, 'GET', '/sandbox/calls', {})
  t.equal(
    (await calls()).text,
    '{"GetCallerIdentity":0,"AssumeRole":0,"GetSessionToken":0,"AssumeRoleWithWebIdentity":0,"unsigned":0,"throttled":0}',
  )
  await login(key)
  await login({ ...key, secretAccessKey: 'wrong' })
  await client(key).send(new AssumeRoleCommand({ RoleArn: orders.arn, RoleSessionName: 'pod-7' }))
  await send(sts.port, 'POST', '/', {}, 'Action=throttled&Version=2011-06-15')
  const { status, headers, text } = await calls()
  t.equal(
    text,
    '{"GetCallerIdentity":2,"AssumeRole":1,"GetSessionToken":0,"AssumeRoleWithWebIdentity":0,"unsigned":1,"throttled":0}',
  )
  t.match({ status, headers }, { status: 200, headers: { 'content-type': 'application/json' } })
  t.same(sts.calls(), JSON.parse(text))
})

t.test('a request that is too large is rejected with an empty 413', async t => {
  const { sts, login, key } = await sandbox(t)
  const answerTo = (head: string, body = '') =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(sts.port, '127.0.0.1', () => socket.write(`${head}\r\n\r\n${body}`))
      let text = ''
      socket.on('data', chunk => {
        text += chunk
      })
      socket.on('error', reject)
      socket.on('end', () => {
        socket.destroy()
        resolve(text)
      })
    })
  const empty = 'HTTP/1.1 413 Request Entity Too Large\r\n\r\n'
  t.equal(await answerTo('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000', 'x'.repeat(70_000)), empty)
  t.equal(await answerTo(`POST / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}`), empty)
  t.match(await answerTo('hello'), /^HTTP\/1.1 400 /)
  t.equal((await login(key)).status, 200)
})

t.test('a reply is delayed by the configured latency', async t => {
  const waits: number[] = []
  const { login, key } = await sandbox(t, {
    latencyMS: 30,
    wait: async ms => {
      waits.push(ms)
    },
  })
  t.equal((await login(key)).status, 200)
  t.equal((await login({ ...key, secretAccessKey: 'wrong' })).status, 403)
  t.same(waits, [30, 30])
})

t.test('a further host name stands for its configured region', async t => {
  const { login, key } = await sandbox(t, { names: new Map([['my-sts', 'us-east-1']]) })
  t.equal((await login(key, { host: 'my-sts' })).status, 200)
  t.match(await login(key, { host: 'other-sts' }), { status: 403, text: 'valid region' })
})

t.test('an injected fault takes over calls, which are counted, until it is removed', async t => {
  const { login, key, sts } = await sandbox(t)
  sts.injectFault(stsFailures.forbiddenPage)
  t.match(await login(key), { status: 403, headers: { 'content-type': 'text/html' } })
  sts.injectFault(stsFailures.internalFailure)
  t.equal((await login(key)).status, 500)
  sts.injectFault(stsFailures.garbage)
  t.match(await login(key), { status: 200, text: /<Arn>arn:aws:$/ })
  sts.injectFault(stsFailures.tooLarge)
  t.match(await login(key), { status: 413, text: '' })
  for (const how of [stsFailures.reset, stsFailures.breakOff]) {
    sts.injectFault(how)
    t.match(await refusal(login(key)), { message: /hang up|ECONNRESET|aborted/ })
  }
  sts.injectFault(failFirstCalls(1, stsFailures.unavailable))
  t.equal((await login(key)).status, 503)
  t.equal((await login(key)).status, 200)
  sts.injectFault(undefined)
  t.equal((await login(key)).status, 200)
  t.equal(sts.calls().GetCallerIdentity, 9)
})

t.test('a hanging call ends when the server closes', async t => {
  const { login, key, sts } = await sandbox(t)
  const received = new Promise<void>(resolve => sts.injectFault(() => resolve()))
  const answer = refusal(login(key))
  await received
  await sts.close()
  t.match(await answer, { message: /hang up|ECONNRESET/ })
})

t.test('a port in use is an error', async t => {
  const { sts, aws } = await sandbox(t)
  t.equal((await errorOfAsync(() => startSts({ iam: aws, port: sts.port })))?.code, 'addressInUse')
})
