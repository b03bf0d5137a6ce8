/**
 * A small STS that verifies signatures. It serves plain HTTP on 127.0.0.1 only.
 *
 *     const iam = createIam({ random: randomBytes, now: Date.now })
 *     const sts = await startSts({ iam })          // { url, port, calls(), injectFault(), close() }
 *
 * It implements GetCallerIdentity, AssumeRole, GetSessionToken and the unsigned AssumeRoleWithWebIdentity, by POST form or
 * GET query. Replies are XML or, with `Accept: application/json`, JSON. The Host header decides the region that a
 * signature must be for: `sts.REGION.amazonaws.com` and its variants, `sts.amazonaws.com` (us-east-1), any region on
 * loopback, or the region in `names`.
 *
 * `GET /sandbox/calls` returns the number of calls per action, rejected calls included, and the number of throttled calls.
 * A call without the required signature counts as `unsigned` and not as a call of its action.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { SandboxError } from '../errors.js'
import { type ActionName, actions, findAction } from './actions.js'
import { authenticate } from './authentication.js'
import { collectBody, TOO_LARGE } from './body.js'
import type { Iam } from './iam.js'
import { createPeakRate } from './peakRate.js'
import { createQuota } from './quota.js'
import { encodeReply, type Refusal, type Result, toResult } from './reply.js'
import { collectHeaders, type ReceivedRequest } from './signature.js'
import { assumeRoleWithWebIdentity } from './webIdentity.js'

export type StsOptions = {
  iam: Iam
  /** Milliseconds since 1970. The Date header of replies uses this clock, too. */
  now?: () => number
  /** Default: 0, any free port. */
  port?: number
  /** The delay of every reply, in milliseconds. */
  latencyMS?: number
  /** Calls per second of one account at one endpoint. Further calls get `Throttling`. */
  quotaPerSecond?: number
  /** Further host names (lower case, no port), and the region that each stands for. */
  names?: ReadonlyMap<string, string>
  /** Waits `ms` milliseconds. */
  wait?: (ms: number) => Promise<void>
}

/** Calls per action, throttled calls, and calls without the required signature. */
export type Calls = Record<ActionName | typeof UNSIGNED | 'unsigned' | 'throttled', number>

/**
 * Takes over a call after it was read and counted. It can answer the call itself, never answer, or `proceed` normally.
 */
export type FaultInjection = (request: IncomingMessage, response: ServerResponse, proceed: () => void) => void

export type StsServer = {
  /** `http://127.0.0.1:PORT` */
  url: string
  port: number
  calls(): Calls
  /** The largest number of calls within any second, of all callers. */
  peakCallsPerSecond(): number
  /** Passes every further call to this function; undefined ends that. */
  injectFault(fault: FaultInjection | undefined): void
  /** Stops listening and closes every connection. */
  close(): Promise<void>
}

const VERSION = '2011-06-15'
/** The only unsigned action: its callers have no key yet. It counts towards no quota. */
const UNSIGNED = 'AssumeRoleWithWebIdentity'
/** Bytes. */
const MAX_HEADERS = 16_384

/** Resolves when the server listens. Throws `addressInUse`. */
export async function startSts(options: StsOptions): Promise<StsServer> {
  const { iam, now = Date.now, port = 0, latencyMS = 0, names = new Map(), wait = sleep } = options
  const takeToken = createQuota(options.quotaPerSecond ?? Number.POSITIVE_INFINITY, now)
  const calls = Object.fromEntries(
    [...Object.keys(actions), UNSIGNED, 'unsigned', 'throttled'].map(name => [name, 0]),
  ) as Calls
  const peakRate = createPeakRate(now)
  let injectedFault: FaultInjection | undefined

  const execute = async (received: ReceivedRequest, parameters: URLSearchParams): Promise<Result | Refusal> => {
    const name = parameters.get('Action')
    const action = parameters.get('Version') === VERSION ? toAction(name) : undefined
    if (received.path !== '/') return { code: 'UnknownOperationException', message: 'no such path' }
    if (name === null) return { code: 'MissingAction', message: 'Missing Action' }
    if (!action) {
      const version = parameters.get('Version') ?? 'NO_VERSION_SPECIFIED'
      return { code: 'InvalidAction', message: `Could not find operation ${name} for version ${version}` }
    }
    if (action === UNSIGNED) return toResult(action, await assumeRoleWithWebIdentity(parameters, iam, now()))
    const authenticated = await authenticate(received, iam, now(), names)
    if ('code' in authenticated) return authenticated
    const { caller, endpoint } = authenticated
    if (!takeToken(`${caller.account} ${endpoint}`)) {
      calls.throttled++
      return { code: 'Throttling', message: 'Rate exceeded' }
    }
    return toResult(action, actions[action](caller, parameters, iam))
  }

  const serve = (request: IncomingMessage, response: ServerResponse, body: Buffer) => {
    const [path = '', search = ''] = splitTarget(request.url ?? '')
    const headers = collectHeaders(request.rawHeaders)
    const received = { method: request.method ?? '', path, query: new URLSearchParams(search), headers, body }
    // The first one of duplicate parameters counts.
    const parameters = new URLSearchParams(body.length > 0 ? `${body.toString()}&${search}` : search)
    const action = toAction(parameters.get('Action'))
    peakRate.count()
    if (action !== UNSIGNED && !headers.has('authorization')) calls.unsigned++
    else if (action) calls[action]++
    const proceed = async () => {
      const outcome = await execute(received, parameters).catch(toInternalFailure)
      if (latencyMS > 0) await wait(latencyMS)
      send(response, outcome, headers.get('accept')?.includes('application/json') ?? false, now())
    }
    if (injectedFault) injectedFault(request, response, proceed)
    else void proceed()
  }

  const server = createServer({ maxHeaderSize: MAX_HEADERS, keepAliveTimeout: 60_000 }, (request, response) => {
    if (request.method === 'GET' && request.url === '/sandbox/calls') {
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(calls))
    } else collectBody(request, body => serve(request, response, body))
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (!socket.writable) socket.destroy()
    else socket.end(error.code === 'HPE_HEADER_OVERFLOW' ? TOO_LARGE : 'HTTP/1.1 400 Bad Request\r\n\r\n')
  })
  await listen(server, port)
  const bound = (server.address() as AddressInfo).port

  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    calls: () => ({ ...calls }),
    peakCallsPerSecond: peakRate.most,
    injectFault(fault) {
      injectedFault = fault
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function send(response: ServerResponse, outcome: Result | Refusal, json: boolean, time: number): void {
  const requestId = randomUUID()
  const { status, type, text } = encodeReply(outcome, json, requestId)
  response.writeHead(status, {
    'x-amzn-RequestId': requestId,
    'x-amz-sts-extended-request-id': randomBytes(42).toString('base64'),
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    Date: new Date(time).toUTCString(),
  })
  response.end(text)
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', cause => reject(new SandboxError('addressInUse', `127.0.0.1:${port}`, cause)))
    server.listen(port, '127.0.0.1', resolve)
  })
}

/** The path and the query of a request target. */
function splitTarget(target: string): [path: string, search: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}

function toAction(name: string | null): ActionName | typeof UNSIGNED | undefined {
  return name === UNSIGNED ? name : findAction(name)
}

function toInternalFailure(thrown: unknown): Refusal {
  return { code: 'InternalFailure', message: String(thrown) }
}

function sleep(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms).unref()
  })
}
