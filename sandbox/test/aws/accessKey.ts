import { randomBytes } from 'node:crypto'
import t from 'tap'
import { createAccessKeyId, createUniqueId } from '../../src/aws/accessKey.js'

/** The published way to extract the account of a key: the first 48 bits, masked, shifted right by seven bits. */
function accountIn(id: string): string | null {
  const digits = [...id.slice(4)].map(letter => BigInt('ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter)))
  const bits = digits.reduce((value, digit) => (value << 5n) | digit, 0n)
  if (bits >> 79n === 0n) return null
  return String(((bits >> 32n) & 0x7fffffffff80n) >> 7n).padStart(12, '0')
}

// Published keys with their known accounts.
const vectors: [string, string | null][] = [
  ['ASIAY34FZKBOKMUTVV7A', '609629065308'],
  ['ASIAQNZGKIQY56JQ7WML', '029608264753'],
  ['ASIAR2TG44V5PDTTBZRR', '125843596666'],
  ['AKIASP2TPHJSQH3FJXYZ', '171436882533'],
  ['AKIAQAAAAAAAAAAAAAAA', '000000000000'],
  ['AKIA6RVFFB77QAAAAAAA', '999999999999'],
  ['AKIAIOSFODNN7EXAMPLE', null],
]

t.test('the account is found in published keys', async t => {
  for (const [id, account] of vectors) t.equal(accountIn(id), account, id)
})

t.test('a generated key contains its account by the same rule', async t => {
  for (const account of ['000000000000', '999999999999', '029608264753', '123456789012']) {
    for (let i = 0; i < 50; i++) {
      const id = createAccessKeyId('ASIA', account, randomBytes)
      t.match(id, /^ASIA[Q-Z2-7][A-Z2-7]{15}$/)
      t.equal(accountIn(id), account)
    }
  }
})

t.test('with no chance at all it is the published key of that account', async t => {
  t.equal(
    createAccessKeyId('AKIA', '000000000000', size => Buffer.alloc(size)),
    'AKIAQAAAAAAAAAAAAAAA',
  )
  t.equal(
    createAccessKeyId('AKIA', '999999999999', size => Buffer.alloc(size)).slice(0, 12),
    'AKIA6RVFFB77QAAAAAAA'.slice(0, 12),
  )
})

t.test('the id of a user and of a role has 21 characters', async t => {
  t.match(createUniqueId('AIDA', randomBytes), /^AIDA[A-Z2-7]{17}$/)
  t.match(createUniqueId('AROA', randomBytes), /^AROA[A-Z2-7]{17}$/)
})
