/** The load generator: pools of clients that stay connected over all rounds, and logins that disconnect at once. */
import { Secret } from '../../src/log.js'
import { createScramKeyCache } from '../../src/upstream/scramKeys.js'
import { type Client, type ConnectOptions, type Credentials, connectClient } from '../client.js'
import { type Exchange, exchanges } from '../messages.js'
import { answerCalls } from './answer.js'

export type LoginMethod = Credentials['by']
export type OpenParams = { pool: string; connection: ConnectOptions; login: LoginMethod; clients: number }
export type RunParams = { pool: string; exchange: Exchange; clients: number; ms: number }
export type LogInParams = { connection: ConnectOptions; login: LoginMethod; concurrency: number; ms: number }
/** The number of operations, and their duration in milliseconds. */
export type Result = { count: number; ms: number }

const [accessKeyId = '', secretAccessKey = '', user = '', password = ''] = process.argv.slice(2)

/** Concurrent logins while a pool is opened. */
const OPEN_CONCURRENCY = 64

const pools = new Map<string, Client[]>()

const scramUser = { upstream: 'bench', name: user, password: new Secret(password) }
const scramKeys = createScramKeyCache({ maxEntries: 1 })
const credentials: Record<LoginMethod, Credentials> = {
  aws: { by: 'aws', accessKeyId, secretAccessKey },
  none: { by: 'none' },
  scram: {
    by: 'scram',
    user,
    async derive(salt, iterations) {
      const keys = await scramKeys.deriverFor(scramUser)(salt, iterations)
      scramKeys.store(scramUser, { salt, iterations, keys })
      return keys
    },
  },
}

/** Runs `step` repeatedly, this many at a time, until it returns false. */
async function runConcurrently(concurrency: number, step: () => Promise<boolean>): Promise<void> {
  const worker = async () => {
    while (await step());
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
}

async function open({ pool, connection, login, clients }: OpenParams): Promise<void> {
  const opened = pools.get(pool) ?? []
  pools.set(pool, opened)
  let remaining = clients
  await runConcurrently(Math.min(OPEN_CONCURRENCY, clients), async () => {
    if (remaining-- <= 0) return false
    opened.push(await connectClient(connection, credentials[login]))
    return true
  })
}

/** Each client exchanges messages one after the other. Exchanges that end after `ms` count if they began before. */
function run({ pool, exchange, clients, ms }: RunParams): Promise<Result> {
  const chosen = (pools.get(pool) ?? []).slice(0, clients)
  const request = exchanges[exchange].request()
  const replyBytes = replyBytesOf(exchange)
  return new Promise(resolve => {
    const started = performance.now()
    const end = started + ms
    let count = 0
    let active = chosen.length
    for (const client of chosen) {
      const next = (): void => client.exchange(request, replyBytes, onExchanged)
      const onExchanged = (): void => {
        count++
        const now = performance.now()
        if (now < end) next()
        else if (--active === 0) resolve({ count, ms: now - started })
      }
      next()
    }
  })
}

const replySizes = new Map<Exchange, number>()
function replyBytesOf(exchange: Exchange): number {
  const size = replySizes.get(exchange) ?? exchanges[exchange].reply().length
  replySizes.set(exchange, size)
  return size
}

async function logIn({ connection, login, concurrency, ms }: LogInParams): Promise<Result> {
  const started = performance.now()
  let count = 0
  await runConcurrently(concurrency, async () => {
    if (performance.now() - started >= ms) return false
    const { close } = await connectClient(connection, credentials[login])
    count++
    void close()
    return true
  })
  return { count, ms: performance.now() - started }
}

async function close({ pool }: { pool: string }): Promise<void> {
  const closing = pools.get(pool) ?? []
  pools.delete(pool)
  await Promise.all(closing.map(client => client.close()))
}

answerCalls({}, { open, run, logIn, close })
