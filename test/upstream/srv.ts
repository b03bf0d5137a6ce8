import t from 'tap'
import { type DnsResolver, resolveSeedlist } from '../../src/upstream/srv.js'
import { faultOfAsync } from '../support/faults.js'

const NAME = 'rs.example.com'
const code = (code: string) => Object.assign(new Error(code), { code })

/** DNS that knows these hosts and these texts. */
const dns = (hosts: string[] | Error, texts: string[][] | Error = []) => {
  const asked: string[] = []
  const resolver: DnsResolver = {
    resolveSrv: async name => {
      asked.push(name)
      if (hosts instanceof Error) throw hosts
      return hosts.map(host => ({ name: host.split(':')[0] as string, port: Number(host.split(':')[1] ?? 27017) }))
    },
    resolveTxt: async name => {
      asked.push(name)
      if (texts instanceof Error) throw texts
      return texts
    },
  }
  return { resolver, asked }
}
const looked = (hosts: string[], texts?: string[][] | Error, name = NAME) =>
  resolveSeedlist(name, dns(hosts, texts).resolver)
const fault = (hosts: string[] | Error, texts?: string[][] | Error, name = NAME) =>
  faultOfAsync(() => resolveSeedlist(name, dns(hosts, texts).resolver))

t.test('addresses from SRV, options from TXT', async t => {
  const { resolver, asked } = dns(
    ['A.example.com.:1', 'b.example.com', 'b.example.com'],
    [['replicaSet=rs0&', 'authSource=admin']],
  )
  t.same(await resolveSeedlist(NAME, resolver), {
    seeds: ['a.example.com:1', 'b.example.com:27017'],
    replicaSet: 'rs0',
  })
  t.same(asked, [`_mongodb._tcp.${NAME}`, NAME])
})

t.test('without TXT there are no options', async t => {
  for (const texts of [[], code('ENODATA'), code('ENOTFOUND'), [['']], [['loadBalanced=false']]]) {
    t.same(await looked(['a.example.com'], texts), { seeds: ['a.example.com:27017'], replicaSet: undefined })
  }
})

t.test('DNS that is silent or empty is away, and it is said what it was', async t => {
  t.match(await fault(code('ENOTFOUND')), { kind: 'upstream/unreachable', facts: { srv: NAME, code: 'ENOTFOUND' } })
  t.match(await fault([]), { kind: 'upstream/unreachable', facts: { code: 'ENODATA' } })
  t.match(await fault(['a.example.com'], code('ETIMEOUT')), {
    kind: 'upstream/unreachable',
    facts: { code: 'ETIMEOUT' },
  })
})

t.test('hosts must be of the domain of the name', async t => {
  for (const host of ['a.example.org', 'example.com', 'a.evilexample.com', 'a.example.com.evil.org', 'com']) {
    t.match(
      await fault([`ok.example.com`, host]),
      { kind: 'upstream/protocol-error', facts: { why: /another domain/ } },
      host,
    )
  }
  t.ok(await looked(['rs.example.com', 'a.b.example.com']))
  t.ok(await looked(['a.localhost'], [], 'localhost'), 'a short name wants one label more')
  t.ok(await looked(['a.example.com'], [], 'example.com'))
  t.match(await fault(['localhost'], [], 'localhost'), { kind: 'upstream/protocol-error' })
  t.match(await fault(['example.com'], [], 'example.com'), { kind: 'upstream/protocol-error' })
})

t.test('what is no address', async t => {
  for (const host of ['a/b.example.com', 'a.example.com:0', '.example.com '])
    t.match(await fault([host]), { kind: 'upstream/protocol-error' }, host)
})

t.test('what TXT may not set, and too much of anything', async t => {
  t.match(await fault(['a.example.com'], [['tls=false']]), { facts: { why: 'a TXT record may not set tls' } })
  t.match(await fault(['a.example.com'], [['authSource=a'], ['replicaSet=b']]), { kind: 'upstream/protocol-error' })
  t.match(await fault(['a.example.com'], [['loadBalanced=true']]), { kind: 'upstream/protocol-error' })
  const many = Array.from({ length: 51 }, (_, at) => `h${at}.example.com`)
  t.match(await fault(many), { kind: 'upstream/protocol-error', facts: { why: 'more than 50 addresses' } })
})
