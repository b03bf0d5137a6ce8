import { readFileSync } from 'node:fs'
import t from 'tap'
import { decodeAccountId } from '../../src/budget/account.js'

const { vectors } = JSON.parse(readFileSync(new URL('../vectors/access-keys.json', import.meta.url), 'utf8')) as {
  vectors: [string, string | null][]
}

for (const [key, account] of vectors) {
  t.test(`${key} contains ${account ?? 'no account id'}`, async t => t.equal(decodeAccountId(key) ?? null, account))
}

t.test('text that is not a key id contains no account id', async t => {
  for (const text of [
    '',
    'AKIA',
    'akiaqaaaaaaaaaaaaaaa',
    'AKIAQAAAAAAAAAAAAAA1',
    `AKIA${'7'.repeat(16)}`,
    `AKIA${'Q'.repeat(17)}`,
  ]) {
    t.equal(decodeAccountId(text), undefined, text)
  }
})
