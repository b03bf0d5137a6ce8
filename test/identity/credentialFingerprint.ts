import t from 'tap'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import { Secret } from '../../src/log.js'

const label = createCredentialFingerprinter(Buffer.alloc(32, 1))
const credential = (accessKeyId: string, token?: string) => ({
  accessKeyId,
  token: token === undefined ? undefined : new Secret(token),
})

t.test('one credential has one label, whoever signs, and every other has another', async t => {
  const all = [
    label(credential('ASIA1', 'token')),
    label(credential('ASIA2', 'token')),
    label(credential('ASIA1', 'other')),
    label(credential('ASIA1')),
    label(credential('ASIA1', 'null')),
    label(credential('ASIA1', 'undefined')),
    label(credential('token', 'ASIA1')),
    createCredentialFingerprinter(Buffer.alloc(32, 2))(credential('ASIA1', 'token')),
  ]
  t.equal(new Set(all).size, all.length)
  t.equal(label(credential('ASIA1', 'token')), all[0])
  for (const signature of ['one', 'another']) {
    const signed = { ...credential('ASIA1', 'token'), signature: new Secret(signature) }
    t.equal(label(signed), all[0])
  }
})

t.test('texts that meet where they are joined do not meet in the label', async t => {
  t.not(label(credential('a', 'bc')), label(credential('ab', 'c')))
  t.not(label(credential('ab')), label(credential('a', 'b')))
})

t.test('nothing of the credential is in its label', async t => {
  t.match(label(credential('ASIA1', 'x'.repeat(8192))), /^[\w+/]{43}=$/)
})
