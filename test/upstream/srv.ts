import t from 'tap'
import { type DnsResolver, resolveSeedlist } from '../../src/upstream/srv.js'
import { faultOfAsync } from '../support/faults.js'

const NAME = 'rs.example.com'
const code = (code: string) => Object.assign(new Error(code), { code })

/** A resolver with these SRV and TXT records. */
const dns = (hosts: string[] | Error, txtRecords: string[][] | Error = []) => {
  const queries: string[] = []
  const resolver: DnsResolver = {
    resolveSrv: async name => {
      queries.push(name)
      if (hosts instanceof Error) throw hosts
      return hosts.map(host => ({ name: host.split(':')[0] as string, port: Number(host.split(':')[1] ?? 27017) }))
    },
    resolveTxt: async name => {
      queries.push(name)
      if (txtRecords instanceof Error) throw txtRecords
      return txtRecords
    },
  }
  return { resolver, queries }
}
const resolve = (hosts: string[], txtRecords?: string[][] | Error, name = NAME) =>
  resolveSeedlist(name, dns(hosts, txtRecords).resolver)
const fault = (hosts: string[] | Error, txtRecords?: string[][] | Error, name = NAME) =>
  faultOfAsync(() => resolveSeedlist(name, dns(hosts, txtRecords).resolver))

t.test('seeds come from SRV records, and options from a TXT record', async t => {
  const { resolver, queries } = dns(
    ['A.example.com.:1', 'b.example.com', 'b.example.com'],
    [['replicaSet=rs0&', 'authSource=admin']],
  )
  t.same(await resolveSeedlist(NAME, resolver), {
    seeds: ['a.example.com:1', 'b.example.com:27017'],
    replicaSet: 'rs0',
  })
  t.same(queries, [`_mongodb._tcp.${NAME}`, NAME])
})

t.test('without a TXT record there are no options', async t => {
  for (const txtRecords of [[], code('ENODATA'), code('ENOTFOUND'), [['']], [['loadBalanced=false']]]) {
    t.same(await resolve(['a.example.com'], txtRecords), { seeds: ['a.example.com:27017'], replicaSet: undefined })
  }
})

t.test('DNS that fails or has no records throws upstream/unreachable with a code', async t => {
  t.match(await fault(code('ENOTFOUND')), { kind: 'upstream/unreachable', facts: { srv: NAME, code: 'ENOTFOUND' } })
  t.match(await fault([]), { kind: 'upstream/unreachable', facts: { code: 'ENODATA' } })
  t.match(await fault(['a.example.com'], code('ETIMEOUT')), {
    kind: 'upstream/unreachable',
    facts: { code: 'ETIMEOUT' },
  })
})

t.test('hosts must be in the parent domain of the name', async t => {
  for (const host of ['a.example.org', 'example.com', 'a.evilexample.com', 'a.example.com.evil.org', 'com']) {
    t.match(
      await fault([`ok.example.com`, host]),
      { kind: 'upstream/protocol-error', facts: { why: /another domain/ } },
      host,
    )
  }
  t.ok(await resolve(['rs.example.com', 'a.b.example.com']))
  t.ok(await resolve(['a.localhost'], [], 'localhost'), 'a short name needs one more label')
  t.ok(await resolve(['a.example.com'], [], 'example.com'))
  t.match(await fault(['localhost'], [], 'localhost'), { kind: 'upstream/protocol-error' })
  t.match(await fault(['example.com'], [], 'example.com'), { kind: 'upstream/protocol-error' })
})

t.test('a host that is not an address is rejected', async t => {
  for (const host of ['a/b.example.com', 'a.example.com:0', '.example.com '])
    t.match(await fault([host]), { kind: 'upstream/protocol-error' }, host)
})

t.test('forbidden TXT options, a second TXT record and too many hosts are rejected', async t => {
  t.match(await fault(['a.example.com'], [['tls=false']]), { facts: { why: 'a TXT record may not set tls' } })
  t.match(await fault(['a.example.com'], [['authSource=a'], ['replicaSet=b']]), { kind: 'upstream/protocol-error' })
  t.match(await fault(['a.example.com'], [['loadBalanced=true']]), { kind: 'upstream/protocol-error' })
  const many = Array.from({ length: 51 }, (_, at) => `h${at}.example.com`)
  t.match(await fault(many), { kind: 'upstream/protocol-error', facts: { why: 'more than 50 addresses' } })
})
