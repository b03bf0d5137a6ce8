/**
 * An STS small enough to embed, which really verifies signatures. It speaks plain HTTP on 127.0.0.1 only.
 *
 *     const aws = iam({ random: randomBytes, now: Date.now })
 *     const sts = await stsServer({ iam: aws })          // { url, port, calls(), misbehave(), close() }
 *
 * GetCallerIdentity, AssumeRole, GetSessionToken and, unsigned, AssumeRoleWithWebIdentity, by POST form or GET query,
 * answered in XML or, with `Accept: application/json`, in JSON. The region to sign for is that of the Host header: `sts.REGION.amazonaws.com` and
 * the like, `sts.amazonaws.com` (us-east-1), any region on loopback, or what `names` says.
 *
 * `GET /sandbox/calls` tells how often each action was asked, refused calls included, and how many of them were throttled.
 * A call that nobody signed but should have is no call of that action: it counts as unsigned.
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
  /** Milliseconds since 1970; the Date header of answers is of this clock too. */
  now?: () => number
  /** 0, the default: any free one. */
  port?: number
  /** How long each answer waits, in milliseconds. */
  latencyMS?: number
  /** Calls a second of one account at one endpoint; beyond it `Throttling`. */
  quotaPerSecond?: number
  /** Further host names (lower case, no port) and the region that each plays. */
  names?: ReadonlyMap<string, string>
  /** Waits so many milliseconds. */
  wait?: (ms: number) => Promise<void>
}

/** How often each action was asked, how many calls were throttled, and how many had nobody's signature. */
export type Calls = Record<ActionName | typeof UNSIGNED | 'unsigned' | 'throttled', number>

/**
 * Takes over an action's call after it was read and counted: answer in its stead, never answer, or `proceed` as if
 * nothing was wrong.
 */
export type FaultInjection = (request: IncomingMessage, response: ServerResponse, proceed: () => void) => void

export type StsServer = {
  /** `http://127.0.0.1:PORT` */
  url: string
  port: number
  calls(): Calls
  /** The most calls that came within any one second, whosever they were. */
  peakCallsPerSecond(): number
  /** From now on each call is given to this function; undefined ends it. */
  injectFault(how: FaultInjection | undefined): void
  /** Stops listening and ends every connection. */
  close(): Promise<void>
}

const VERSION = '2011-06-15'
/** The one action whose caller has no key yet. No account's quota is charged with it. */
const UNSIGNED = 'AssumeRoleWithWebIdentity'
/** The longest headers that are read, in bytes. */
const LONGEST_HEADERS = 16_384

/** Resolves once it listens. Throws `addressInUse`. */
export async function startSts(options: StsOptions): Promise<StsServer> {
  const { iam, now = Date.now, port = 0, latencyMS = 0, names = new Map(), wait = sleep } = options
  const take = createQuota(options.quotaPerSecond ?? Number.POSITIVE_INFINITY, now)
  const calls = Object.fromEntries(
    [...Object.keys(actions), UNSIGNED, 'unsigned', 'throttled'].map(name => [name, 0]),
  ) as Calls
  const came = createPeakRate(now)
  let misbehaviour: FaultInjection | undefined

  const judge = async (received: ReceivedRequest, parameters: URLSearchParams): Promise<Result | Refusal> => {
    const name = parameters.get('Action')
    const action = parameters.get('Version') === VERSION ? callOf(name) : undefined
    if (received.path !== '/') return { code: 'UnknownOperationException', message: 'no such path' }
    if (name === null) return { code: 'MissingAction', message: 'Missing Action' }
    if (!action) {
      const version = parameters.get('Version') ?? 'NO_VERSION_SPECIFIED'
      return { code: 'InvalidAction', message: `Could not find operation ${name} for version ${version}` }
    }
    if (action === UNSIGNED) return toResult(action, assumeRoleWithWebIdentity(parameters, iam, now()))
    const authenticated = await authenticate(received, iam, now(), names)
    if ('code' in authenticated) return authenticated
    const { caller, endpoint } = authenticated
    if (!take(`${caller.account} ${endpoint}`)) {
      calls.throttled++
      return { code: 'Throttling', message: 'Rate exceeded' }
    }
    return toResult(action, actions[action](caller, parameters, iam))
  }

  const serve = (request: IncomingMessage, response: ServerResponse, body: Buffer) => {
    const [path = '', search = ''] = cut(request.url ?? '')
    const headers = collectHeaders(request.rawHeaders)
    const received = { method: request.method ?? '', path, query: new URLSearchParams(search), headers, body }
    // Of a parameter that stands twice the first counts.
    const parameters = new URLSearchParams(body.length > 0 ? `${body.toString()}&${search}` : search)
    const action = callOf(parameters.get('Action'))
    came.count()
    if (action !== UNSIGNED && !headers.has('authorization')) calls.unsigned++
    else if (action) calls[action]++
    const proceed = async () => {
      const outcome = await judge(received, parameters).catch(bug)
      if (latencyMS > 0) await wait(latencyMS)
      write(response, outcome, headers.get('accept')?.includes('application/json') ?? false, now())
    }
    if (misbehaviour) misbehaviour(request, response, proceed)
    else void proceed()
  }

  const server = createServer({ maxHeaderSize: LONGEST_HEADERS, keepAliveTimeout: 60_000 }, (request, response) => {
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
    peakCallsPerSecond: came.most,
    injectFault(how) {
      misbehaviour = how
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function write(response: ServerResponse, outcome: Result | Refusal, json: boolean, time: number): void {
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

/** Path and query of a request target. */
function cut(target: string): [path: string, search: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}

function callOf(name: string | null): ActionName | typeof UNSIGNED | undefined {
  return name === UNSIGNED ? name : findAction(name)
}

function bug(thrown: unknown): Refusal {
  return { code: 'InternalFailure', message: String(thrown) }
}

function sleep(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms).unref()
  })
}
