/**
 * Access to the admin interface.
 *
 *                        admin.host is loopback      any other admin.host
 *     health, metrics    Host header                 everyone
 *     reads              Host header                 Host header, any token
 *     writes             Host header, write token, content type: everywhere
 *
 * The checks other than the token stop web pages in the browser of somebody who can reach the admin interface: the Host
 * header stops DNS rebinding, and the content type stops HTML forms. The interface sends no CORS headers, so browsers refuse
 * all other cross-origin requests.
 */
import { isLoopback } from '../config/hosts.js'
import { Secret } from '../log.js'
import { type AdminPeer, type AdminRequest, type AdminResponse, textResponse } from './http.js'

/** `write` includes `read`. */
export type AdminToken = { readonly name: string; readonly may: 'read' | 'write'; readonly token: Secret }

export type AccessOptions = {
  tokens(): readonly AdminToken[]
  /** Permitted Host headers, lower case, in addition to the names of loopback. */
  hosts(): readonly string[]
  /** Whether the admin interface listens on loopback. */
  isLocal: boolean
}

/** `open`: health and metrics. */
export type Access = 'open' | 'read' | 'write'

/** The originator of a request. `token`: the name of its token; undefined without a valid one. */
export type Caller = AdminPeer & { readonly token: string | undefined }

/** The name of the valid token of a request, and the response that refuses the request, if access is not granted. */
export type AccessDecision = { token: string | undefined; refusal?: AdminResponse }

export function checkAccess(
  { headers }: Pick<AdminRequest, 'headers'>,
  access: Access,
  options: AccessOptions,
): AccessDecision {
  const { hosts, isLocal } = options
  if (access === 'open') {
    // Prometheus and kubelets use the address of the pod, which the proxy does not know.
    return isLocal ? refuseHost(headers.host ?? 'localhost', hosts()) : { token: undefined }
  }
  const decision = refuseHost(headers.host, hosts())
  return decision.refusal ? decision : checkToken(headers, access, options)
}

function refuseHost(header: unknown, hosts: readonly string[]): AccessDecision {
  if (isAllowedHost(header, hosts)) return { token: undefined }
  return { token: undefined, refusal: textResponse(421, 'this Host is not allowed; add it to admin.hosts') }
}

function checkToken(
  headers: AdminRequest['headers'],
  access: 'read' | 'write',
  { tokens, isLocal }: AccessOptions,
): AccessDecision {
  const { authorization } = headers
  if (access === 'read' && isLocal && authorization === undefined) return { token: undefined }
  const all = tokens()
  const found = findToken(authorization, all)
  const token = found?.name
  const isSufficient = ({ may }: AdminToken) => access === 'read' || may === 'write'
  if (!all.some(isSufficient)) {
    return { token, refusal: textResponse(404, `disabled: admin.tokens has no token that may ${access}`) }
  }
  if (!found) {
    const refusal = textResponse(401, `a bearer token of admin.tokens that may ${access} is required`, {
      'www-authenticate': 'Bearer',
    })
    return { token, refusal }
  }
  if (!isSufficient(found)) return { token, refusal: textResponse(403, 'this token may only read') }
  if (access === 'write' && !/^application\/json\s*(;|$)/i.test(`${headers['content-type']}`)) {
    return { token, refusal: textResponse(415, 'the header Content-Type: application/json is required') }
  }
  return { token }
}

const MAX_BODY_BYTES = 64 * 1024

/** Reads the body as JSON and parses it with `parse`, which returns a sentence for an invalid value. */
export async function readJsonBody<T extends object>(
  request: Pick<AdminRequest, 'readBody'>,
  parse: (value: unknown) => T | string,
): Promise<{ value: T } | { refusal: AdminResponse }> {
  const body = await request.readBody(MAX_BODY_BYTES)
  if (body === undefined) return { refusal: textResponse(413, `the body is longer than ${MAX_BODY_BYTES} bytes`) }
  const value = parseJson(body, parse)
  return typeof value === 'string' ? { refusal: textResponse(400, value) } : { value }
}

function parseJson<T extends object>(body: string, parse: (value: unknown) => T | string): T | string {
  try {
    return parse(JSON.parse(body))
  } catch {
    return 'not JSON'
  }
}

/** True for a Host header, with or without a port, that is in `hosts` or names loopback. */
export function isAllowedHost(header: unknown, hosts: readonly string[]): boolean {
  const host = `${header}`.toLowerCase().replace(/:\d+$/, '')
  return isLoopback(host) || hosts.includes(host.replace(/^\[(.*)\]$/, '$1'))
}

/** Compares with every token, so that the time does not depend on which one matches. */
function findToken(header: unknown, tokens: readonly AdminToken[]): AdminToken | undefined {
  const [, given] = /^Bearer +(\S{1,512})$/i.exec(`${header}`) ?? []
  if (given === undefined) return undefined
  const secret = new Secret(given)
  return tokens.filter(({ token }) => token.equals(secret))[0]
}
