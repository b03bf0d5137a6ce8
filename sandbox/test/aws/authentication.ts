import { randomBytes } from 'node:crypto'
import t from 'tap'
import {
  BODY,
  type ClientCredentials,
  type SigningOptions,
  signClientFinal,
  stsHeaders,
} from '../../../test/support/signingClient.js'
import { authenticate } from '../../src/aws/authentication.js'
import { createIam } from '../../src/aws/iam.js'
import { collectHeaders } from '../../src/aws/signature.js'

const start = Date.parse('2026-01-02T03:04:05Z')
const minutes = (count: number) => count * 60_000
let now = start
const aws = createIam({ random: randomBytes, now: () => now })
const account = '123456789012'
const alice = aws.createUser({ account, name: 'alice' })
const key = aws.createAccessKey(alice)
const role = aws.createRole({ account, name: 'app' })
const session = aws.assumeRole(role, 'pod-1')

t.beforeEach(() => {
  now = start
})

/** The error or the caller of a login's request. `change` modifies the headers after signing. */
async function ask(
  credentials: ClientCredentials,
  options: Partial<SigningOptions> = {},
  change: Record<string, string> = {},
) {
  const nonce = Buffer.alloc(64, 7)
  const signing: SigningOptions = { nonce, host: 'sts.eu-west-1.amazonaws.com', date: new Date(start), ...options }
  const headers = { ...stsHeaders(await signClientFinal(credentials, signing), signing), ...change }
  const nonEmpty = Object.entries(headers).filter(([, value]) => value !== '')
  return authenticate(
    {
      method: 'POST',
      path: '/',
      query: new URLSearchParams(),
      headers: collectHeaders(nonEmpty.flat()),
      body: Buffer.from(signing.body ?? BODY),
    },
    aws,
    now,
    new Map(),
  )
}

t.test('GetCallerIdentity describes a user and a role session', async t => {
  t.match(await ask(key), { caller: { arn: alice.arn }, endpoint: 'eu-west-1' })
  t.match(await ask(session), { caller: session.caller, endpoint: 'eu-west-1' })
})

t.test('a changed byte of the nonce fails the verification', async t => {
  const other = Buffer.alloc(64, 7)
  other[63] = 8
  const change = { 'x-mongodb-server-nonce': other.toString('base64') }
  t.match(await ask(key, {}, change), {
    code: 'SignatureDoesNotMatch',
    message: /^The request signature we calculated/,
  })
  t.match(await ask(key, { nonce: other }, change), { caller: { arn: alice.arn } })
})

t.test('STS does not require that the nonce is signed', async t => {
  const name = 'x-mongodb-server-nonce'
  t.match(await ask(key, { signedHeadersWithout: [name] }, { [name]: 'anything' }), { caller: { arn: alice.arn } })
})

t.test('a missing or incomplete signature and a missing date have their own errors', async t => {
  t.match(await ask(key, {}, { authorization: '' }), { code: 'MissingAuthenticationToken' })
  const half = 'AWS4-HMAC-SHA256 Signature=ab'
  t.match(await ask(key, {}, { authorization: half }), {
    code: 'IncompleteSignature',
    message: new RegExp(`Authorization=${half}$`),
  })
  t.match(await ask(key, {}, { 'x-amz-date': '' }), { code: 'IncompleteSignature', message: /existence of either/ })
  t.match(await ask(key, {}, { 'x-amz-date': 'today' }), { code: 'IncompleteSignature', message: /ISO-8601/ })
})

t.test('the scope is checked first: region, then service, then terminator', async t => {
  const unknownKey = { accessKeyId: 'AKIAQAAAAAAAAAAAAAAA', secretAccessKey: 'x' }
  t.match(await ask(unknownKey, { region: 'us-east-1', service: 's3' }), {
    code: 'SignatureDoesNotMatch',
    message: /scoped to a valid region/,
  })
  t.match(await ask(unknownKey, { service: 's3' }), {
    code: 'SignatureDoesNotMatch',
    message: /scoped to correct service: 'sts'/,
  })
  const authorization = (await signClientFinal(key, { nonce: Buffer.alloc(64), host: 'sts.eu-west-1.amazonaws.com' })).a
  t.match(await ask(unknownKey, {}, { authorization: authorization.replace('aws4_request', 'aws5_request') }), {
    code: 'SignatureDoesNotMatch',
    message: /valid terminator/,
  })
})

t.test('a key that is unknown, inactive, of a deleted user or of another partition is invalid', async t => {
  const invalid = { code: 'InvalidClientTokenId', message: 'The security token included in the request is invalid.' }
  t.match(await ask({ accessKeyId: 'AKIAQAAAAAAAAAAAAAAA', secretAccessKey: 'x' }), invalid)
  const bob = aws.createUser({ account, name: 'bob' })
  const [first, second] = [aws.createAccessKey(bob), aws.createAccessKey(bob)]
  aws.deactivateKey(first.accessKeyId)
  t.match(await ask(first), invalid)
  t.match(await ask(second), { caller: { arn: bob.arn } })
  aws.deleteUser(bob)
  t.match(await ask(second), invalid)
  const chinese = aws.createAccessKey(aws.createUser({ account, name: 'chen', partition: 'aws-cn' }))
  t.match(await ask(chinese), invalid)
  t.match(await ask(chinese, { host: 'sts.cn-north-1.amazonaws.com.cn' }), {
    caller: { arn: `arn:aws-cn:iam::${account}:user/chen` },
  })
})

t.test('a token that is missing, of another key, or beside a long-term key is invalid', async t => {
  const { accessKeyId, secretAccessKey } = session
  const { sessionToken } = aws.assumeRole(role, 'pod-2')
  for (const credentials of [
    { accessKeyId, secretAccessKey },
    { accessKeyId, secretAccessKey, sessionToken },
    { ...key, sessionToken },
  ]) {
    t.match(await ask(credentials), { code: 'InvalidClientTokenId' })
  }
})

t.test('key and token are checked before the signature, expiry before the role', async t => {
  const gone = aws.createRole({ account, name: 'gone' })
  const credentials = { ...aws.assumeRole(gone, 'pod-1', 900), secretAccessKey: 'wrong' }
  t.match(await ask(credentials), { code: 'SignatureDoesNotMatch' })
  aws.deleteRole(gone)
  t.match(await ask(credentials), { code: 'InvalidClientTokenId' })
  now = start + minutes(15)
  t.match(await ask(credentials), {
    code: 'ExpiredToken',
    message: 'The security token included in the request is expired',
  })
  aws.createRole({ account, name: 'gone' })
  now = start
  t.match(await ask(credentials), { code: 'InvalidClientTokenId' }, 'a new role of that name does not help')
})

t.test('a signature is valid fifteen minutes before and after its date', async t => {
  for (const [offset, outcome] of [
    [15, { caller: { arn: alice.arn } }],
    [-15, { caller: { arn: alice.arn } }],
    [
      16,
      {
        code: 'SignatureDoesNotMatch',
        message:
          'Signature expired: 20260102T030405Z is now earlier than 20260102T030505Z (20260102T032005Z - 15 min.)',
      },
    ],
    [
      -16,
      {
        code: 'SignatureDoesNotMatch',
        message:
          'Signature not yet current: 20260102T030405Z is still later than 20260102T030305Z (20260102T024805Z + 15 min.)',
      },
    ],
  ] as const) {
    now = start + minutes(offset)
    t.match(await ask(key), outcome, `${offset}`)
  }
})

t.test('the day in the scope must match the date', async t => {
  now = Date.parse('2026-01-03T00:00:00Z')
  const date = new Date(now - 1000)
  t.match(await ask(key, { date }), { caller: { arn: alice.arn } })
  t.match(await ask(key, { date }, { 'x-amz-date': '20260103T000000Z' }), {
    code: 'SignatureDoesNotMatch',
    message: /^Date in Credential scope does not match .*'20260102' != '20260103'/,
  })
})

t.test('the host header must be signed', async t => {
  t.match(await ask(key, { signedHeadersWithout: ['host'] }), { code: 'SignatureDoesNotMatch', message: /'Host'/ })
})

t.test('a session token or date that is not signed is accepted', async t => {
  t.match(await ask(session, { signedHeadersWithout: ['x-amz-security-token'] }), { caller: session.caller })
  t.match(await ask(key, { signedHeadersWithout: ['x-amz-date'] }), { caller: { arn: alice.arn } })
})
