/** What does it cost to go through the proxy once logged in? Beside a direct connection, a bare Node pipe and HAProxy. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Shape } from './messages.js'
import { cost, figure, inTurns, type Round, rate, ratio } from './rounds.js'
import { type Peer, start, startForeign } from './peer.js'
import type { Done, Who } from './peers/generator.js'
import { type Listening, PEM, type Scene, scene } from './testbed.js'
import type { Table } from './table.js'

export type Options = { quick: boolean; beside?: string | undefined; profile?: string | undefined }

/** Somewhere to connect to, and the process that stands between. */
type Variant = { name: string; port: number; who: Who; tls: boolean; between: Peer | undefined }

type Case = { tls: boolean; shape: Shape; clients: number; ms: number; rounds: number }

const MOST = 64
const cases: Case[] = [false, true].flatMap(tls => [
  { tls, shape: 'small' as const, clients: 1, ms: 400, rounds: 7 },
  { tls, shape: 'small' as const, clients: MOST, ms: 600, rounds: 9 },
  { tls, shape: 'replies' as const, clients: 1, ms: 300, rounds: 3 },
  { tls, shape: 'replies' as const, clients: MOST, ms: 1, rounds: 2 },
  { tls, shape: 'requests' as const, clients: 1, ms: 300, rounds: 3 },
])
const quickCases: Case[] = [
  { tls: false, shape: 'small', clients: 1, ms: 200, rounds: 3 },
  { tls: false, shape: 'small', clients: MOST, ms: 300, rounds: 5 },
  { tls: false, shape: 'replies', clients: 1, ms: 200, rounds: 2 },
]

const says: Record<Shape, string> = { small: 'small messages', replies: '16 MB replies', requests: '16 MB requests' }

export async function relay({ quick, beside, profile }: Options): Promise<Table> {
  const stage = await scene(profile)
  try {
    const wanted = quick ? quickCases : cases
    const variants = [...(await plain(stage, beside)), ...(quick ? [] : await secure(stage, beside))]
    const { generator } = stage
    for (const { name, port, tls, who } of variants) {
      await generator.ask('open', { pool: `${name} ${tls}`, way: { port, tls }, who, clients: MOST })
    }
    // What runs for months is judged warm: its code is compiled once some ten thousand messages have been through.
    for (const { name, tls } of variants) {
      await generator.ask<Done>('run', {
        pool: `${name} ${tls}`,
        shape: 'small',
        clients: MOST,
        ms: quick ? 800 : 1500,
      })
    }
    const names = [...new Set(variants.map(({ name }) => name))]
    const rows = []
    for (const { tls, shape, clients, ms, rounds } of wanted) {
      const turn =
        ({ name, between }: Variant) =>
        async (): Promise<Round> => {
          const before = await between?.usage()
          const done = await generator.ask<Done>('run', { pool: `${name} ${tls}`, shape, clients, ms })
          const after = await between?.usage()
          return { ...done, cpuMS: (after?.cpuMS ?? 0) - (before?.cpuMS ?? 0) }
        }
      const chosen = variants.filter(variant => variant.tls === tls)
      const results = await inTurns(rounds, Object.fromEntries(chosen.map(variant => [variant.name, turn(variant)])))
      const ours = results.proxy ?? []
      const beside = (name: string, of: (round: Round) => number) => {
        const theirs = results[name]
        return theirs && ratio(ours, theirs, of)
      }
      rows.push({
        name: `${tls ? 'TLS' : 'plain'}, ${clients} client${clients > 1 ? 's' : ''}, ${says[shape]}`,
        cells: [
          { ...figure(ours.map(rate)), unit: '/s' },
          ...names.filter(name => name !== 'proxy').map(name => beside(name, rate)),
          beside('pipe', cost),
          ...(names.includes('haproxy') ? [beside('haproxy', cost)] : []),
          ...(names.includes('other') ? [beside('other', cost)] : []),
        ],
      })
    }
    const others = names.filter(name => name !== 'proxy')
    const haproxy = names.includes('haproxy')
    return {
      title: 'Relay: round trips',
      sentence:
        'Ratios of the proxy to each other way, in the same run: round trips a second (more is better), then CPU time ' +
        `of a round trip (less is better).${haproxy ? '' : ' HAProxy is not installed, so it is left out.'}`,
      columns: [
        'proxy',
        ...others.map(name => `proxy/${name}`),
        'CPU proxy/pipe',
        ...(haproxy ? ['CPU proxy/haproxy'] : []),
        ...(beside ? ['CPU proxy/other'] : []),
      ],
      rows,
    }
  } finally {
    await stage.close()
  }
}

async function plain(stage: Scene, beside: string | undefined): Promise<Variant[]> {
  const { upstream, add } = stage
  const { port } = upstream.facts
  const pipe = add(await start<{ port: number }>('pipe', [String(port)]))
  const ways: Variant[] = [
    { name: 'direct', port, who: 'scram', tls: false, between: undefined },
    { name: 'pipe', port: pipe.facts.port, who: 'scram', tls: false, between: pipe },
  ]
  const bound = await freePort()
  const config = `
global
  nbthread 1
  maxconn 1000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind 127.0.0.1:${bound}
  server upstream 127.0.0.1:${port}
`
  const haproxy = await startForeign('haproxy', ['-db', '-f', stage.file('haproxy.cfg', config)])
  if (haproxy) {
    ways.push({ name: 'haproxy', port: bound, who: 'scram', tls: false, between: add(haproxy) })
    await accepts(bound)
  }
  return [...ways, ...(await ours(stage, false, beside))]
}

async function secure(stage: Scene, beside: string | undefined): Promise<Variant[]> {
  const pipe = stage.add(await start<{ port: number }>('pipe', [String(stage.upstream.facts.port), PEM]))
  return [
    { name: 'pipe', port: pipe.facts.port, who: 'scram', tls: true, between: pipe },
    ...(await ours(stage, true, beside)),
  ]
}

async function ours(stage: Scene, tls: boolean, beside: string | undefined): Promise<Variant[]> {
  const variant = (name: string, between: Listening): Variant => ({
    name,
    port: between.facts.port,
    who: 'aws',
    tls,
    between,
  })
  const proxy = variant('proxy', await stage.proxy({ tls }))
  return beside ? [proxy, variant('other', await stage.proxy({ tls, beside }))] : [proxy]
}

/** A port that was free a moment ago, for a program that cannot say which one it took. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Waits until somebody listens, two seconds at most. */
async function accepts(port: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const socket = connect(port, '127.0.0.1')
    const connected = await once(socket, 'connect').catch(() => false)
    socket.destroy()
    if (connected) return
    await sleep(20)
  }
}
