import t from 'tap'
import { findAccessKeyProblem, findInvalidTokenPart, findTokenProblem } from '../../src/identity/credentialProblems.js'

const TOKEN = `IQoJb3JpZ2luX2VjE${'Abc+/123'.repeat(20)}=`.padEnd(180, '=')

t.test('a token that no header can carry is described with its remedy, and without its text', async t => {
  for (const [token, problem] of [
    [TOKEN.replaceAll('+', ' '), /^contains a blank, which was probably a \+; .* write \+ as %2B/],
    [` ${TOKEN.slice(1)}`, /^contains a blank, which was probably a \+; .* write \+ as %2B/],
    [`${TOKEN.slice(0, -1)} `, /^contains a blank, which was probably a \+/],
    [` ${TOKEN.replaceAll('+', ' ')}`, /^contains a blank, which was probably a \+/],
    [`${TOKEN}\n`, /^begins or ends with a line break; remove it$/],
    [`${TOKEN}\r\n`, /^begins or ends with a line break; remove it$/],
    [` ${TOKEN}`, /^begins or ends with a blank; remove it$/],
    [`${TOKEN}\t`, /^begins or ends with a tab; remove it$/],
    [TOKEN.replace('+', '\n'), /^contains a line break; write the token on one line$/],
    [TOKEN.replace('+', '\u00a0'), /^contains a/],
    [TOKEN.replace('+', '“'), /^contains a character that is not printable ASCII$/],
    [TOKEN.replace('+', '\u0000'), /^contains a character that is not printable ASCII$/],
    ['', /^is empty$/],
    ['x'.repeat(8193), /^is longer than 8192 characters$/],
  ] as const) {
    t.match(findInvalidTokenPart(token), problem)
    t.notMatch(findInvalidTokenPart(token), 'Abc')
  }
  for (const token of [TOKEN, 'x', '"', 'x'.repeat(8192)]) t.equal(findInvalidTokenPart(token), undefined)
})

t.test('a token that STS may not know for its form is described', async t => {
  for (const [token, problem] of [
    [`"${TOKEN}"`, /quotation mark/],
    [`${TOKEN}'`, /quotation mark/],
    [encodeURIComponent(TOKEN), /^is percent-encoded/],
    [TOKEN.slice(0, -50), /^has 130 characters; its end is probably missing$/],
    [TOKEN.slice(0, 60), /^has 60 characters; its end is probably missing$/],
    [`${TOKEN}${TOKEN}`, /^continues after its end$/],
    [`${TOKEN.slice(0, 100)}$(x)`, /^contains a character that session tokens do not have$/],
  ] as const) {
    t.match(findTokenProblem(token), problem)
    t.notMatch(findTokenProblem(token), 'Abc')
  }
  t.equal(findTokenProblem(TOKEN), undefined)
})

t.test('an access key id that is invalid is described without its text', async t => {
  const authorization = (key: string) => `AWS4-HMAC-SHA256 Credential=${key}/20260813/eu-west-1/sts/aws4_request, x`
  for (const [key, problem] of [
    ['AKIASP2TPHJSQH3FJXYZ ', /^begins or ends with a blank; remove it$/],
    ['AKIASP2TPHJSQH3FJXYZ\n', /^begins or ends with a line break; remove it$/],
    ['AKIASP2T PHJSQH3FJXYZ', /^contains a blank$/],
    ['"AKIASP2TPHJSQH3FJXYZ"', /quotation mark/],
    ['AKIASP2TPHJSQH3FJXYZ%20', /percent-encoded/],
    ['AKIASP2TPH', /^has 10 characters, and access key ids have 16 to 128$/],
    ['AKIASP2TPHJSQH3F-XYZ', /^contains a character other than letters and digits$/],
  ] as const) {
    t.match(findAccessKeyProblem(authorization(key)), problem)
    t.notMatch(findAccessKeyProblem(authorization(key)), 'AKIA')
  }
  for (const text of [authorization('AKIASP2TPHJSQH3FJXYZ'), 'Basic x', '', 'Credential=']) {
    t.equal(findAccessKeyProblem(text), undefined)
  }
})
