import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import t from 'tap'
import {
  BODY,
  type ClientCredentials,
  type SigningOptions,
  signClientFinal,
  stsHeaders,
} from '../../../test/support/signingClient.js'
import {
  type Authorization,
  collectHeaders,
  formatAmzDate,
  parseAmzDate,
  parseAuthorization,
  type ReceivedRequest,
  verifySignature,
} from '../../src/aws/signature.js'

const credentials = { accessKeyId: 'AKIAQAAAAAAAAAAAAAAA', secretAccessKey: 'a secret' }
const date = new Date('2026-01-02T03:04:05Z')
const signing: SigningOptions = { nonce: Buffer.alloc(64, 7), host: 'sts.eu-west-1.amazonaws.com', date }

/** The request of a login as received. `lines` are changed or added headers. */
async function received(options: Partial<SigningOptions> = {}, lines: string[] = [], body = BODY, query = '') {
  const all = { ...signing, ...options }
  const final = await signClientFinal(credentials, all)
  const headers = collectHeaders([...Object.entries(stsHeaders(final, all)).flat(), ...lines])
  const request: ReceivedRequest = {
    method: 'POST',
    path: '/',
    query: new URLSearchParams(query),
    headers,
    body: Buffer.from(body),
  }
  return { request, claim: parseAuthorization(final.a) as Authorization }
}
const good = async ({ request, claim }: { request: ReceivedRequest; claim: Authorization }) =>
  verifySignature(claim, request, credentials.secretAccessKey, date.getTime())

t.test('the signature of a driver verifies with its own secret only', async t => {
  const { request, claim } = await received()
  t.ok(await verifySignature(claim, request, 'a secret', date.getTime()))
  t.notOk(await verifySignature(claim, request, 'another', date.getTime()))
})

t.test('a signature covers every listed header, the body, the method and the query', async t => {
  const { request, claim } = await received()
  for (const name of claim.signedHeaders.split(';')) {
    if (name === 'x-amz-date') continue // it is compared as the date
    const headers = new Map(request.headers)
    headers.set(name, `${headers.get(name)}x`)
    t.notOk(await good({ request: { ...request, headers }, claim }), `${name} altered`)
    headers.delete(name)
    t.notOk(await good({ request: { ...request, headers }, claim }), `${name} left out`)
  }
  t.notOk(await good({ request: { ...request, body: Buffer.from(`${BODY}x`) }, claim }))
  t.notOk(await good({ request: { ...request, method: 'GET' }, claim }))
  t.notOk(await good({ request: { ...request, query: new URLSearchParams('a=b') }, claim }))
  t.notOk(await verifySignature(claim, request, credentials.secretAccessKey, date.getTime() + 1000))
})

t.test('a signature does not cover an unlisted header', async t => {
  const name = 'x-mongodb-server-nonce'
  t.ok(await good(await received({ signedHeadersWithout: [name] }, [name, 'another value'])))
  t.ok(await good(await received({ signedHeadersWithout: ['x-amz-date'] })))
  t.notOk(await good(await received({}, [name, 'another value'])))
})

t.test('each part of the header is verified except the key id, which selects the secret', async t => {
  const { request, claim } = await received()
  const { signedHeaders, signature } = claim
  for (const change of [
    { day: '20260103' },
    { region: 'eu-west-2' },
    { service: 's3' },
    { terminator: 'aws4' },
    { signedHeaders: `${signedHeaders};${signedHeaders.split(';').at(-1)}` },
    { signedHeaders: signedHeaders.split(';').reverse().join(';') },
    { signedHeaders: signedHeaders.toUpperCase() },
    { signedHeaders: `date;${signedHeaders}` },
    { signedHeaders: `authorization;${signedHeaders}` },
    { signature: signature.slice(1) },
    { signature: signature.toUpperCase() },
  ]) {
    t.notOk(await good({ request, claim: { ...claim, ...change } }), JSON.stringify(change))
  }
})

t.test('surrounding and repeated spaces in a header value are ignored', async t => {
  const options = { extraHeaders: { 'x-amz-meta': 'one two' } }
  const { request, claim } = await received(options)
  const headers = new Map(request.headers)
  for (const [value, verified] of [
    ['one  \t two', true],
    ['onetwo', false],
  ] as const) {
    headers.set('x-amz-meta', value)
    t.equal(await good({ request: { ...request, headers }, claim }), verified, value)
  }
  t.equal(collectHeaders(['X-Amz-Meta', '  one ']).get('x-amz-meta'), 'one')
})

t.test('header lines of the same name are joined in order', async t => {
  t.equal(collectHeaders(['X-A', 'one ', 'x-b', '-', 'x-a', ' two']).get('x-a'), 'one,two')
  const { request, claim } = await received({ extraHeaders: { 'x-a': 'one,two' } })
  const lines = (...values: string[]) => {
    const headers = new Map(request.headers)
    headers.delete('x-a')
    return new Map([...headers, ...collectHeaders(values.flatMap(value => ['x-a', value]))])
  }
  t.ok(await good({ request: { ...request, headers: lines('one', 'two') }, claim }))
  t.notOk(await good({ request: { ...request, headers: lines('two', 'one') }, claim }))
})

t.test('a header that is listed but was not signed does not verify, even if signers usually omit it', async t => {
  const claim = (await received()).claim
  t.match(
    claim.signedHeaders,
    /^content-length;content-type;host;x-amz-date;x-mongodb-gs2-cb-flag;x-mongodb-server-nonce$/,
  )
  // The signature does not cover user-agent, so a header that lists it must not verify.
  const { request } = await received({}, ['user-agent', 'me'])
  const listed = claim.signedHeaders.replace('x-amz-date', 'user-agent;x-amz-date')
  t.notOk(await good({ request, claim: { ...claim, signedHeaders: listed } }))
})

t.test('a declared hash of the body is verified', async t => {
  const hash = (text: string) => createHash('sha256').update(text).digest('hex')
  const declared = { extraHeaders: { 'x-amz-content-sha256': hash(BODY) } }
  t.ok(await good(await received(declared)))
  t.notOk(await good(await received(declared, [], BODY.replace('Get', 'Set'))))
})

t.test('an Authorization header is parsed in any order and spacing of its parts', async t => {
  const claim = {
    accessKeyId: 'AKIA',
    day: '20260102',
    region: 'eu-west-1',
    service: 'sts',
    terminator: 'aws4_request',
    signedHeaders: 'host;x-amz-date',
    signature: 'ab',
  }
  const [credential, headers, signature] = [
    'Credential=AKIA/20260102/eu-west-1/sts/aws4_request',
    'SignedHeaders=host;x-amz-date',
    'Signature=ab',
  ]
  t.same(parseAuthorization(`AWS4-HMAC-SHA256 ${credential}, ${headers}, ${signature}`), claim)
  t.same(parseAuthorization(`AWS4-HMAC-SHA256 ${signature},${credential},  ${headers}`), claim)
})

t.test('missing and duplicate parts of the header are reported', async t => {
  for (const [text, sentence] of [
    ['Bearer abc', /'algorithm'/],
    ['AWS4-HMAC-SHA256', /key=value/],
    ['AWS4-HMAC-SHA256 Signature=ab', /requires 'Credential' parameter\. .*requires 'SignedHeaders' parameter\.$/],
    ['AWS4-HMAC-SHA256 Signature=ab, Signature=cd', /key=value/],
    ['AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=ab', /5 slash-delimited/],
  ] as const) {
    t.match(parseAuthorization(text), sentence, text)
  }
})

t.test('a date must exist in the calendar', async t => {
  t.equal(parseAmzDate('20260102T030405Z'), date.getTime())
  t.equal(formatAmzDate(date.getTime()), '20260102T030405Z')
  for (const text of [
    '',
    '20260230T000000Z',
    '20261301T000000Z',
    '2026-01-02T03:04:05Z',
    '20260102T030405',
    '20260102T250000Z',
  ]) {
    t.equal(parseAmzDate(text), undefined, text)
  }
})

t.test(
  'the signer of the Node driver, which shares no code with ours, writes what the signing client writes',
  async t => {
    type Signer = (request: object, credentials: ClientCredentials) => Promise<{ Authorization: string }>
    const { aws4Sign }: { aws4Sign: Signer } = createRequire(import.meta.url)('mongodb/lib/cmap/auth/aws4.js')
    for (const given of [credentials, { ...credentials, sessionToken: 'a+token/==' }]) {
      const { Authorization } = await aws4Sign(
        {
          method: 'POST',
          path: '/',
          host: signing.host,
          region: 'eu-west-1',
          service: 'sts',
          date,
          body: BODY,
          headers: {
            'Content-Type': 'application/x-www-form-urlencoded',
            'Content-Length': BODY.length,
            'X-MongoDB-Server-Nonce': Buffer.from(signing.nonce).toString('base64'),
            'X-MongoDB-GS2-CB-Flag': 'n',
          },
        },
        given,
      )
      t.equal((await signClientFinal(given, signing)).a, Authorization)
    }
  },
)
