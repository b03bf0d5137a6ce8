/**
 * AWS STS: the one request that a proof stands for, sent to the host that it was signed for, and what comes of it.
 *
 * A pool of our own per host, so that nothing of the environment (proxies, redirects, a global agent) takes part.
 */
import { type Dispatcher, Pool } from 'undici'
import { Fault } from '../errors.js'
import { ByteQueue } from '../wire/byteQueue.js'
import {
  type CallSts,
  classifyResponse,
  measureSkew,
  type StsOutcome,
  type StsResponse,
  type Unavailable,
  unavailable,
  withoutEchoedSecrets,
} from './outcome.js'
import { findPartition, type Partition } from './partition.js'
import { buildRequest, buildUnsignedRequest, type StsRequest } from './proof.js'

/** `host` is offered to clients, named in Host and verified in TLS; `connect` is dialled in its place. */
export type StsHost = { host: string; connect?: { host: string; port: number } | undefined; insecure?: boolean }

export type StsClientOptions = {
  /** The first one has the say about keys that are unknown: the others may be of regions that an account has not. */
  hosts: readonly StsHost[]
  /** The longest wait for one answer, connecting included. */
  timeoutMS: number
  /** Accounts see it in their CloudTrail. */
  userAgent: string
  /** Milliseconds since 1970, by our clock. */
  now: () => number
  /** Sockets per host. */
  maxSockets?: number
  /** A certificate authority in place of the well-known ones, PEM. */
  ca?: string
}

export type { CallSts, StsOutcome }

export type StsClient = {
  getCallerIdentity: CallSts
  /** What is wrong with the way to a host, found without credentials; undefined if nothing is. */
  probe(host: string, signal: AbortSignal): Promise<string | undefined>
  /** How far the clock of STS is ahead of ours, in milliseconds, by the latest answer of it; 0 before the first. */
  clockSkewMS(): number
  /** Ends every call and socket. */
  close(): Promise<void>
}

type Endpoint = { pool: Pool; partition: Partition; first: boolean }

const SOCKETS = 256
/** Milliseconds that an unused socket is kept: a login in the meantime saves two round trips. */
const IDLE = 20_000
/** Why a socket is closed; one for all, since each takes a stack trace. */
const LATE = new Error('no answer in time')
const LEFT = new Error('the client left')
const LONGEST_ANSWER = 64 * 1024
/** undici never gives back the place of a request whose header it refuses, so none that it may refuse gets there. */
const SENDABLE = /^[\x20-\x7e]+$/

/** A client of STS. Throws `config/invalid` for plain http beyond loopback. */
export function createStsClient({
  hosts,
  timeoutMS,
  userAgent,
  now,
  maxSockets = SOCKETS,
  ca,
}: StsClientOptions): StsClient {
  const endpoints = new Map<string, Endpoint>()
  for (const entry of hosts) {
    const pool = poolOf(entry, { timeoutMS, maxSockets, ca })
    // A name that is none of AWS's is the sandbox, or a stand-in that the operator chose; both speak of `aws`.
    const partition = findPartition(entry.host) ?? 'aws'
    endpoints.set(entry.host, { pool, partition, first: entry === hosts[0] })
  }
  let skew = 0

  /** The answer of a host, or why there was none. */
  function exchange(
    { pool }: Endpoint,
    request: StsRequest,
    ms: number,
    signal: AbortSignal,
  ): Promise<StsResponse | Unavailable> {
    signal.throwIfAborted()
    const headers = { ...request.headers, 'User-Agent': userAgent }
    for (const value of Object.values(headers)) {
      if (!SENDABLE.test(value)) {
        throw new Fault('internal', undefined, { why: 'a header of the request to STS cannot be sent' })
      }
    }
    return new Promise((resolve, reject) => {
      let socket: Dispatcher.DispatchController | undefined
      let over = false
      const settle = (act: () => void): void => {
        if (over) return
        over = true
        clearTimeout(timer)
        signal.removeEventListener('abort', leave)
        act()
      }
      // undici knows no abort before a request has a socket: who leaves earlier is not kept waiting, and never sent.
      const cut = (reason: Error, act: () => void): void => {
        settle(act)
        socket?.abort(reason)
      }
      const leave = () => cut(LEFT, () => reject(signal.reason))
      const timer = setTimeout(
        () => cut(LATE, () => resolve(unavailable(`no answer within ${Math.round(ms)} ms`, 'retry'))),
        ms,
      )
      signal.addEventListener('abort', leave, { once: true })
      let status = 0
      let told: Record<string, unknown> = {}
      const pieces = new ByteQueue()
      pool.dispatch(
        { method: 'POST', path: '/', headers, body: request.body },
        {
          onRequestStart(controller) {
            socket = controller
            if (over) controller.abort(LATE)
          },
          onResponseStart(_, statusCode, headers) {
            status = statusCode // of an informational one, too, which is followed by another
            told = headers
          },
          onResponseData: (_, chunk) => pieces.push(chunk),
          onResponseEnd() {
            const text = pieces.read(pieces.length).toString()
            settle(() => resolve({ status, type: told['content-type'], date: told.date, text }))
          },
          onResponseError: (_, error) => settle(() => resolve(broken(error))),
        },
      )
    })
  }

  /** What an answer comes to. The clock is learned from what was surely STS. */
  function learn(answer: StsResponse, { partition, first }: Endpoint): StsOutcome {
    const outcome = classifyResponse(answer, partition, first)
    if (outcome.is === 'identity' || outcome.is === 'refused') skew = measureSkew(answer.date, now()) ?? skew
    return outcome
  }

  return {
    async getCallerIdentity(proof, ms, signal) {
      const endpoint = endpoints.get(proof.challenge.host)
      if (!endpoint) return unavailable(`${proof.challenge.host} is offered no more`, 'first-host')
      const answer = await exchange(endpoint, buildRequest(proof), ms, signal)
      return 'is' in answer ? answer : withoutEchoedSecrets(learn(answer, endpoint), proof)
    },
    async probe(host, signal) {
      const endpoint = endpoints.get(host)
      if (!endpoint) return `${host} is not one of the hosts`
      const answer = await exchange(endpoint, buildUnsignedRequest(host), timeoutMS, signal)
      const outcome = 'is' in answer ? answer : learn(answer, endpoint)
      return outcome.is === 'unavailable' ? outcome.why : undefined
    },
    clockSkewMS: () => skew,
    async close() {
      await Promise.all([...endpoints.values()].map(({ pool }) => pool.destroy()))
    },
  }
}

function poolOf(
  { host, connect, insecure = false }: StsHost,
  { timeoutMS, maxSockets, ca }: { timeoutMS: number; maxSockets: number; ca: string | undefined },
): Pool {
  const scheme = insecure ? 'http' : 'https'
  const dialled = connect ? `${connect.host.includes(':') ? `[${connect.host}]` : connect.host}:${connect.port}` : host
  const origin = new URL(`${scheme}://${dialled}`)
  if (insecure && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(origin.hostname)) {
    throw new Fault('config/invalid', `sts.hosts: ${dialled} is beyond loopback and would be asked over plain http`)
  }
  return new Pool(origin, {
    connections: maxSockets,
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

const TOO_LONG = 'UND_ERR_RES_EXCEEDED_MAX_SIZE'

function broken(thrown: unknown): Unavailable {
  const { code = '', message = '' } = thrown as { code?: string; message?: string }
  if (code === TOO_LONG) return unavailable(`its answer is longer than ${LONGEST_ANSWER} bytes`, 'none')
  const said = [code, message].filter(part => part !== '').join(': ')
  return unavailable(said.replace(/[^\x20-\x7e]/g, '?').slice(0, 300), 'retry')
}
