import fc from 'fast-check'
import t from 'tap'
import { toSubnet } from '../../src/budget/subnet.js'

t.test('an IPv4 address is its own subnet, an IPv6 address belongs to its /64', async t => {
  const cases = [
    ['127.0.0.1', '127.0.0.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2:FFFF::1', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0000:0000::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['fe80::2%br-lan', 'fe80:0:0:0::/64'],
    ['fe80::3%eth0.100', 'fe80:0:0:0::/64'],
    ['fe80::4%wg_0', 'fe80:0:0:0::/64'],
    ['::192.0.2.1', '0:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
  ]
  for (const [address = '', subnet] of cases) t.equal(toSubnet(address), subnet, address)
})

t.test('an IPv4-mapped IPv6 address gives the IPv4 address, in every notation', async t => {
  for (const address of ['::ffff:192.0.2.7', '::FFFF:192.0.2.7', '::ffff:c000:207', '0:0:0:0:0:ffff:c000:0207']) {
    t.equal(toSubnet(address), '192.0.2.7', address)
  }
  t.equal(toSubnet('::fffe:192.0.2.7'), '0:0:0:0::/64')
})

t.test('every text is accepted', async t => {
  const form = /^[\da-f]{1,4}(:[\da-f]{1,4}){3}::\/64$|^[\d.]+$/
  fc.assert(fc.property(fc.ipV6(), address => form.test(toSubnet(address))))
  fc.assert(fc.property(fc.string({ maxLength: 60 }), text => typeof toSubnet(text) === 'string'))
  t.equal(toSubnet(''), '')
})
