/**
 * AWS STS: the one request that a proof stands for, sent to the host that it was signed for, and what comes of it.
 *
 * A pool of our own per host, so that nothing of the environment (proxies, redirects, a global agent) takes part.
 */
import { Pool } from 'undici'
import { Fault } from '../errors.js'
import {
  type Answer,
  type Ask,
  type Outcome,
  readOutcome,
  skewOf,
  type Unavailable,
  unavailable,
  withoutEcho,
} from './outcome.js'
import { type Partition, partitionOf } from './partition.js'
import { type Request, requestOf, unsigned } from './proof.js'

/** `host` is offered to clients, named in Host and verified in TLS; `connect` is dialled in its place. */
export type Host = { host: string; connect?: { host: string; port: number } | undefined; insecure?: boolean }

export type Options = {
  /** The first one has the say about keys that are unknown: the others may be of regions that an account has not. */
  hosts: readonly Host[]
  /** The longest wait for one answer, connecting included. */
  timeoutMS: number
  /** Accounts see it in their CloudTrail. */
  userAgent: string
  /** Milliseconds since 1970, by our clock. */
  now: () => number
  /** Sockets per host. */
  sockets?: number
  /** A certificate authority in place of the well-known ones, PEM. */
  ca?: string
}

export type { Ask, Outcome }

export type Sts = {
  ask: Ask
  /** What is wrong with the way to a host, found without credentials; undefined if nothing is. */
  reach(host: string, signal: AbortSignal): Promise<string | undefined>
  /** How far the clock of STS is ahead of ours, in milliseconds, by the latest answer of it; 0 before the first. */
  skewMS(): number
  /** Ends every call and socket. */
  close(): Promise<void>
}

type Endpoint = { pool: Pool; partition: Partition; first: boolean }

const SOCKETS = 256
/** Milliseconds that an unused socket is kept: a login in the meantime saves two round trips. */
const IDLE = 20_000
const LATE = new Error('no answer in time')
const LONGEST_ANSWER = 64 * 1024
/** undici never gives back the place of a request whose header it refuses, so none that it may refuse gets there. */
const SENDABLE = /^[\x20-\x7e]+$/

/** A client of STS. Throws `config/invalid` for plain http beyond loopback. */
export function stsClient({ hosts, timeoutMS, userAgent, now, sockets = SOCKETS, ca }: Options): Sts {
  const endpoints = new Map<string, Endpoint>()
  for (const entry of hosts) {
    const pool = poolOf(entry, { timeoutMS, sockets, ca })
    // A name that is none of AWS's is the sandbox, or a stand-in that the operator chose; both speak of `aws`.
    const partition = partitionOf(entry.host) ?? 'aws'
    endpoints.set(entry.host, { pool, partition, first: entry === hosts[0] })
  }
  let skew = 0

  /** The answer of a host, or why there was none. */
  async function exchange({ pool }: Endpoint, request: Request, signal: AbortSignal): Promise<Answer | Unavailable> {
    signal.throwIfAborted()
    const headers = { ...request.headers, 'User-Agent': userAgent }
    if (!Object.values(headers).every(value => SENDABLE.test(value))) {
      throw new Fault('internal', undefined, { why: 'a header of the request to STS cannot be sent' })
    }
    const either = new AbortController()
    const leave = () => either.abort(signal.reason)
    const timer = setTimeout(() => either.abort(LATE), timeoutMS)
    signal.addEventListener('abort', leave, { once: true })
    try {
      return await unlessAborted(send(pool, { ...request, headers }, either.signal), either.signal)
    } catch (thrown) {
      signal.throwIfAborted()
      return either.signal.aborted ? unavailable(`no answer within ${timeoutMS} ms`, 'again') : broken(thrown)
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
    }
  }

  /** What an answer comes to. The clock is learned from what was surely STS. */
  function learn(answer: Answer, { partition, first }: Endpoint): Outcome {
    const outcome = readOutcome(answer, partition, first)
    if (outcome.is === 'identity' || outcome.is === 'refused') skew = skewOf(answer.date, now()) ?? skew
    return outcome
  }

  return {
    async ask(proof, signal) {
      const endpoint = endpoints.get(proof.challenge.host)
      if (!endpoint) return unavailable(`${proof.challenge.host} is offered no more`, 'first')
      const answer = await exchange(endpoint, requestOf(proof), signal)
      return 'is' in answer ? answer : withoutEcho(learn(answer, endpoint), proof)
    },
    async reach(host, signal) {
      const endpoint = endpoints.get(host)
      if (!endpoint) return `${host} is not one of the hosts`
      const answer = await exchange(endpoint, unsigned(host), signal)
      const outcome = 'is' in answer ? answer : learn(answer, endpoint)
      return outcome.is === 'unavailable' ? outcome.why : undefined
    },
    skewMS: () => skew,
    async close() {
      await Promise.all([...endpoints.values()].map(({ pool }) => pool.destroy()))
    },
  }
}

function poolOf(
  { host, connect, insecure = false }: Host,
  { timeoutMS, sockets, ca }: { timeoutMS: number; sockets: number; ca: string | undefined },
): Pool {
  const scheme = insecure ? 'http' : 'https'
  const dialled = connect ? `${connect.host.includes(':') ? `[${connect.host}]` : connect.host}:${connect.port}` : host
  const origin = new URL(`${scheme}://${dialled}`)
  if (insecure && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(origin.hostname)) {
    throw new Fault('config/invalid', `sts.hosts: ${dialled} is beyond loopback and would be asked over plain http`)
  }
  return new Pool(origin, {
    connections: sockets,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: IDLE,
    connectTimeout: timeoutMS,
    headersTimeout: timeoutMS,
    bodyTimeout: timeoutMS,
    maxResponseSize: LONGEST_ANSWER,
    connect: {
      timeout: timeoutMS,
      servername: host.replace(/:\d+$/, ''),
      rejectUnauthorized: true,
      ...(ca !== undefined && { ca }),
    },
  })
}

async function send(pool: Pool, request: Request, signal: AbortSignal): Promise<Answer> {
  const { statusCode, headers, body } = await pool.request({ method: 'POST', path: '/', signal, ...request })
  return { status: statusCode, type: headers['content-type'], date: headers.date, text: await body.text() }
}

/** undici notices an abort only once a request has a socket; a client that left is not kept waiting for one. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason)
    signal.addEventListener('abort', leave, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
  })
}

const TOO_LONG = 'UND_ERR_RES_EXCEEDED_MAX_SIZE'

function broken(thrown: unknown): Unavailable {
  const { code = '', message = '' } = thrown as { code?: string; message?: string }
  if (code === TOO_LONG) return unavailable(`its answer is longer than ${LONGEST_ANSWER} bytes`, 'later')
  const said = [code, message].filter(part => part !== '').join(': ')
  return unavailable(said.replace(/[^\x20-\x7e]/g, '?').slice(0, 300), 'again')
}
