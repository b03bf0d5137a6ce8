import { createHash, createHmac } from 'node:crypto'
import { SignatureV4 } from '@smithy/signature-v4'
import fc from 'fast-check'
import t from 'tap'
import { buildRequest, signingRegion, validateProof } from '../../src/identity/proof.js'
import type { ProofFields } from '../../src/sasl/aws.js'
import { faultOf } from '../support/faults.js'
import { alice, type Credentials, challenge, date, orders, signAsDriver } from '../support/proofs.js'

const MINUTE = 60_000
const later = (ms: number) => new Date(date.getTime() + ms)
const byAlice = await signAsDriver(alice)
const byOrders = await signAsDriver(orders)
const fault = (fields: ProofFields, now = date) => faultOf(() => validateProof(fields, challenge, now))

/** Fields with a part of the authorization replaced. */
const edited = (from: ProofFields, find: string | RegExp, put: string): ProofFields => {
  const a = from.a.replace(find, put)
  if (a === from.a) throw new Error(`nothing to replace: ${find}`)
  return { ...from, a }
}

class Sha256 {
  #hash
  constructor(key?: string | ArrayBuffer | ArrayBufferView) {
    this.#hash = key === undefined ? createHash('sha256') : createHmac('sha256', key as string)
  }
  update(data: string | Uint8Array) {
    this.#hash.update(data)
  }
  async digest() {
    return new Uint8Array(this.#hash.digest())
  }
  reset() {}
}

/** Signs the headers of a request as they are, with another signer than the driver's. */
async function resign(credentials: Credentials, headers: Record<string, string>, body: string): Promise<unknown> {
  const signer = new SignatureV4({
    service: 'sts',
    region: 'eu-west-1',
    credentials,
    sha256: Sha256,
    applyChecksum: false,
  })
  const { Authorization, ...rest } = Object.fromEntries(Object.entries(headers))
  const request = { method: 'POST', protocol: 'https:', hostname: challenge.host, path: '/', headers: rest, body }
  const signed = await signer.sign(request, { signingDate: date })
  return signed.headers.authorization
}

t.test('the rebuilt request is the one that the driver signed', async t => {
  for (const [credentials, fields] of [
    [alice, byAlice],
    [orders, byOrders],
  ] as const) {
    const proof = validateProof(fields, challenge, date)
    t.match(proof, { accessKeyId: credentials.accessKeyId, date: '20260813T120000Z', region: 'eu-west-1', challenge })
    t.equal(proof.token?.reveal(), credentials.sessionToken)
    const { headers, body } = buildRequest(proof)
    t.same(headers, {
      Host: 'sts.eu-west-1.amazonaws.com',
      'Content-Type': 'application/x-www-form-urlencoded',
      'Content-Length': '43',
      'X-Amz-Date': '20260813T120000Z',
      ...(credentials.sessionToken && { 'X-Amz-Security-Token': credentials.sessionToken }),
      'X-MongoDB-Server-Nonce': challenge.nonce.toString('base64'),
      'X-MongoDB-GS2-CB-Flag': 'n',
      Authorization: fields.a,
    })
    t.equal(body, 'Action=GetCallerIdentity&Version=2011-06-15')
    t.equal(headers.Authorization, await resign(credentials, headers, body))
  }
})

t.test('a proof does not print secrets', async t => {
  const printed = JSON.stringify({ ...validateProof(byOrders, challenge, date), challenge: undefined })
  t.notMatch(printed, orders.sessionToken as string)
  t.notMatch(printed, byOrders.a.slice(-64))
})

t.test('a signature must cover every header that binds it to this conversation', async t => {
  for (const name of ['content-length', 'content-type', 'host', 'x-amz-date', 'x-mongodb-gs2-cb-flag']) {
    t.match(fault(edited(byAlice, `${name};`, '')), { kind: 'proof/header-unsigned', detail: new RegExp(name) }, name)
  }
  t.equal(fault(edited(byAlice, ';x-mongodb-server-nonce', ''))?.kind, 'proof/header-unsigned')
  t.equal(fault(edited(byOrders, 'x-amz-security-token;', ''))?.kind, 'proof/header-unsigned')
})

t.test('a signature captured at another service is refused as such', async t => {
  const elsewhere = edited(byAlice, /SignedHeaders=[^,]+/, 'SignedHeaders=content-length;content-type;host;x-amz-date')
  t.equal(fault(elsewhere)?.kind, 'proof/header-unsigned')
  const vault = 'SignedHeaders=content-length;content-type;host;x-amz-date;x-vault-aws-iam-server-id'
  t.equal(fault(edited(byAlice, /SignedHeaders=[^,]+/, vault))?.kind, 'proof/header-unsigned')
})

t.test('unknown, duplicate, unordered or uppercase header names are refused', async t => {
  for (const [find, put] of [
    ['x-amz-date;', 'x-amz-date;x-amz-security-token;'],
    ['host;', 'host;user-agent;'],
    ['host;', 'host;host;'],
    ['content-type;host', 'host;content-type'],
    ['x-mongodb-server-nonce', 'X-MongoDB-Server-Nonce'],
    ['x-mongodb-server-nonce', 'x-mongodb-server-nonce;'],
    ['host;', 'host;;'],
  ] as const) {
    t.equal(fault(edited(byAlice, find, put))?.kind, 'proof/malformed', put)
  }
})

t.test('line breaks and other unexpected characters are refused in every field', async t => {
  for (const bad of ['\r\n', '\n', '\r', '\0', '\u2028', '\u0100', ' ', '\t', '\x7f', '\x85']) {
    const name = Buffer.from(bad).toString('hex')
    t.equal(fault({ ...byAlice, a: `${byAlice.a}${bad}` })?.kind, 'proof/malformed', `a ends with ${name}`)
    t.equal(fault({ ...byAlice, a: `${bad}${byAlice.a}` })?.kind, 'proof/malformed', `a starts with ${name}`)
    t.equal(fault({ ...byAlice, d: `${byAlice.d}${bad}` })?.kind, 'proof/malformed', `d ends with ${name}`)
    t.equal(fault({ ...byOrders, t: `${byOrders.t}${bad}` })?.kind, 'proof/malformed', `t ends with ${name}`)
    t.equal(fault({ ...byOrders, t: `to${bad}ken` })?.kind, 'proof/malformed', `t contains ${name}`)
  }
  const withHeader = `${byOrders.t}\r\nX-Vault-AWS-IAM-Server-ID: vault.example.com`
  t.equal(fault({ ...byOrders, t: withHeader })?.kind, 'proof/malformed')
  for (const token of ['', 't'.repeat(8193)]) t.equal(fault({ ...byOrders, t: token })?.kind, 'proof/malformed')
})

t.test('an authorization that two parsers could read differently is refused', async t => {
  const credential = /Credential=[^,]+/.exec(byAlice.a)?.[0] ?? ''
  const signature = byAlice.a.slice(-64)
  for (const [find, put] of [
    [credential, `${credential}, ${credential}`],
    [credential, `${credential}, ${credential.replace('AKIASP2', 'AKIAXX2')}`],
    ['SignedHeaders=', 'SignedHeaders=host, SignedHeaders='],
    [`Signature=${signature}`, `Signature=${signature}, Signature=${'0'.repeat(64)}`],
    ['Credential=', 'credential='],
    ['Credential=', 'Credential ='],
    ['AWS4-HMAC-SHA256 ', 'AWS4-HMAC-SHA256  '],
    ['AWS4-HMAC-SHA256', 'aws4-hmac-sha256'],
    ['AWS4-HMAC-SHA256', 'AWS4-ECDSA-P256-SHA256'],
    [', SignedHeaders', ' SignedHeaders'],
    [', SignedHeaders', ',\tSignedHeaders'],
    [', SignedHeaders', ' , SignedHeaders'],
    ['aws4_request', 'aws4_request/x'],
    ['/aws4_request', ''],
    [signature, signature.toUpperCase()],
    [signature, signature.slice(1)],
    [signature, `${signature}0`],
    ['AKIASP2TPHJSQH3FJXYZ', 'AKIASP2/TPHJSQH3FJXYZ'],
    ['AKIASP2TPHJSQH3FJXYZ', 'AKIASP2'],
  ] as const) {
    t.equal(fault(edited(byAlice, find, put))?.kind, 'proof/malformed', put)
  }
  const swapped = byAlice.a.replace(/(Credential=.+), (SignedHeaders=.+), /, '$2, $1, ')
  t.equal(fault({ ...byAlice, a: swapped })?.kind, 'proof/malformed')
  t.equal(fault({ ...byAlice, a: '' })?.kind, 'proof/malformed')
})

t.test('any number of spaces may follow a comma, and the rebuilt header has one', async t => {
  for (const comma of [',', ',   ']) {
    const proof = validateProof({ ...byAlice, a: byAlice.a.replaceAll(', ', comma) }, challenge, date)
    t.equal(buildRequest(proof).headers.Authorization, byAlice.a)
  }
})

t.test('a credential scope with another region, service or day is refused', async t => {
  for (const [find, put] of [
    ['/eu-west-1/', '/us-east-1/'],
    ['/sts/', '/s3/'],
    ['/20260813/', '/20260812/'],
  ] as const) {
    t.match(
      fault(edited(byAlice, find, put)),
      { kind: 'proof/scope-mismatch', detail: /expected 20260813\/eu-west-1\/sts/ },
      put,
    )
  }
  const elsewhere = await signAsDriver(alice, { ...challenge, host: 'sts.us-west-2.amazonaws.com' })
  t.equal(fault(elsewhere)?.kind, 'proof/scope-mismatch')
})

t.test('the date of a signature may differ from now by fifteen minutes', async t => {
  for (const ms of [-15 * MINUTE, -1, 0, 15 * MINUTE]) t.equal(fault(byAlice, later(ms)), undefined, `${ms}`)
  for (const ms of [-15 * MINUTE - 1, 15 * MINUTE + 1, 24 * 60 * MINUTE]) {
    t.match(fault(byAlice, later(ms)), {
      kind: 'proof/clock-skew',
      detail: /signed at 2026-08-13T12:00:00.000Z/,
      facts: { signed: '2026-08-13T12:00:00.000Z', now: later(ms).toISOString() },
    })
  }
})

t.test('a date must have the basic ISO 8601 form and exist', async t => {
  for (const d of [
    '',
    '20260813T120000',
    '2026-08-13T12:00:00Z',
    '20260231T120000Z',
    '20260813T250000Z',
    '20260813T240000Z',
    '20260813t120000z',
    '20260813T120000+',
    '２0260813T120000Z',
  ]) {
    t.equal(fault({ ...byAlice, d })?.kind, 'proof/malformed', d)
  }
})

t.test('temporary keys require a session token, and long-term keys must not have one', async t => {
  const withoutToken = await signAsDriver({ accessKeyId: orders.accessKeyId, secretAccessKey: 'x' })
  t.match(fault(withoutToken), { kind: 'proof/malformed', detail: /ASIAY34FZKBOKMUTVV7A.+session token/ })
  const withToken = await signAsDriver({ ...alice, sessionToken: 'token' })
  t.match(fault(withToken), { kind: 'proof/malformed', detail: /no session token/ })
  const old = { accessKeyId: '0PN5J17HBGZHT7JJ3X82', secretAccessKey: 'x' }
  t.equal(fault(await signAsDriver(old)), undefined, 'old keys have neither prefix')
})

t.test('no fault contains a secret', async t => {
  const token = orders.sessionToken as string
  for (const wrong of [
    edited(byOrders, '/eu-west-1/', '/us-east-1/'),
    edited(byOrders, 'host;', ''),
    edited(byOrders, 'host;', 'host;host;'),
    { ...byOrders, d: '19700101T000000Z' },
    { ...byOrders, t: `${token} ` },
    { ...byOrders, a: `${byOrders.a} ` },
  ]) {
    const thrown = fault(wrong)
    const text = `${thrown?.message} ${JSON.stringify(thrown?.facts)}`
    t.notOk(text.includes(token) || text.includes(byOrders.a.slice(-64)), thrown?.message ?? 'nothing thrown')
  }
})

t.test('any input is either refused with a fault or sent as printable ASCII', async t => {
  const mutated = (text: string) =>
    fc
      .tuple(fc.nat(text.length), fc.nat(3), fc.string({ unit: 'binary', maxLength: 4 }))
      .map(([at, cut, put]) => text.slice(0, at) + put + text.slice(at + cut))
  const fields = fc.record({ a: mutated(byOrders.a), d: mutated(byOrders.d), t: mutated(byOrders.t as string) })
  const kinds = ['proof/malformed', 'proof/header-unsigned', 'proof/scope-mismatch', 'proof/clock-skew']
  const property = fc.property(fields, given => {
    const thrown = fault(given)
    if (thrown) return kinds.includes(thrown.kind)
    const { headers } = buildRequest(validateProof(given, challenge, date))
    return Object.values(headers).every(value => /^[\x20-\x7e]+$/.test(value)) && headers.Host === challenge.host
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 500 }))
})

t.test('the region of a host is the region that drivers sign for', async t => {
  for (const [host, region] of [
    ['sts.amazonaws.com', 'us-east-1'],
    ['sts.us-west-2.amazonaws.com', 'us-west-2'],
    ['sts-fips.us-east-1.amazonaws.com', 'us-east-1'],
    ['sts.cn-north-1.amazonaws.com.cn', 'cn-north-1'],
    ['localhost', 'us-east-1'],
    ['localhost:8443', 'us-east-1'],
    ['127.0.0.1', '0'],
    ['vpce-xyz.sts.us-east-1.vpce.amazonaws.com', 'sts'],
  ] as const) {
    t.equal(signingRegion(host), region, host)
  }
})

t.test('credentials that were damaged on their way are refused with the remedy', async t => {
  const withToken = async (sessionToken: string) => fault(await signAsDriver({ ...orders, sessionToken }))
  t.match(await withToken('FwoGZXIvYXdzEA//token =='), {
    kind: 'proof/malformed',
    message: /the session token contains a blank, which was probably a \+; in a connection string, write \+ as %2B/,
    facts: { accessKeyId: orders.accessKeyId },
  })
  t.match(await withToken('FwoGZXIvYXdzEA//token+==\n'), {
    message: /the session token begins or ends with a line break/,
  })
  t.match(fault(edited(byAlice, alice.accessKeyId, `${alice.accessKeyId} `)), {
    kind: 'proof/malformed',
    message: /the access key id begins or ends with a blank; remove it$/,
  })
})
