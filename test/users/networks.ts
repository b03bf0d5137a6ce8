import { BlockList, isIP } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { formatNetwork, isCovered, isInNetworks, parseNetwork } from '../../src/users/networks.js'

const format = (text: string) => {
  const network = parseNetwork(text)
  return network && formatNetwork(network)
}
const inside = (address: string, ...texts: string[]) =>
  isInNetworks(
    address,
    texts.map(parseNetwork).filter(network => network !== undefined),
  )

t.test('a network is an address with a prefix, or a single address', async t => {
  for (const [text, wanted] of [
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3'],
    ['10.1.2.3/32', '10.1.2.3'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8::1/32', '2001:db8::/32'],
    ['::1', '::1'],
    ['::', '::'],
    ['1::', '1::'],
    ['::/0', '::/0'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['fe80:1:2:3:4:5:6:7', 'fe80:1:2:3:4:5:6:7'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['::10.0.0.1', '::a00:1'],
    ['0::10.0.0.0/104', '::a00:0/104'],
    ['10.0.0.0/08', '10.0.0.0/8'],
  ] as const) {
    t.equal(format(text), wanted, text)
  }
})

t.test('a text that is not a network is rejected', async t => {
  for (const text of [
    ...['', 'home', '10.0.0', '10.0.0.256', '10.0.0.01', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', ' 10.0.0.0'],
    ...['::1/129', ':::', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7::8', 'g::', '::1%eth0'],
    ...['010.0.0.1', '0x7f.0.0.1', '127.1', '2130706433', '::ffff:010.0.0.1', '::127.1', '1.2.3.4::', '1.2::3'],
    ...['::ffff:10.0.0.0/8', '::10.0.0.1.2', '10.0.0.0/8/8', '10.0.0.0/255.0.0.0', ':1:2:3:4:5:6:7', '1::2:'],
  ]) {
    t.equal(parseNetwork(text), undefined, text)
  }
})

t.test('an address is in a network by its first bits, and a mapped IPv4 address is the IPv4 address', async t => {
  t.ok(inside('10.255.0.1', '192.168.0.0/16', '10.0.0.0/8'))
  t.ok(inside('::ffff:10.255.0.1', '10.0.0.0/8'))
  t.ok(inside('fe80::1%eth0', 'fe80::/10'))
  t.ok(inside('fe80::1%br-lan', 'fe80::/10'))
  t.notOk(inside('::10.0.0.1', '10.0.0.0/8'), 'an IPv4-compatible address is not the IPv4 address')
  t.notOk(inside('11.0.0.1', '10.0.0.0/8'))
  t.notOk(inside('10.0.0.1', '::/0'), 'IPv4 is not part of IPv6')
  t.notOk(inside('::1', '0.0.0.0/0'))
  t.notOk(inside('10.0.0.1'))
  t.notOk(inside('somewhere', '0.0.0.0/0', '::/0'))
  t.ok(inside('172.31.255.255', '172.16.0.0/12'))
  t.notOk(inside('172.32.0.0', '172.16.0.0/12'))
})

t.test('the result agrees with BlockList of Node', async t => {
  const run = (address: string, network: string, prefix: number) => {
    const list = new BlockList()
    const family = (text: string) => (isIP(text) === 4 ? 'ipv4' : 'ipv6')
    list.addSubnet(network, prefix, family(network))
    return inside(address, `${network}/${prefix}`) === list.check(address, family(address))
  }
  const v4 = fc.ipV4()
  fc.assert(fc.property(v4, v4, fc.nat(32), (a, b, prefix) => run(a, b, prefix)))
  // BlockList treats mapped addresses as IPv6; we do not.
  const v6 = fc.ipV6().filter(text => isIP(text) === 6 && !/^(0*:)*:?ffff:/i.test(text) && !text.includes('.'))
  fc.assert(fc.property(v6, v6, fc.nat(128), (a, b, prefix) => run(a, b, prefix)))
  t.pass()
})

t.test('a network is covered by one that contains all of its addresses', async t => {
  const networks = (...texts: string[]) =>
    texts.map(text => parseNetwork(text)).filter(network => network !== undefined)
  const isIn = (text: string, ...others: string[]) => {
    const [network] = networks(text)
    return network !== undefined && isCovered(network, networks(...others))
  }
  t.ok(isIn('10.1.0.0/16', '10.0.0.0/8'))
  t.ok(isIn('10.0.0.0/8', '10.0.0.0/8'))
  t.ok(isIn('10.1.2.3', '192.168.0.0/16', '10.0.0.0/8'))
  t.ok(isIn('::ffff:10.0.0.0/104', '10.0.0.0/8'))
  t.notOk(isIn('10.0.0.0/7', '10.0.0.0/8'))
  t.notOk(isIn('11.0.0.0/8', '10.0.0.0/8'))
  t.notOk(isIn('::/0', '0.0.0.0/0'))
  t.notOk(isIn('10.0.0.0/8'))
})
