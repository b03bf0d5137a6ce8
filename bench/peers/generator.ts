/** The load: pools of clients, each kept open over all rounds, and logins that are closed at once. */

import { Secret } from '../../src/log.js'
import { createScramKeyCache } from '../../src/upstream/scramKeys.js'
import { type Client, client, type Login, type Way } from '../client.js'
import { type Shape, shapes } from '../messages.js'
import { answers } from './answer.js'

export type Who = 'aws' | 'scram' | 'nobody'
export type Opening = { pool: string; way: Way; who: Who; clients: number }
export type Running = { pool: string; shape: Shape; clients: number; ms: number }
export type LoggingIn = { way: Way; who: Who; lanes: number; ms: number }
/** How often it was done, and in how many milliseconds. */
export type Done = { count: number; ms: number }

const [accessKeyId = '', secretAccessKey = '', user = '', password = ''] = process.argv.slice(2)

/** A login opens, holds and closes; so many are under way while a pool is opened. */
const LANES = 64

const pools = new Map<string, Client[]>()

const owner = { upstream: 'bench', name: user, password: new Secret(password) }
const remembered = createScramKeyCache({ maxEntries: 1 })
const logins: Record<Who, Login> = {
  aws: { by: 'aws', accessKeyId, secretAccessKey },
  nobody: { by: 'nobody' },
  scram: {
    by: 'scram',
    user,
    async derive(salt, iterations) {
      const keys = await remembered.deriverFor(owner)(salt, iterations)
      remembered.store(owner, { salt, iterations, keys })
      return keys
    },
  },
}

/** Runs a step over and over in each lane, until each has had its last. */
async function inLanes(count: number, step: () => Promise<boolean>): Promise<void> {
  const lane = async () => {
    while (await step());
  }
  await Promise.all(Array.from({ length: count }, lane))
}

async function open({ pool, way, who, clients }: Opening): Promise<void> {
  const opened = pools.get(pool) ?? []
  pools.set(pool, opened)
  let left = clients
  await inLanes(Math.min(LANES, clients), async () => {
    if (left-- <= 0) return false
    opened.push(await client(way, logins[who]))
    return true
  })
}

/** Each of the clients exchanges messages one after the other; what has begun when the time is over still counts. */
function run({ pool, shape, clients, ms }: Running): Promise<Done> {
  const chosen = (pools.get(pool) ?? []).slice(0, clients)
  const request = shapes[shape].request()
  const size = sizeOf(shape)
  return new Promise(resolve => {
    const started = performance.now()
    const end = started + ms
    let count = 0
    let active = chosen.length
    for (const each of chosen) {
      const next = (): void => each.exchange(request, size, completed)
      const completed = (): void => {
        count++
        const now = performance.now()
        if (now < end) next()
        else if (--active === 0) resolve({ count, ms: now - started })
      }
      next()
    }
  })
}

const sizes = new Map<Shape, number>()
function sizeOf(shape: Shape): number {
  const known = sizes.get(shape) ?? shapes[shape].reply().length
  sizes.set(shape, known)
  return known
}

async function logIn({ way, who, lanes, ms }: LoggingIn): Promise<Done> {
  const started = performance.now()
  let count = 0
  await inLanes(lanes, async () => {
    if (performance.now() - started >= ms) return false
    const { close } = await client(way, logins[who])
    count++
    void close()
    return true
  })
  return { count, ms: performance.now() - started }
}

async function close({ pool }: { pool: string }): Promise<void> {
  const closing = pools.get(pool) ?? []
  pools.delete(pool)
  await Promise.all(closing.map(each => each.close()))
}

answers({}, { open, run, logIn, close })
