/**
 * Who may change something over the admin interface: whoever has the token, which is asked for on loopback as well. The
 * other guards keep web pages away that run in the browser of somebody near (R35). No header for CORS is ever sent.
 */
import { isLoopback } from '../config/hosts.js'
import { Secret } from '../log.js'
import { type AdminRequest, type AdminResponse, textResponse } from './http.js'

export type AccessOptions = {
  /** Undefined: there are no such pages. */
  token(): Secret | undefined
  /** Names by which we may be asked, lower case; those of loopback are always among them. */
  hosts(): readonly string[]
}

type Guard = (asked: AdminRequest, guards: AccessOptions, methods: readonly string[]) => AdminResponse | false

/** Asked in this order. */
const guards: readonly Guard[] = [
  (_, { token }) => token() === undefined && textResponse(404, 'not here, since admin.tokenFile is not set'),
  ({ method }, _, methods) =>
    !methods.includes(method) && textResponse(405, `${methods.join(', ')} and no other`, { allow: methods.join(', ') }),
  ({ headers }, { hosts }) =>
    !isAllowedHost(headers.host, hosts()) &&
    textResponse(421, 'this host is not served here; see the setting admin.hosts'),
  ({ headers }, { token }) =>
    !isBearer(headers.authorization, token()) &&
    textResponse(401, 'the bearer token of admin.tokenFile is wanted', { 'www-authenticate': 'Bearer' }),
  ({ method, headers }) =>
    method !== 'GET' &&
    !/^application\/json\s*(;|$)/i.test(`${headers['content-type']}`) &&
    textResponse(415, 'JSON only, and said so: Content-Type: application/json'),
]

/** What is in the way of a request, as the answer to it; undefined where nothing is. */
export function checkAccess(
  asked: AdminRequest,
  by: AccessOptions,
  methods: readonly string[],
): AdminResponse | undefined {
  for (const guard of guards) {
    const answer = guard(asked, by, methods)
    if (answer) return answer
  }
  return undefined
}

const LONGEST = 64 * 1024

/** What was asked for, by `form`, which gives a sentence for what it does not understand; or the answer to who asked. */
export async function parseJsonBody<T extends object>(
  asked: AdminRequest,
  form: (value: unknown) => T | string,
): Promise<{ read: T } | { refused: AdminResponse }> {
  const body = await asked.body(LONGEST)
  if (body === undefined) return { refused: textResponse(413, `${LONGEST} bytes at most`) }
  const read = parse(body, form)
  return typeof read === 'string' ? { refused: textResponse(400, read) } : { read }
}

function parse<T extends object>(body: string, form: (value: unknown) => T | string): T | string {
  try {
    return form(JSON.parse(body))
  } catch {
    return 'not JSON'
  }
}

/** Whether the Host that was asked for, with or without a port, is one of these or of loopback. */
export function isAllowedHost(asked: unknown, hosts: readonly string[]): boolean {
  const host = `${asked}`.toLowerCase().replace(/:\d+$/, '')
  return isLoopback(host) || hosts.includes(host.replace(/^\[(.*)\]$/, '$1'))
}

function isBearer(given: unknown, token: Secret | undefined): boolean {
  const [, words] = /^Bearer +(\S{1,512})$/i.exec(`${given}`) ?? []
  return words !== undefined && token?.equals(new Secret(words)) === true
}
