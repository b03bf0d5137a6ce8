import { isIP } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { parseIPAddress } from '../src/ipAddress.js'

const parsed = (text: string) => parseIPAddress(text)?.toString()

t.test('an address is parsed, and a mapped address is the IPv4 address', async t => {
  for (const [text, address] of [
    ['10.0.0.1', '10.0.0.1'],
    ['2001:DB8:0::1', '2001:db8::1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['::10.0.0.1', '::a00:1'],
    ['::', '::'],
  ] as const) {
    t.equal(parsed(text), address, text)
  }
})

t.test('the zone of an IPv6 address does not matter, whatever the interface is called', async t => {
  for (const zone of ['eth0', '1', 'br-lan', 'eth0.100', 'wg_0']) t.equal(parsed(`fe80::1%${zone}`), 'fe80::1', zone)
  t.equal(parsed('10.0.0.1%eth0'), undefined)
})

t.test('a text that programs read differently is not an address', async t => {
  for (const text of [
    '',
    'home',
    '127.1',
    '2130706433',
    '0x7f.0.0.1',
    '010.0.0.1',
    '10.0.0.256',
    '::010.0.0.1',
    '1:2',
  ]) {
    t.equal(parsed(text), undefined, text)
  }
})

t.test('the result agrees with isIP of Node', async t => {
  fc.assert(fc.property(fc.ipV4(), text => parsed(text) === text))
  fc.assert(fc.property(fc.ipV6(), text => (isIP(text) === 6) === (parsed(text) !== undefined)))
  fc.assert(fc.property(fc.string({ maxLength: 45 }), text => isIP(text) !== 0 || parsed(text) === undefined))
  t.pass()
})
