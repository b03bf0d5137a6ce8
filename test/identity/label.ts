import t from 'tap'
import { labels } from '../../src/identity/label.js'
import { Secret } from '../../src/log.js'

const label = labels(Buffer.alloc(32, 1))
const credential = (accessKeyId: string, token?: string) => ({
  accessKeyId,
  token: token === undefined ? undefined : new Secret(token),
})

t.test('one credential in one scope has one label, and every other has another', async t => {
  const all = [
    label(credential('ASIA1', 'token'), 'a'),
    label(credential('ASIA2', 'token'), 'a'),
    label(credential('ASIA1', 'other'), 'a'),
    label(credential('ASIA1'), 'a'),
    label(credential('ASIA1', 'null'), 'a'),
    label(credential('ASIA1', 'token'), 'b'),
    label(credential('ASIA1', 'token'), 'a', 'b'),
    label(credential('b', 'token'), 'a'),
    label(credential('ASIA1', 'token')),
    labels(Buffer.alloc(32, 2))(credential('ASIA1', 'token'), 'a'),
  ]
  t.equal(new Set(all).size, all.length)
  t.equal(label(credential('ASIA1', 'token'), 'a'), all[0])
})

t.test('texts that meet where they are joined do not meet in the label', async t => {
  t.not(label(credential('b', 'c'), 'a'), label(credential('c'), 'a', 'b'))
  t.not(label(credential('k","x'), 'a'), label(credential('x'), 'a', 'k'))
})

t.test('nothing of the credential is in its label', async t => {
  t.match(label(credential('ASIA1', 'x'.repeat(8192)), 'a'), /^[\w+/]{43}=$/)
})
