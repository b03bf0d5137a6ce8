/**
 * Access to the pages of the admin interface that change something.
 *
 * A bearer token is required, on loopback as well. The other checks stop web pages in the browser of somebody who can reach
 * the admin interface: the Host header stops DNS rebinding, and the content type stops HTML forms. The interface sends no
 * CORS headers, so browsers refuse all other cross-origin requests.
 */
import { isLoopback } from '../config/hosts.js'
import { Secret } from '../log.js'
import { type AdminRequest, type AdminResponse, textResponse } from './http.js'

export type AccessOptions = {
  /** The bearer token; undefined disables the pages. */
  token(): Secret | undefined
  /** Permitted Host headers, lower case, in addition to the names of loopback. */
  hosts(): readonly string[]
}

/** Returns the response that refuses a request, or false. */
type Check = (request: AdminRequest, options: AccessOptions, methods: readonly string[]) => AdminResponse | false

const checks: readonly Check[] = [
  (_, { token }) => token() === undefined && textResponse(404, 'disabled: admin.tokenFile is not set'),
  ({ method }, _, methods) =>
    !methods.includes(method) &&
    textResponse(405, `only ${methods.join(', ')} are allowed`, { allow: methods.join(', ') }),
  ({ headers }, { hosts }) =>
    !isAllowedHost(headers.host, hosts()) && textResponse(421, 'this Host is not allowed; add it to admin.hosts'),
  ({ headers }, { token }) =>
    !hasToken(headers.authorization, token()) &&
    textResponse(401, 'the bearer token of admin.tokenFile is required', { 'www-authenticate': 'Bearer' }),
  ({ method, headers }) =>
    method !== 'GET' &&
    !/^application\/json\s*(;|$)/i.test(`${headers['content-type']}`) &&
    textResponse(415, 'the header Content-Type: application/json is required'),
]

/** Returns the response that refuses the request, or undefined if access is granted. */
export function checkAccess(
  request: AdminRequest,
  options: AccessOptions,
  methods: readonly string[],
): AdminResponse | undefined {
  for (const check of checks) {
    const refusal = check(request, options, methods)
    if (refusal) return refusal
  }
  return undefined
}

const MAX_BODY_BYTES = 64 * 1024

/** Reads the body as JSON and parses it with `parse`, which returns a sentence for an invalid value. */
export async function readJsonBody<T extends object>(
  request: AdminRequest,
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

function hasToken(header: unknown, token: Secret | undefined): boolean {
  const [, given] = /^Bearer +(\S{1,512})$/i.exec(`${header}`) ?? []
  return given !== undefined && token?.equals(new Secret(given)) === true
}
