import { randomBytes } from 'node:crypto'
import { Binary, BSONSymbol, type Document, Double, deserialize, Int32, Long, serialize } from 'bson'
import t from 'tap'
import { createChallenge, parseClientFinal } from '../../src/sasl/aws.js'
import { faultOf } from '../support/faults.js'

const HOST = 'sts.eu-west-1.amazonaws.com'
const bson = (document: Document, options = {}) => Buffer.from(serialize(document, options))
const r = new Binary(Buffer.alloc(32, 7))
const p = new Int32(110)
const random = Buffer.alloc(32, 9)

t.test('the server extends the client nonce with 32 bytes and offers the host', async t => {
  for (const first of [
    { r, p },
    { p, r },
  ]) {
    const answer = createChallenge(bson(first), HOST, random)
    const nonce = Buffer.concat([Buffer.alloc(32, 7), random])
    t.same(answer.challenge, { nonce, host: HOST })
    const reply = deserialize(answer.payload, { promoteValues: false })
    t.same(Object.keys(reply), ['s', 'h'])
    t.equal(reply.s.sub_type, 0)
    t.same(Buffer.from(reply.s.buffer), nonce)
    t.equal(reply.h, HOST)
  }
})

t.test('a client nonce of another length or type is refused', async t => {
  const invalid: Document[] = [
    ...[0, 31, 33, 64, 65].map(length => ({ r: new Binary(Buffer.alloc(length)), p })),
    { r: new Binary(Buffer.alloc(32), 2), p },
    { r: new Binary(Buffer.alloc(16), 4), p },
    { r: 'x'.repeat(32), p },
    { r: null, p },
    { p },
  ]
  for (const document of invalid)
    t.equal(faultOf(() => createChallenge(bson(document), HOST, random))?.kind, 'sasl/payload-invalid')
})

t.test('the server part of the nonce always has 32 bytes', async t => {
  for (const length of [0, 31, 33]) {
    t.equal(faultOf(() => createChallenge(bson({ r, p }), HOST, Buffer.alloc(length)))?.kind, 'internal')
  }
})

t.test('a channel binding flag other than int32 110 is refused', async t => {
  for (const flag of [10, 13, 121, 0, -110].map(value => new Int32(value))) {
    t.equal(
      faultOf(() => createChallenge(bson({ r, p: flag }), HOST, random))?.kind,
      'sasl/payload-invalid',
      `${flag.value}`,
    )
  }
  for (const flag of [new Double(110), Long.fromNumber(110), 'n', true, null]) {
    t.equal(faultOf(() => createChallenge(bson({ r, p: flag }), HOST, random))?.kind, 'sasl/payload-invalid')
  }
  t.equal(faultOf(() => createChallenge(bson({ r }), HOST, random))?.kind, 'sasl/payload-invalid')
})

t.test('a host that no driver accepts is an internal fault', async t => {
  for (const host of ['', 'h'.repeat(256)]) {
    t.equal(faultOf(() => createChallenge(bson({ r, p }), host, random))?.kind, 'internal')
  }
})

t.test('unknown fields are refused', async t => {
  t.match(
    faultOf(() => createChallenge(bson({ r, p, x: 1 }), HOST, random)),
    { kind: 'sasl/payload-invalid', facts: { unknownFields: ['x'] } },
  )
  t.equal(faultOf(() => createChallenge(bson({ ['__proto__']: 1, r, p }), HOST, random))?.kind, 'sasl/payload-invalid')
  for (const extra of ['p', 'c', 'o', 'A']) {
    t.equal(
      faultOf(() => parseClientFinal(bson({ a: 'a', d: 'd', [extra]: 'x' })))?.kind,
      'sasl/payload-invalid',
      extra,
    )
  }
})

t.test('a payload that is not exactly one document is refused', async t => {
  const whole = bson({ r, p })
  const twice = bson({ a: 'a', d: 'd', x: 'd' })
  twice[twice.lastIndexOf('x')] = 'd'.charCodeAt(0)
  for (const payload of [
    Buffer.alloc(0),
    whole.subarray(0, -1),
    Buffer.concat([whole, Buffer.of(0)]),
    Buffer.from('{"r":1}'),
    twice,
    randomBytes(52),
  ]) {
    t.equal(faultOf(() => createChallenge(payload, HOST, random))?.kind, 'sasl/payload-invalid')
    t.equal(faultOf(() => parseClientFinal(payload))?.kind, 'sasl/payload-invalid')
  }
})

t.test('the fields of client-final may have any order, with a token or without', async t => {
  t.same(parseClientFinal(bson({ a: 'A', d: 'D' })), { a: 'A', d: 'D', t: undefined })
  t.same(parseClientFinal(bson({ t: 'T', d: 'D', a: 'A' })), { a: 'A', d: 'D', t: 'T' })
  t.same(parseClientFinal(bson({ a: 'A', d: 'D', t: null })), { a: 'A', d: 'D', t: undefined })
  t.same(parseClientFinal(bson({ a: 'A', d: 'D', t: '' })), { a: 'A', d: 'D', t: undefined })
})

t.test('client-final with a missing, mistyped or too long field is refused', async t => {
  const invalid: Document[] = [
    { a: 'A' },
    { d: 'D' },
    { a: 1, d: 'D' },
    { a: new BSONSymbol('A'), d: 'D' },
    { a: 'A', d: new Date(0) },
    { a: 'A', d: 'D', t: 0 },
    { a: 'A', d: 'D', t: ['x'] },
    { a: 'a'.repeat(1025), d: 'D' },
    { a: 'A', d: 'd'.repeat(17) },
    { a: 'A', d: 'D', t: 't'.repeat(8193) },
  ]
  for (const document of invalid) t.equal(faultOf(() => parseClientFinal(bson(document)))?.kind, 'sasl/payload-invalid')
  const undefinedToken = bson({ a: 'A', d: 'D', t: undefined }, { ignoreUndefined: false })
  t.same(parseClientFinal(undefinedToken).t, undefined, 'some drivers write null for undefined')
})
