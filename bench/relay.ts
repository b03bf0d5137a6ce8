/** What does a round trip through the proxy cost after the login, compared with a direct connection, a Node pipe and HAProxy? */
import { startHaproxy } from './haproxy.js'
import type { Exchange } from './messages.js'
import { type Peer, startPeer } from './peer.js'
import type { LoginMethod, Result } from './peers/generator.js'
import { cpuCost, type Round, rate, ratio, runRounds, summarize } from './rounds.js'
import type { Cell, Row, Table } from './table.js'
import { type BenchOptions, createTestbed, PEM, type ServerPeer, type Testbed } from './testbed.js'

/** One way to reach the upstream. `peer`: the process in between. */
type Variant = { name: string; port: number; login: LoginMethod; tls: boolean; peer: Peer | undefined }

type Case = { tls: boolean; exchange: Exchange; clients: number; ms: number; rounds: number }

const MAX_CLIENTS = 64
const cases: Case[] = [false, true].flatMap(tls => [
  { tls, exchange: 'small' as const, clients: 1, ms: 400, rounds: 7 },
  { tls, exchange: 'small' as const, clients: MAX_CLIENTS, ms: 600, rounds: 9 },
  { tls, exchange: 'replies' as const, clients: 1, ms: 300, rounds: 3 },
  { tls, exchange: 'replies' as const, clients: MAX_CLIENTS, ms: 1, rounds: 2 },
  { tls, exchange: 'requests' as const, clients: 1, ms: 300, rounds: 3 },
])
const quickCases: Case[] = [
  { tls: false, exchange: 'small', clients: 1, ms: 200, rounds: 3 },
  { tls: false, exchange: 'small', clients: MAX_CLIENTS, ms: 300, rounds: 5 },
  { tls: false, exchange: 'replies', clients: 1, ms: 200, rounds: 2 },
]

const exchangeNames: Record<Exchange, string> = {
  small: 'small messages',
  replies: '16 MB replies',
  requests: '16 MB requests',
}

export async function measureRelay({ quick, beside, profile }: BenchOptions): Promise<Table> {
  const testbed = await createTestbed(profile)
  try {
    const variants = [
      ...(await startPlainVariants(testbed, beside)),
      ...(quick ? [] : await startTlsVariants(testbed, beside)),
    ]
    await openAndWarmUp(testbed.generator, variants, quick ? 800 : 1500)
    const names = [...new Set(variants.map(({ name }) => name))]
    const rows: Row[] = []
    for (const test of quick ? quickCases : cases)
      rows.push(await measureCase(test, testbed.generator, variants, names))
    const hasHaproxy = names.includes('haproxy')
    return {
      title: 'Relay: round trips',
      sentence:
        'Ratios of the proxy to each other way, in the same run: round trips per second (more is better), then CPU time ' +
        `per round trip (less is better).${hasHaproxy ? '' : ' HAProxy is not installed and was left out.'}`,
      columns: [
        'proxy',
        ...names.filter(name => name !== 'proxy').map(name => `proxy/${name}`),
        'CPU proxy/pipe',
        ...(hasHaproxy ? ['CPU proxy/haproxy'] : []),
        ...(beside ? ['CPU proxy/other'] : []),
      ],
      rows,
    }
  } finally {
    await testbed.close()
  }
}

const poolOf = ({ name, tls }: Variant): string => `${name} ${tls}`

/** Servers run for months: their code is compiled after some ten thousand messages. */
async function openAndWarmUp(generator: Peer, variants: readonly Variant[], ms: number): Promise<void> {
  for (const variant of variants) {
    const { port, tls, login } = variant
    await generator.call('open', { pool: poolOf(variant), connection: { port, tls }, login, clients: MAX_CLIENTS })
  }
  for (const variant of variants) {
    await generator.call('run', { pool: poolOf(variant), exchange: 'small', clients: MAX_CLIENTS, ms })
  }
}

async function measureCase(
  { tls, exchange, clients, ms, rounds }: Case,
  generator: Peer,
  variants: readonly Variant[],
  names: readonly string[],
): Promise<Row> {
  const measure = (variant: Variant) => async (): Promise<Round> => {
    const { peer } = variant
    const before = await peer?.usage()
    const result = await generator.call<Result>('run', { pool: poolOf(variant), exchange, clients, ms })
    const after = await peer?.usage()
    return { ...result, cpuMS: (after?.cpuMS ?? 0) - (before?.cpuMS ?? 0) }
  }
  const chosen = variants.filter(variant => variant.tls === tls)
  const results = await runRounds(rounds, Object.fromEntries(chosen.map(variant => [variant.name, measure(variant)])))
  const proxy = results.proxy ?? []
  const compareWith = (name: string, of: (round: Round) => number): Cell => {
    const other = results[name]
    return other && ratio(proxy, other, of)
  }
  return {
    name: `${tls ? 'TLS' : 'plain'}, ${clients} client${clients > 1 ? 's' : ''}, ${exchangeNames[exchange]}`,
    cells: [
      { ...summarize(proxy.map(rate)), unit: '/s' },
      ...names.filter(name => name !== 'proxy').map(name => compareWith(name, rate)),
      compareWith('pipe', cpuCost),
      ...(names.includes('haproxy') ? [compareWith('haproxy', cpuCost)] : []),
      ...(names.includes('other') ? [compareWith('other', cpuCost)] : []),
    ],
  }
}

async function startPlainVariants(testbed: Testbed, beside: string | undefined): Promise<Variant[]> {
  const { port } = testbed.upstream.info
  const pipe = testbed.add(await startPeer<{ port: number }>('pipe', [String(port)]))
  const haproxy = await startHaproxy(testbed)
  return [
    { name: 'direct', port, login: 'scram', tls: false, peer: undefined },
    { name: 'pipe', port: pipe.info.port, login: 'scram', tls: false, peer: pipe },
    ...(haproxy
      ? [{ name: 'haproxy', port: haproxy.info.port, login: 'scram' as const, tls: false, peer: haproxy }]
      : []),
    ...(await startProxies(testbed, false, beside)),
  ]
}

async function startTlsVariants(testbed: Testbed, beside: string | undefined): Promise<Variant[]> {
  const pipe = testbed.add(await startPeer<{ port: number }>('pipe', [String(testbed.upstream.info.port), PEM]))
  return [
    { name: 'pipe', port: pipe.info.port, login: 'scram', tls: true, peer: pipe },
    ...(await startProxies(testbed, true, beside)),
  ]
}

async function startProxies(testbed: Testbed, tls: boolean, beside: string | undefined): Promise<Variant[]> {
  const variant = (name: string, peer: ServerPeer): Variant => ({ name, port: peer.info.port, login: 'aws', tls, peer })
  const proxy = variant('proxy', await testbed.startProxy({ tls }))
  return beside ? [proxy, variant('other', await testbed.startProxy({ tls, beside }))] : [proxy]
}
