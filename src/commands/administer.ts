/** `status`, `sessions`, `sessions close`, `deny` and `undeny`: the admin interface of a running proxy as commands. */
import type { AdminSession } from '../admin/sessions.js'
import type { AdminStatus } from '../admin/status.js'
import { type AskAdmin, askForAll } from './adminRequest.js'

/** The lines to print. `json` is the whole answer. */
export type AdminOutput = { lines: string[]; json: unknown }

export async function showStatus(ask: AskAdmin): Promise<AdminOutput> {
  const status = (await ask('GET', '/status')) as AdminStatus
  const { upstream, sessions, denials, audit } = status
  const state = status.draining ? 'stops' : status.ready ? 'ready' : 'not ready'
  const members = upstream.members.map(({ address, state }) => `${address} ${state}`).join(', ')
  const rows = {
    version: `${status.version}, boot ${status.boot}, since ${status.startedAt}`,
    state,
    'LDAP authorization': status.ldap,
    primary: upstream.primary ?? 'none',
    members,
    sessions: `${sessions.open} open, ${sessions.free} slots free`,
    denials: `${denials.file} in deny.file, ${denials.admin} of the admin interface`,
    'roles not revoked': String(status.unrevokedRoles),
    'audit trail': audit.failing ? 'failing' : 'ok',
    configuration: status.configHash,
    'log level': status.logLevel,
  }
  return { lines: Object.entries(rows).map(([name, text]) => `${name.padEnd(18)}  ${text}`), json: status }
}

export async function listSessions(ask: AskAdmin): Promise<AdminOutput> {
  const items = (await askForAll(ask, '/sessions')) as AdminSession[]
  const lines = items.map(({ id, since, address, arn, databaseUser }) =>
    [id, since, address, arn, databaseUser ?? ''].join('  ').trimEnd(),
  )
  return { lines: [...lines, `${items.length} sessions`], json: { items } }
}

export async function closeSession(ask: AskAdmin, id: string): Promise<AdminOutput> {
  const json = await ask('POST', '/sessions/close', { id })
  return { lines: [`closed ${id}; its client may log in again`], json }
}

export async function deny(ask: AskAdmin, arn: string, why: string, until?: string): Promise<AdminOutput> {
  const json = (await ask('POST', '/deny', { ...toEntry(arn), why, ...(until !== undefined && { until }) })) as {
    closed: number
    warning?: string
  }
  const warning = json.warning === undefined ? [] : [`warning: ${json.warning}`]
  return { lines: [`denied ${arn}; ${json.closed} sessions closed`, ...warning], json }
}

export async function undeny(ask: AskAdmin, arn: string): Promise<AdminOutput> {
  const json = await ask('DELETE', '/deny', toEntry(arn))
  return { lines: [`${arn} is not denied by the admin interface any more`], json }
}

/** An ARN that names one session is an entry of another kind. */
function toEntry(arn: string): Record<string, string> {
  return /^arn:[^:]*:sts::[^:]*:assumed-role\/[^/]+\/[^*]/.test(arn) ? { session: arn } : { arn }
}
