import t from 'tap'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import { Secret } from '../../src/log.js'

const fingerprint = createCredentialFingerprinter(Buffer.alloc(32, 1))
const credential = (accessKeyId: string, token?: string) => ({
  accessKeyId,
  token: token === undefined ? undefined : new Secret(token),
})

t.test('every credential has its own fingerprint, which does not depend on the signature', async t => {
  const all = [
    fingerprint(credential('ASIA1', 'token')),
    fingerprint(credential('ASIA2', 'token')),
    fingerprint(credential('ASIA1', 'other')),
    fingerprint(credential('ASIA1')),
    fingerprint(credential('ASIA1', 'null')),
    fingerprint(credential('ASIA1', 'undefined')),
    fingerprint(credential('token', 'ASIA1')),
    createCredentialFingerprinter(Buffer.alloc(32, 2))(credential('ASIA1', 'token')),
  ]
  t.equal(new Set(all).size, all.length)
  t.equal(fingerprint(credential('ASIA1', 'token')), all[0])
  for (const signature of ['one', 'another']) {
    const signed = { ...credential('ASIA1', 'token'), signature: new Secret(signature) }
    t.equal(fingerprint(signed), all[0])
  }
})

t.test('key id and token are joined unambiguously', async t => {
  t.not(fingerprint(credential('a', 'bc')), fingerprint(credential('ab', 'c')))
  t.not(fingerprint(credential('ab')), fingerprint(credential('a', 'b')))
})

t.test('a fingerprint has a fixed length and contains no part of the credential', async t => {
  t.match(fingerprint(credential('ASIA1', 'x'.repeat(8192))), /^[\w+/]{43}=$/)
})
