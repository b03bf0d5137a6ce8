import t from 'tap'
import { formatAddress, parseAddress } from '../../src/upstream/address.js'

const normalize = (text: string) => {
  const address = parseAddress(text)
  return address && formatAddress(address)
}

t.test('each address has one text form', async t => {
  t.equal(normalize('Mongo-0.Example.com'), 'mongo-0.example.com:27017')
  t.equal(normalize('10.0.0.7:1'), '10.0.0.7:1')
  t.equal(normalize('[2001:DB8::1]:65535'), '[2001:db8::1]:65535')
  t.same(parseAddress('[::1]'), { host: '::1', port: 27017 })
})

t.test('text that is not an address is rejected', async t => {
  for (const text of [
    '',
    ':1',
    'h:',
    'h:0',
    'h:65536',
    'h:1:2',
    '::1',
    '[::1',
    '[h]',
    '[::g]',
    'a b',
    'a/b',
    'u@h',
    'h?',
  ]) {
    t.equal(parseAddress(text), undefined, text)
  }
  t.equal(parseAddress('h'.repeat(254)), undefined)
})
