/**
 * The deny list over HTTP: GET tells it, POST adds an entry, DELETE takes one back.
 *
 * Who has the token decides who may log in, so it is asked for on loopback as well; the other guards keep web pages away
 * that run in the browser of somebody near (R35). No header for CORS is ever sent.
 */
import { isLoopback } from '../config/hosts.js'
import { Fault } from '../errors.js'
import { Secret } from '../log.js'
import { type Denial, readDenial } from '../users/denials.js'
import { type Answer, type Asked, json, text } from './answer.js'

export type DenyParts = {
  /** Undefined: there is no /deny. */
  token(): Secret | undefined
  /** Names by which we may be asked, lower case; those of loopback are always among them. */
  hosts(): readonly string[]
  list(): { file: readonly Denial[]; admin: readonly Denial[] }
  /** Returns how many live connections it closed. Throws `denials/unkept`. */
  deny(denial: Denial): Promise<number>
  /** False where nothing was taken back. Throws `denials/unkept`. */
  allow(denial: Denial): Promise<boolean>
}

const LONGEST = 64 * 1024

type Act = (denial: Denial, parts: DenyParts) => Promise<Answer>

const acts: Readonly<Record<string, Act>> = {
  POST: async (denial, parts) => json(200, { denied: shown(denial), closed: await parts.deny(denial) }),
  DELETE: async (denial, parts) =>
    (await parts.allow(denial))
      ? json(200, { allowed: shown(denial) })
      : text(404, 'nothing like it was denied here; what stands in deny.file is taken out of it there'),
}

/** What is in the way of a request, as the answer to it, each asked in this order. */
const guards: readonly ((asked: Asked, parts: DenyParts) => Answer | false)[] = [
  (_, { token }) => token() === undefined && text(404, 'not here, since admin.tokenFile is not set'),
  ({ method }) =>
    method !== 'GET' && !Object.hasOwn(acts, method) && text(405, 'GET, POST, DELETE', { allow: 'GET, POST, DELETE' }),
  ({ headers }, { hosts }) =>
    !isMeant(headers.host, hosts()) && text(421, 'this host is not served here; see the setting admin.hosts'),
  ({ headers }, { token }) =>
    !isBearer(headers.authorization, token()) &&
    text(401, 'the bearer token of admin.tokenFile is wanted', { 'www-authenticate': 'Bearer' }),
  ({ method, headers }) =>
    method !== 'GET' && !/^application\/json\s*(;|$)/i.test(`${headers['content-type']}`) && text(415, 'JSON only'),
]

/** Answers whatever is asked of /deny. A change is answered with 200 once it is on disk, and with 507 if it cannot be. */
export async function denyPage(asked: Asked, parts: DenyParts): Promise<Answer> {
  for (const guard of guards) {
    const answer = guard(asked, parts)
    if (answer) return answer
  }
  const act = acts[asked.method]
  if (!act) return json(200, byKind(parts.list()))
  const body = await asked.body(LONGEST)
  if (body === undefined) return text(413, `${LONGEST} bytes at most`)
  const denial = readEntry(body)
  if (typeof denial === 'string') return text(400, denial)
  try {
    return await act(denial, parts)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    if (fault.kind !== 'denials/unkept') throw fault
    return text(507, fault.message)
  }
}

function readEntry(body: string): Denial | string {
  try {
    return readDenial(JSON.parse(body))
  } catch {
    return 'not JSON'
  }
}

/** As the deny file would have it. */
const shown = ({ of, value, ...rest }: Denial) => ({ [of]: value, ...rest })
const byKind = ({ file, admin }: ReturnType<DenyParts['list']>) => ({ file: file.map(shown), admin: admin.map(shown) })

function isMeant(asked: unknown, hosts: readonly string[]): boolean {
  const host = `${asked}`.toLowerCase().replace(/:\d+$/, '')
  return isLoopback(host) || hosts.includes(host.replace(/^\[(.*)\]$/, '$1'))
}

function isBearer(given: unknown, token: Secret | undefined): boolean {
  const [, words] = /^Bearer +(\S{1,512})$/i.exec(`${given}`) ?? []
  return words !== undefined && token?.equals(new Secret(words)) === true
}
