/**
 * What happens when everybody wants in at once, with an STS that throttles above its quota: does everybody get in, how
 * fast beside what the quota allows, who else notices, and what do those cost that never should have come?
 *
 * It is long because the storms share one stage.
 */
import { randomBytes } from 'node:crypto'
import { accessKeyId } from '../sandbox/src/aws/accessKey.js'
import type { Crowd, Crowding } from './loginBurst.js'
import { type Peer, start } from './peer.js'
import type { Calls } from './peers/throttlingSts.js'
import type { Options } from './relay.js'
import { type Listening, scene } from './testbed.js'
import type { Cell, Table } from './table.js'

const QUOTA = 600
/** Of hosts that are compared by their number: so little that nothing else is what limits. */
const LITTLE = 250
const SHARE = 0.9
/** Of a crowd that its budget does not hold up. */
const NO_LIMIT = Number.POSITIVE_INFINITY
const LATENCY_MS = 50
const HOSTS = ['sts.us-east-1.amazonaws.com', 'sts.eu-west-1.amazonaws.com']
const [STORMING, QUIET] = ['111111111111', '222222222222'] as const
/** Nothing listens there. */
const NOWHERE = 9

const keyOf = (account: string, ending: string) => accessKeyId('AKIA', account, randomBytes).slice(0, 14) + ending
const login = (account: string, ending = 'HONEST'): Crowding['login'] => ({
  by: 'aws',
  accessKeyId: keyOf(account, ending),
  secretAccessKey: 'whatever',
})

export async function storm({ quick, profile, beside }: Options): Promise<Table> {
  const stage = await scene(profile)
  const part = quick ? 0.1 : 1
  try {
    const stsOf = async (quota: number) =>
      stage.add(await start<{ port: number }>('throttlingSts', [quota, LATENCY_MS].map(String)))
    const first = await stsOf(QUOTA)
    const [crowd, other] = [stage.add(await start('crowd')), stage.add(await start('crowd'))]
    const arns = [STORMING, QUIET].map(account => `arn:aws:iam::${account}:user/bench`)
    /** A proxy with hosts of this quota, that has had some logins already: code that never ran is slow. */
    const proxyTo = async (quota: number, ...ports: number[]) => {
      const proxy = await stage.proxy({
        beside,
        arns,
        sts: {
          insecure: true,
          quota,
          share: SHARE,
          hosts: ports.map((port, nth) => ({ host: HOSTS[nth], connect: `127.0.0.1:${port}` })),
        },
      })
      const { port } = proxy.facts
      await crowd.ask('crowd', { port, login: login(STORMING), count: quota * 2.5 * part, lanes: 64, addresses: 8 })
      return proxy
    }
    const calls = async (...of: Peer[]): Promise<Calls> => {
      const all = await Promise.all(of.map(peer => peer.ask<Calls>('calls')))
      const sum = (name: keyof Calls) => all.reduce((total, seen) => total + seen[name], 0)
      return {
        calls: sum('calls'),
        throttled: sum('throttled'),
        refused: sum('refused'),
        most: Math.max(...all.map(({ most }) => most)),
      }
    }
    const rows: Table['rows'] = []
    const run = async (
      name: string,
      at: Listening,
      by: Peer,
      crowding: Omit<Crowding, 'port'>,
      of: Peer[],
      allowed = QUOTA * SHARE,
    ) => {
      await calls(...of)
      const seen = await by.ask<Crowd>('crowd', { port: at.facts.port, ...crowding })
      const asked = await calls(...of)
      const times = allowed === NO_LIMIT ? undefined : seen.ms / ((crowding.count / allowed) * 1000)
      rows.push({ name, cells: cells(seen, asked, times) })
      return seen
    }

    const one = await proxyTo(QUOTA, first.facts.port)
    const hello = { login: login(QUIET), count: quick ? 20 : 150, lanes: 2, addresses: 1, first: 200, pauseMS: 50 }
    const alone = await run('a quiet account, alone', one, other, hello, [first], NO_LIMIT)
    const everybody = { login: login(STORMING), count: 10_000 * part, lanes: 1_000 * part, addresses: 8 }
    await run(`${everybody.count} logins, ${everybody.lanes} in the air`, one, crowd, everybody, [first])
    const flash = { ...everybody, count: 2_000 * part, lanes: 2_000 * part }
    await run(`${flash.count} at once`, one, crowd, flash, [first])

    const storming = crowd.ask<Crowd>('crowd', { port: one.facts.port, ...everybody })
    const lasting = { ...hello, count: everybody.count, ms: (everybody.count / (QUOTA * SHARE)) * 900 }
    const beside_ = await run('the quiet account beside that storm of another', one, other, lasting, [first], NO_LIMIT)
    await storming
    rows.push({
      name: 'its p99 beside the storm, above alone',
      cells: [undefined, undefined, undefined, undefined, `${Math.round(beside_.p99 - alone.p99)} ms`],
    })

    const expired = {
      ...login(STORMING),
      accessKeyId: `ASIA${keyOf(STORMING, 'EXPIRE').slice(4)}`,
      token: 'expired',
    }
    await run(
      'a crash loop with an expired token',
      one,
      crowd,
      { login: expired, count: 500 * part, lanes: 1, addresses: 1 },
      [first],
      NO_LIMIT,
    )

    const forged = {
      login: login(STORMING, 'FORGED'),
      count: quick ? 2_000 : 50_000,
      lanes: 200,
      addresses: 4,
      first: 100,
      many: true,
      ms: 40_000,
    }
    const before = await one.usage('tidy')
    const flood = crowd.ask<Crowd>('crowd', { port: one.facts.port, ...forged })
    await run(
      'its victim, during a flood of forged keys',
      one,
      other,
      { ...hello, login: login(STORMING), count: 100 * part },
      [first],
      NO_LIMIT,
    )
    await flood
    const after = await one.usage('tidy')
    rows.push({
      name: `heap after the flood of ${forged.count}`,
      cells: [undefined, undefined, undefined, undefined, `${((after.heap - before.heap) / 1e6).toFixed(1)} MB more`],
    })

    const pair = [await stsOf(LITTLE), await stsOf(LITTLE)]
    const some = { ...everybody, count: 2_700 * part, lanes: 500 * part }
    const took: number[] = []
    for (const hosts of [pair.slice(1), pair]) {
      const proxy = await proxyTo(LITTLE, ...hosts.map(({ facts }) => facts.port))
      const name = `${some.count} with ${hosts.length === 1 ? 'one host' : 'two hosts'} of ${LITTLE} calls a second`
      const { ms } = await run(name, proxy, crowd, some, hosts, LITTLE * SHARE * hosts.length)
      took.push(ms)
    }
    const [single = 0, double = 0] = took
    rows.push({
      name: 'the time with two hosts, of that with one',
      cells: [undefined, undefined, undefined, (double / single).toFixed(2), undefined],
    })
    const lame = await proxyTo(QUOTA, first.facts.port, NOWHERE)
    await run(`${everybody.count}, the second host down`, lame, crowd, everybody, [first])

    return {
      title: 'Storms',
      sentence: `STS takes ${LATENCY_MS} ms and throttles above ${QUOTA} calls a second, of which ${SHARE} are ours to use.`,
      columns: [
        'got in',
        'told to come back',
        'calls to STS (throttled; most in a second)',
        'of the least time',
        'login: median, p99, longest',
      ],
      rows,
    }
  } finally {
    await stage.close()
  }
}

function cells(seen: Crowd, { calls, throttled, most }: Calls, times: number | undefined): Cell[] {
  const refused = Object.entries(seen.refused).map(([code, count]) => `${count} × ${code}`)
  return [
    [String(seen.succeeded), ...refused].join(', '),
    String(seen.told),
    `${calls} (${throttled}; ${most})`,
    times === undefined ? undefined : times.toFixed(2),
    `${[seen.half, seen.p99, seen.longest].map(Math.round).join(', ')} ms`,
  ]
}
