import { createHmac } from 'node:crypto'
import t from 'tap'
import { createOidcIssuer } from '../../../test/support/oidcIssuer.js'
import { isSignedBy, readToken, type Token } from '../../src/aws/jwt.js'

const cluster = createOidcIssuer('https://oidc.example.com/id/1')
const [key] = cluster.keys.values()
const claims = { sub: 'system:serviceaccount:shop:orders', aud: ['sts.amazonaws.com'], exp: 1_000 }
const text = cluster.token(claims)
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const [, body = '', signature = ''] = text.split('.')
const signedByCluster = (token: string) => isSignedBy(readToken(token) as Token, key as never)

t.test('a token has a subject, audiences, an issuer and an expiration', async t => {
  t.match(readToken(text), {
    keyId: 'key-1',
    issuer: cluster.issuer,
    subject: claims.sub,
    audiences: ['sts.amazonaws.com'],
    expiration: 1_000_000,
  })
  t.same(readToken(cluster.token({ ...claims, aud: 'one' }))?.audiences, ['one'])
})

t.test('only the key of the issuer verifies the signature', async t => {
  t.ok(await signedByCluster(text))
  t.notOk(await signedByCluster(createOidcIssuer(cluster.issuer).token(claims)), 'another key')
  const changed = encode({ iss: cluster.issuer, ...claims, sub: 'system:serviceaccount:shop:admin' })
  t.notOk(await signedByCluster(text.replace(body, changed)), 'other claims')
})

t.test('RS256 is the only accepted algorithm', async t => {
  t.equal(readToken(`${encode({ alg: 'none', kid: 'key-1' })}.${body}.`), undefined)
  const header = encode({ alg: 'HS256', kid: 'key-1' })
  const pem = key?.export({ type: 'spki', format: 'pem' }) as string
  const mac = createHmac('sha256', pem).update(`${header}.${body}`).digest('base64url')
  t.equal(readToken(`${header}.${body}.${mac}`), undefined, 'the public key as a shared secret')
})

t.test('a text without all parts and claims is not a token', async t => {
  const header = encode({ alg: 'RS256', kid: 'key-1' })
  for (const part of ['{', null, 1, {}, { ...claims }, { ...claims, iss: 'x', exp: 'soon' }, { iss: 'x', exp: 1 }]) {
    t.equal(readToken(`${header}.${encode(part)}.${signature}`), undefined, JSON.stringify(part))
  }
  for (const whole of ['', 'a.b', `${text}.x`, text.replace('.', ' .'), `${encode({ alg: 'RS256' })}.${body}.x`]) {
    t.equal(readToken(whole), undefined, whole.slice(0, 20))
  }
})
