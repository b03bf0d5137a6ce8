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

/** The request of a login as it would be received, with the lines that are given changed or added. */
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

t.test('what a driver signs verifies, with its own secret only', async t => {
  const { request, claim } = await received()
  t.ok(await verifySignature(claim, request, 'a secret', date.getTime()))
  t.notOk(await verifySignature(claim, request, 'another', date.getTime()))
})

t.test('it covers every header that is listed, the body, the method and the query', async t => {
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

t.test('it does not cover a header that is not listed', async t => {
  const name = 'x-mongodb-server-nonce'
  t.ok(await good(await received({ signedHeadersWithout: [name] }, [name, 'of somebody else'])))
  t.ok(await good(await received({ signedHeadersWithout: ['x-amz-date'] })))
  t.notOk(await good(await received({}, [name, 'of somebody else'])))
})

t.test('each part of the claim counts but the key id, which stands for the secret', async t => {
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

t.test('space around a value and runs of it inside do not count', async t => {
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

t.test('lines of one name are joined in their order', async t => {
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

t.test('a header that is listed and was not signed does not verify, though signers leave it out by habit', async t => {
  const claim = (await received()).claim
  t.match(
    claim.signedHeaders,
    /^content-length;content-type;host;x-amz-date;x-mongodb-gs2-cb-flag;x-mongodb-server-nonce$/,
  )
  // No signer here signs user-agent; so a claim that lists it must not verify under the old signature.
  const { request } = await received({}, ['user-agent', 'me'])
  const listed = claim.signedHeaders.replace('x-amz-date', 'user-agent;x-amz-date')
  t.notOk(await good({ request, claim: { ...claim, signedHeaders: listed } }))
})

t.test('a declared hash of the body is not believed', async t => {
  const hash = (text: string) => createHash('sha256').update(text).digest('hex')
  const declared = { extraHeaders: { 'x-amz-content-sha256': hash(BODY) } }
  t.ok(await good(await received(declared)))
  t.notOk(await good(await received(declared, [], BODY.replace('Get', 'Set'))))
})

t.test('a claim is read whatever the order and the spacing of its parts', async t => {
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

t.test('what is missing or twice in a claim is said', async t => {
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

t.test('a date is a moment of the calendar', async t => {
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
