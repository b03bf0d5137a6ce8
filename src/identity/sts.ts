/**
 * The client of AWS STS. It sends GetCallerIdentity requests to the host that they were signed for.
 *
 * Each host has its own connection pool, so that nothing of the environment (proxies, redirects, a global agent) affects
 * the calls. A proxy is used only if a setting names it.
 */
import { type Dispatcher, Pool } from 'undici'
import { Fault } from '../errors.js'
import { ByteQueue } from '../wire/byteQueue.js'
import { type ConnectProxy, createTunnelConnector } from './connectProxy.js'
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
import { type Partition, partitionOfStsHost } from './partition.js'
import { buildRequest, buildUnsignedRequest, type StsRequest } from './proof.js'

/** `host` is offered to clients, sent in the Host header and verified in TLS. `connect` is the address to dial instead. */
export type StsHost = { host: string; connect?: { host: string; port: number } | undefined; insecure?: boolean }

export type StsClientOptions = {
  /** The first host decides whether a key exists: the others may be in regions that an account has not enabled. */
  hosts: readonly StsHost[]
  /** The timeout of `probe`, and for every call the limit for connecting, for the headers and for the body. */
  timeoutMS: number
  /** AWS accounts see it in CloudTrail. */
  userAgent: string
  /** Milliseconds since 1970, by the proxy's clock. */
  now: () => number
  /** Per host. */
  maxSockets?: number
  /** PEM of a certificate authority that replaces the well-known ones. */
  ca?: string
  /** An HTTP proxy between this process and STS. It excludes plain http to STS. */
  proxy?: ConnectProxy | undefined
}

export type { CallSts, StsOutcome }

export type StsClient = {
  getCallerIdentity: CallSts
  /** Calls a host without credentials. Returns the failure; undefined if STS answered. */
  probe(host: string, signal: AbortSignal): Promise<Unavailable | undefined>
  /** How far the clock of STS is ahead of the proxy's, in milliseconds, by its latest answer; 0 before the first one. */
  clockSkewMS(): number
  /** Ends all calls and closes all sockets. */
  close(): Promise<void>
}

type Endpoint = { pool: Pool; partition: Partition; isFirst: boolean }

export const MAX_STS_SOCKETS = 256
/** How long an unused socket stays open. A login in the meantime saves two round trips. */
const KEEP_ALIVE_MS = 20_000
/** Reasons for closing a socket. They are constants, since each new error would capture a stack trace. */
const TIMED_OUT = new Error('no answer in time')
const CLIENT_LEFT = new Error('the client left')
const MAX_RESPONSE_BYTES = 64 * 1024
/** undici never frees the pool slot of a request whose header it rejects, so such a request must not reach it. */
const SENDABLE = /^[\x20-\x7e]+$/

/** Throws `config/invalid` for plain http to a host that is not loopback or through a proxy. */
export function createStsClient({
  hosts,
  timeoutMS,
  userAgent,
  now,
  maxSockets = MAX_STS_SOCKETS,
  ca,
  proxy,
}: StsClientOptions): StsClient {
  const endpoints = new Map<string, Endpoint>()
  for (const entry of hosts) {
    const pool = createPool(entry, { timeoutMS, maxSockets, ca, proxy })
    const partition = partitionOfStsHost(entry.host)
    endpoints.set(entry.host, { pool, partition, isFirst: entry === hosts[0] })
  }
  let skewMS = 0

  /** Classifies a response. Only an answer of STS itself sets the clock skew. */
  function interpret(response: StsResponse, { partition, isFirst }: Endpoint): StsOutcome {
    const outcome = classifyResponse(response, partition, isFirst)
    if (outcome.is === 'identity' || outcome.is === 'refused') skewMS = measureSkew(response.date, now()) ?? skewMS
    return outcome
  }

  return {
    async getCallerIdentity(proof, ms, signal) {
      const endpoint = endpoints.get(proof.challenge.host)
      if (!endpoint) return unavailable(`${proof.challenge.host} is no longer offered`, 'first-host')
      const response = await send(endpoint.pool, buildRequest(proof), userAgent, ms, signal)
      return 'is' in response ? response : withoutEchoedSecrets(interpret(response, endpoint), proof)
    },
    async probe(host, signal) {
      const endpoint = endpoints.get(host)
      if (!endpoint) return unavailable(`${host} is not one of the hosts`, 'none')
      const response = await send(endpoint.pool, buildUnsignedRequest(host), userAgent, timeoutMS, signal)
      const outcome = 'is' in response ? response : interpret(response, endpoint)
      return outcome.is === 'unavailable' ? outcome : undefined
    },
    clockSkewMS: () => skewMS,
    async close() {
      await Promise.all([...endpoints.values()].map(({ pool }) => pool.destroy()))
    },
  }
}

/** Sends a request and collects the response, within `ms`. Throws the reason of the signal. */
function send(
  pool: Pool,
  request: StsRequest,
  userAgent: string,
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
    let controller: Dispatcher.DispatchController | undefined
    let isSettled = false
    const settle = (act: () => void): void => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      act()
    }
    // undici cannot abort a request that has no socket yet. Settle at once; `onRequestStart` aborts the request later.
    const abort = (reason: Error, act: () => void): void => {
      settle(act)
      controller?.abort(reason)
    }
    const onAbort = () => abort(CLIENT_LEFT, () => reject(signal.reason))
    const timer = setTimeout(
      () => abort(TIMED_OUT, () => resolve(unavailable(`no answer within ${Math.round(ms)} ms`, 'retry'))),
      ms,
    )
    signal.addEventListener('abort', onAbort, { once: true })
    let status = 0
    let responseHeaders: Record<string, unknown> = {}
    const chunks = new ByteQueue()
    pool.dispatch(
      { method: 'POST', path: '/', headers, body: request.body },
      {
        onRequestStart(given) {
          controller = given
          if (isSettled) given.abort(TIMED_OUT)
        },
        onResponseStart(_, statusCode, headers) {
          status = statusCode // an informational response is followed by the final one
          responseHeaders = headers
        },
        onResponseData: (_, chunk) => chunks.push(chunk),
        onResponseEnd() {
          const text = chunks.read(chunks.length).toString()
          settle(() => resolve({ status, type: responseHeaders['content-type'], date: responseHeaders.date, text }))
        },
        onResponseError: (_, error) => settle(() => resolve(describeError(error))),
      },
    )
  })
}

function createPool(
  { host, connect, insecure = false }: StsHost,
  {
    timeoutMS,
    maxSockets,
    ca,
    proxy,
  }: { timeoutMS: number; maxSockets: number; ca: string | undefined; proxy: ConnectProxy | undefined },
): Pool {
  const scheme = insecure ? 'http' : 'https'
  const address = connect ? `${connect.host.includes(':') ? `[${connect.host}]` : connect.host}:${connect.port}` : host
  const origin = new URL(`${scheme}://${address}`)
  if (insecure && !/^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(origin.hostname)) {
    throw new Fault('config/invalid', `sts.hosts: ${address} is not a loopback address, so it needs https`)
  }
  if (insecure && proxy) throw new Fault('config/invalid', 'sts.proxy: excludes plain http to STS')
  const servername = host.replace(/:\d+$/, '')
  const target = `${origin.hostname}:${origin.port === '' ? 443 : origin.port}`
  return new Pool(origin, {
    connections: maxSockets,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectTimeout: timeoutMS,
    headersTimeout: timeoutMS,
    bodyTimeout: timeoutMS,
    maxResponseSize: MAX_RESPONSE_BYTES,
    connect: proxy
      ? createTunnelConnector({ proxy, target, servername, timeoutMS, ca })
      : { timeout: timeoutMS, servername, rejectUnauthorized: true, ...(ca !== undefined && { ca }) },
  })
}

const TOO_LARGE = 'UND_ERR_RES_EXCEEDED_MAX_SIZE'

function describeError(thrown: unknown): Unavailable {
  const { code = '', message = '' } = thrown as { code?: string; message?: string }
  if (code === TOO_LARGE) return unavailable(`its answer is longer than ${MAX_RESPONSE_BYTES} bytes`, 'none')
  const text = [code, message].filter(part => part !== '').join(': ')
  return unavailable(text.replace(/[^\x20-\x7e]/g, '?').slice(0, 300), 'retry')
}
