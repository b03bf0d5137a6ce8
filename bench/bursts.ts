/**
 * What happens during a burst of logins, with an STS that throttles above its quota? Does every login succeed, how close is
 * the time to the one that the quota permits, and do other clients notice?
 */
import { randomBytes } from 'node:crypto'
import { createAccessKeyId } from '../sandbox/src/aws/accessKey.js'
import type { BurstOptions, BurstResult } from './loginBurst.js'
import { type Peer, startPeer } from './peer.js'
import type { StsCalls } from './peers/throttlingSts.js'
import type { Cell, Row, Table } from './table.js'
import { type BenchOptions, createTestbed, type ServerPeer, type Testbed } from './testbed.js'

const QUOTA = 600
/** Low enough to be the only limit when one host is compared with two. */
const LOW_QUOTA = 250
const SHARE = 0.9
const LATENCY_MS = 50
const HOSTS = ['sts.us-east-1.amazonaws.com', 'sts.eu-west-1.amazonaws.com']
const [BUSY_ACCOUNT, QUIET_ACCOUNT] = ['111111111111', '222222222222'] as const
/** No STS listens there. */
const CLOSED_PORT = 9

type Load = Omit<BurstOptions, 'port'>

/** `permitted`: logins per second that the budget permits; undefined if the budget does not limit this load. */
type Scenario = { proxy: ServerPeer; generator: Peer; load: Load; hosts: Peer[]; permitted?: number }

const createLogin = (account: string, suffix = 'HONEST'): BurstOptions['login'] => ({
  by: 'aws',
  accessKeyId: createAccessKeyId('AKIA', account, randomBytes).slice(0, 14) + suffix,
  secretAccessKey: 'whatever',
})

export async function measureBursts(options: BenchOptions): Promise<Table> {
  const testbed = await createTestbed(options.profile)
  try {
    const bursts = new BurstBenchmark(testbed, options, {
      burst: testbed.add(await startPeer('loginBurst')),
      quiet: testbed.add(await startPeer('loginBurst')),
    })
    return {
      title: 'Login bursts',
      sentence: `STS takes ${LATENCY_MS} ms and throttles above ${QUOTA} calls a second, of which the proxy may use ${SHARE}.`,
      columns: [
        'succeeded',
        'retries',
        'calls to STS (throttled; most per second)',
        'of the least time',
        'login: median, p99, longest',
      ],
      rows: await bursts.run(),
    }
  } finally {
    await testbed.close()
  }
}

class BurstBenchmark {
  readonly #testbed: Testbed
  readonly #options: BenchOptions
  readonly #generators: { burst: Peer; quiet: Peer }
  readonly #rows: Row[] = []
  /** Of the full size. */
  readonly #scale: number
  /** The burst that most scenarios use. */
  readonly #burst: Load
  /** A client that logs in now and then. */
  readonly #quiet: Load

  constructor(testbed: Testbed, options: BenchOptions, generators: { burst: Peer; quiet: Peer }) {
    this.#testbed = testbed
    this.#options = options
    this.#generators = generators
    this.#scale = options.quick ? 0.1 : 1
    const [count, concurrency] = [10_000 * this.#scale, 1_000 * this.#scale]
    this.#burst = { login: createLogin(BUSY_ACCOUNT), count, concurrency, addresses: 8 }
    this.#quiet = {
      login: createLogin(QUIET_ACCOUNT),
      count: options.quick ? 20 : 150,
      concurrency: 2,
      addresses: 1,
      firstAddress: 200,
      pauseMS: 50,
    }
  }

  async run(): Promise<Row[]> {
    const sts = await this.#startSts(QUOTA)
    const proxy = await this.#startProxy(QUOTA, sts.info.port)
    const alone = await this.#measureBursts(proxy, sts)
    await this.#measureQuietAccountBesideBurst(proxy, sts, alone.p99)
    await this.#measureExpiredToken(proxy, sts)
    await this.#measureUnknownKeys(proxy, sts)
    await this.#measureTwoHosts()
    await this.#measureHostDown(sts)
    return this.#rows
  }

  async #measureBursts(proxy: ServerPeer, sts: Peer): Promise<BurstResult> {
    const { burst: generator, quiet } = this.#generators
    const alone = await this.#measure('a quiet account, alone', {
      proxy,
      generator: quiet,
      load: this.#quiet,
      hosts: [sts],
    })
    const { count, concurrency } = this.#burst
    const permitted = QUOTA * SHARE
    await this.#measure(`${count} logins, ${concurrency} at a time`, {
      proxy,
      generator,
      load: this.#burst,
      hosts: [sts],
      permitted,
    })
    const atOnce = { ...this.#burst, count: 2_000 * this.#scale, concurrency: 2_000 * this.#scale }
    await this.#measure(`${atOnce.count} at once`, { proxy, generator, load: atOnce, hosts: [sts], permitted })
    return alone
  }

  async #measureQuietAccountBesideBurst(proxy: ServerPeer, sts: Peer, aloneP99: number): Promise<void> {
    const { burst, quiet } = this.#generators
    const running = this.#startLoad(burst, proxy, this.#burst)
    const { count } = this.#burst
    const load = { ...this.#quiet, count, maxMS: (count / (QUOTA * SHARE)) * 900 }
    const name = 'the quiet account during a burst of another account'
    const { p99 } = await this.#measure(name, { proxy, generator: quiet, load, hosts: [sts] })
    await running
    this.#addDifference('its p99 during the burst, above alone', `${Math.round(p99 - aloneP99)} ms`)
  }

  async #measureExpiredToken(proxy: ServerPeer, sts: Peer): Promise<void> {
    const login = {
      ...createLogin(BUSY_ACCOUNT),
      accessKeyId: `ASIA${createLogin(BUSY_ACCOUNT, 'EXPIRE').accessKeyId.slice(4)}`,
      token: 'expired',
    }
    const load = { login, count: 500 * this.#scale, concurrency: 1, addresses: 1 }
    await this.#measure('a crash loop with an expired token', {
      proxy,
      generator: this.#generators.burst,
      load,
      hosts: [sts],
    })
  }

  async #measureUnknownKeys(proxy: ServerPeer, sts: Peer): Promise<void> {
    const { burst, quiet } = this.#generators
    const flood = {
      login: createLogin(BUSY_ACCOUNT, 'FORGED'),
      count: this.#options.quick ? 2_000 : 50_000,
      concurrency: 200,
      addresses: 4,
      firstAddress: 100,
      unknownKeys: true,
      maxMS: 40_000,
    }
    const before = await proxy.usage('collect')
    const running = this.#startLoad(burst, proxy, flood)
    const load = { ...this.#quiet, login: createLogin(BUSY_ACCOUNT), count: 100 * this.#scale }
    const name = 'a client of the account, during a flood of unknown keys'
    await this.#measure(name, { proxy, generator: quiet, load, hosts: [sts] })
    await running
    const after = await proxy.usage('collect')
    const megabytes = ((after.heap - before.heap) / 1e6).toFixed(1)
    this.#addDifference(`heap after the flood of ${flood.count}`, `${megabytes} MB more`)
  }

  async #measureTwoHosts(): Promise<void> {
    const pair = [await this.#startSts(LOW_QUOTA), await this.#startSts(LOW_QUOTA)]
    const load = { ...this.#burst, count: 2_700 * this.#scale, concurrency: 500 * this.#scale }
    const durations: number[] = []
    for (const hosts of [pair.slice(1), pair]) {
      const proxy = await this.#startProxy(LOW_QUOTA, ...hosts.map(({ info }) => info.port))
      const name = `${load.count} with ${hosts.length === 1 ? 'one host' : 'two hosts'} of ${LOW_QUOTA} calls a second`
      const permitted = LOW_QUOTA * SHARE * hosts.length
      const { ms } = await this.#measure(name, {
        proxy,
        generator: this.#generators.burst,
        load,
        hosts,
        permitted,
      })
      durations.push(ms)
    }
    const [one = 0, two = 0] = durations
    this.#rows.push({
      name: 'the time with two hosts, of that with one',
      cells: [undefined, undefined, undefined, (two / one).toFixed(2), undefined],
    })
  }

  async #measureHostDown(sts: ServerPeer): Promise<void> {
    const proxy = await this.#startProxy(QUOTA, sts.info.port, CLOSED_PORT)
    await this.#measure(`${this.#burst.count}, the second host down`, {
      proxy,
      generator: this.#generators.burst,
      load: this.#burst,
      hosts: [sts],
      permitted: QUOTA * SHARE,
    })
  }

  /** Runs a load and adds a row. */
  async #measure(name: string, { proxy, generator, load, hosts, permitted }: Scenario): Promise<BurstResult> {
    await countCalls(hosts)
    const result = await this.#startLoad(generator, proxy, load)
    const calls = await countCalls(hosts)
    const leastTimes = permitted === undefined ? undefined : result.ms / ((load.count / permitted) * 1000)
    this.#rows.push({ name, cells: renderCells(result, calls, leastTimes) })
    return result
  }

  #startLoad(generator: Peer, proxy: ServerPeer, load: Load): Promise<BurstResult> {
    return generator.call<BurstResult>('runLoginBurst', { port: proxy.info.port, ...load })
  }

  #addDifference(name: string, text: string): void {
    this.#rows.push({ name, cells: [undefined, undefined, undefined, undefined, text] })
  }

  async #startSts(quota: number): Promise<ServerPeer> {
    const args = [quota, LATENCY_MS].map(String)
    return this.#testbed.add(await startPeer<{ port: number }>('throttlingSts', args))
  }

  /** A proxy with STS hosts of this quota. Some logins warm it up: code that never ran is slow. */
  async #startProxy(quota: number, ...ports: number[]): Promise<ServerPeer> {
    const proxy = await this.#testbed.startProxy({
      beside: this.#options.beside,
      arns: [BUSY_ACCOUNT, QUIET_ACCOUNT].map(account => `arn:aws:iam::${account}:user/bench`),
      sts: {
        insecure: true,
        quota,
        share: SHARE,
        hosts: ports.map((port, nth) => ({ host: HOSTS[nth], connect: `127.0.0.1:${port}` })),
      },
    })
    const warmUp = {
      login: createLogin(BUSY_ACCOUNT),
      count: quota * 2.5 * this.#scale,
      concurrency: 64,
      addresses: 8,
    }
    await this.#startLoad(this.#generators.burst, proxy, warmUp)
    return proxy
  }
}

/** The calls to these hosts since the last count. */
async function countCalls(hosts: readonly Peer[]): Promise<StsCalls> {
  const counts = await Promise.all(hosts.map(host => host.call<StsCalls>('calls')))
  const sum = (name: keyof StsCalls) => counts.reduce((total, count) => total + count[name], 0)
  return {
    calls: sum('calls'),
    throttled: sum('throttled'),
    refused: sum('refused'),
    maxPerSecond: Math.max(...counts.map(({ maxPerSecond }) => maxPerSecond)),
  }
}

function renderCells(
  result: BurstResult,
  { calls, throttled, maxPerSecond }: StsCalls,
  leastTimes: number | undefined,
): Cell[] {
  const refused = Object.entries(result.refused).map(([code, count]) => `${count} × ${code}`)
  return [
    [String(result.succeeded), ...refused].join(', '),
    String(result.retries),
    `${calls} (${throttled}; ${maxPerSecond})`,
    leastTimes?.toFixed(2),
    result.succeeded > 0 ? `${[result.median, result.p99, result.max].map(Math.round).join(', ')} ms` : undefined,
  ]
}
