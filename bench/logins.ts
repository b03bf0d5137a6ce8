/**
 * How many logins a second does one proxy process decide, and what does each cost it? Beside the least that it can cost in
 * Node on this machine, and SCRAM at the upstream.
 */
import { cost, figure, inTurns, type Round, rate, ratio } from './rounds.js'
import type { Peer } from './peer.js'
import type { Done, Who } from './peers/generator.js'
import type { Options } from './relay.js'
import { scene } from './testbed.js'
import type { Table } from './table.js'

const LANES = 64
/** Rounds before any is counted. */
const WARM = 6
/** What all rounds that count may take. Milliseconds. */
const BUDGET_MS = 25_000

export async function logins({ quick, beside, profile }: Options): Promise<Table> {
  const stage = await scene(profile)
  const { upstream, generator } = stage
  try {
    const turn = (port: number, who: Who, of: Peer) => async (): Promise<Round> => {
      const before = await of.usage()
      const done = await generator.ask<Done>('logIn', { way: { port }, who, lanes: LANES, ms: quick ? 500 : 1500 })
      return { ...done, cpuMS: (await of.usage()).cpuMS - before.cpuMS }
    }
    const proxy = await stage.proxy()
    const floor = await stage.floor()
    const other = beside ? await stage.proxy({ beside }) : undefined
    const variants: Record<string, () => Promise<Round>> = {
      direct: turn(upstream.facts.port, 'scram', upstream),
      floor: turn(floor.facts.port, 'aws', floor),
      proxy: turn(proxy.facts.port, 'aws', proxy),
      ...(other && { other: turn(other.facts.port, 'aws', other) }),
    }
    // A server is judged as it runs for months: its code is compiled once some thousands of logins have been through.
    for (const name of ['proxy', 'other', 'floor']) {
      for (let nth = 0; nth < WARM && !quick; nth++) await variants[name]?.()
    }
    const results: Record<string, Round[]> = await inTurns(quick ? 3 : 5, variants, BUDGET_MS)
    const ours = results.proxy ?? []
    const row = (name: string, rounds: Round[]) => ({
      name,
      cells: [
        { ...figure(rounds.map(rate)), unit: '/s' },
        { ...figure(rounds.map(cost)), unit: ' ms' },
        figure(rounds.map(round => 1000 / cost(round))),
        ratio(ours, rounds, rate),
        ratio(ours, rounds, cost),
      ],
    })
    return {
      title: 'Logins',
      sentence: `${LANES} at a time, each connection closed after its login. CPU time is that of the process that decides.`,
      columns: ['a second', 'CPU of one', 'for a second of CPU', 'rate proxy/this', 'CPU proxy/this'],
      rows: [
        row('MONGODB-AWS through the proxy', ours),
        row('its sockets, reads and writes alone', results.floor ?? []),
        row('SCRAM at the upstream', results.direct ?? []),
        ...(results.other ? [row('MONGODB-AWS through the other build', results.other)] : []),
      ],
    }
  } finally {
    await stage.close()
  }
}
