/** How many logins per second does one proxy process decide, and what does each cost, compared with the lower bound in Node? */
import type { Peer } from './peer.js'
import type { LoginMethod, Result } from './peers/generator.js'
import { cpuCost, type Round, rate, ratio, runRounds, summarize } from './rounds.js'
import type { Table } from './table.js'
import { type BenchOptions, createTestbed } from './testbed.js'

const CONCURRENCY = 64
/** Rounds that do not count. */
const WARM_UP_ROUNDS = 6
/** The time for all rounds that count, in milliseconds. */
const BUDGET_MS = 25_000

export async function measureLogins({ quick, beside, profile }: BenchOptions): Promise<Table> {
  const testbed = await createTestbed(profile)
  const { upstream, generator } = testbed
  try {
    const measure = (port: number, login: LoginMethod, peer: Peer) => async (): Promise<Round> => {
      const before = await peer.usage()
      const params = { connection: { port }, login, concurrency: CONCURRENCY, ms: quick ? 500 : 1500 }
      const result = await generator.call<Result>('logIn', params)
      return { ...result, cpuMS: (await peer.usage()).cpuMS - before.cpuMS }
    }
    const proxy = await testbed.startProxy()
    const floor = await testbed.startFloor()
    const other = beside ? await testbed.startProxy({ beside }) : undefined
    const variants: Record<string, () => Promise<Round>> = {
      direct: measure(upstream.info.port, 'scram', upstream),
      floor: measure(floor.info.port, 'aws', floor),
      proxy: measure(proxy.info.port, 'aws', proxy),
      ...(other && { other: measure(other.info.port, 'aws', other) }),
    }
    // Servers run for months: their code is compiled after some thousand logins.
    for (const name of ['proxy', 'other', 'floor']) {
      for (let nth = 0; nth < WARM_UP_ROUNDS && !quick; nth++) await variants[name]?.()
    }
    const results: Record<string, Round[]> = await runRounds(quick ? 3 : 5, variants, BUDGET_MS)
    const proxyRounds = results.proxy ?? []
    const row = (name: string, rounds: Round[]) => ({
      name,
      cells: [
        { ...summarize(rounds.map(rate)), unit: '/s' },
        { ...summarize(rounds.map(cpuCost)), unit: ' ms' },
        summarize(rounds.map(round => 1000 / cpuCost(round))),
        ratio(proxyRounds, rounds, rate),
        ratio(proxyRounds, rounds, cpuCost),
      ],
    })
    return {
      title: 'Logins',
      sentence: `${CONCURRENCY} at a time, each connection closed after its login. CPU time is that of the process that decides.`,
      columns: ['per second', 'CPU per login', 'per second of CPU', 'rate proxy/this', 'CPU proxy/this'],
      rows: [
        row('MONGODB-AWS through the proxy', proxyRounds),
        row('its sockets, reads and writes alone', results.floor ?? []),
        row('SCRAM at the upstream', results.direct ?? []),
        ...(results.other ? [row('MONGODB-AWS through the other build', results.other)] : []),
      ],
    }
  } finally {
    await testbed.close()
  }
}
