/**
 * `users list`, `users grant` and `users revoke`: read and change the `$external` users of the directory, as the user of
 * `--admin-uri-file`. That user may grant any role, so the serving process does not have it, and there is no HTTP form.
 */
import type { Document } from 'bson'
import { openCommandTrail } from '../app/commandTrail.js'
import type { LoadedConfig } from '../app/policy.js'
import { servedPartition } from '../config/hosts.js'
import { type ReadFile, readText } from '../config/reading.js'
import { uriProblem } from '../config/uri.js'
import { Fault } from '../errors.js'
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import { Secret } from '../log.js'
import { describePath, describeText } from '../redaction.js'
import { createDenyList, formatDenial } from '../revocation/denials.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import { assertOk } from '../upstream/reply.js'
import { describeArnProblem, describeMalformedName } from '../users/arnProblems.js'
import { describeProblem, isProblem, parseDirectoryUsers } from '../users/directoryUsers.js'
import {
  type EntryChange,
  findEntry,
  formatRoles,
  hasSameRoles,
  nameNewEntry,
  planGrant,
  planRevocation,
} from '../users/entryChange.js'
import type { Network, Role } from '../users/match.js'
import { formatNetwork } from '../users/networks.js'
import { formatRole, parseRole } from '../users/roles.js'
import { createExternalUsers, describeReadFailure } from '../users/systemUsers.js'
import type { Finding, FindingLevel } from './findings.js'

const FLAG = '--admin-uri-file'

type OnFinding = (finding: Finding) => void

export type DirectoryAccess = {
  /** From `readAdminUri`. */
  adminUri: AdminUri
  /** With `--config`. */
  loaded: LoadedConfig | undefined
  onFinding: OnFinding
}

export type AdminUri = { uri: Secret; warning: string | undefined }

/** Reads the connection string. Throws `usage` and `config/invalid`. */
export function readAdminUri(file: string | undefined, read: ReadFile): AdminUri {
  if (file === undefined) {
    throw new Fault('usage', `${FLAG} is required: a file with the connection string of a user that may grant roles`)
  }
  const result = readText(read, file)
  if ('why' in result) throw invalid(`cannot read ${describePath(file)}: ${result.why}`)
  const text = result.text.replace(/\r?\n$/, '')
  const problem = uriProblem(text)
  if (problem !== undefined) throw invalid(`in ${describePath(file)}: ${problem}`)
  const warning = result.isWorldReadable
    ? `${FLAG}: every user of this machine can read ${describePath(file)}`
    : undefined
  return { uri: new Secret(text), warning }
}

/** Throws `usage` for a text that is not the ARN of a principal. */
export function parsePrincipal(text: string): Arn {
  const arn = parseArn(text)
  if (arn && !arn.path.includes('*')) return arn
  const problem = arn ? 'contains *, and names in $external are no patterns' : describeMalformedName(text)
  throw new Fault('usage', `${describeText(text)} ${problem ?? describeArnProblem(text)}`)
}

/** Parses the roles of a command line. Throws `usage` with every problem. */
export function parseGrantedRoles(texts: readonly string[]): Role[] {
  const parsed = texts.map(text => {
    const role = parseRole(text)
    return typeof role !== 'string' && role.collection !== undefined
      ? `${describeText(text)} names a collection, and users of $external have roles of whole databases; create a role for it, or write a rule`
      : role
  })
  const problems = parsed.filter(role => typeof role === 'string')
  if (problems.length > 0) throw new Fault('usage', problems.join('\n'), { problems })
  return parsed.filter(role => typeof role !== 'string')
}

export type ListedUser = {
  name: string
  principal: string
  roles: readonly string[] | null
  clientSource: readonly string[] | null
  problem: string | null
}

/** Lists the users of `$external` that are principals. Reports each one, then what is wrong with others. */
export async function listUsers({ adminUri, loaded, onFinding }: DirectoryAccess): Promise<ListedUser[] | undefined> {
  return withAdmin(adminUri, onFinding, 'the users cannot be listed', async admin => {
    const documents = await createExternalUsers(command => admin.runCommand(command)).readAll()
    const partition = loaded && servedPartition(loaded.config.sts.hosts)
    const { byPrincipal, warnings } = parseDirectoryUsers(documents, { partition })
    const users = [...byPrincipal].map(([principal, match]): ListedUser => {
      if (isProblem(match)) {
        const [name = principal] = match.directoryUsers
        return { name, principal, roles: null, clientSource: null, problem: describeProblem(match) }
      }
      const { decidedBy, grant, clientSource } = match
      const name = 'directoryUser' in decidedBy ? decidedBy.directoryUser : principal
      const roles = 'roles' in grant ? grant.roles.map(formatRole) : []
      return { name, principal, roles, clientSource: clientSource?.[0]?.map(formatNetwork) ?? null, problem: null }
    })
    for (const { name, principal, roles, clientSource, problem } of users) {
      if (problem === null) {
        const source = clientSource === null ? '' : `, from ${clientSource.join(', ') || 'no address'}`
        onFinding({ level: 'ok', question: 'user', text: `${name}: ${roles?.join(', ') || 'no roles'}${source}` })
      }
      const rule = loaded && describeRule(loaded, principal)
      if (rule !== undefined) onFinding({ level: 'warning', question: 'rule', text: `${principal}: ${rule}` })
    }
    for (const text of warnings) onFinding({ level: 'warning', question: 'entry', text })
    if (users.length === 0) onFinding({ level: 'note', question: 'user', text: 'no user of $external is a principal' })
    return users
  })
}

export type ChangeRequest = DirectoryAccess & {
  command: 'users grant' | 'users revoke'
  /** The ARN as it was given. */
  text: string
  /** `all`: drop the user. */
  roles: readonly Role[] | 'all'
  isDryRun: boolean
  /** User of the operating system. */
  operator: string
}

/** For the summary. `changed` is false for a dry run. */
export type ChangeResult = {
  principal: string
  user: string | null
  changed: boolean
  before: readonly string[] | null
  after: readonly string[] | null
}

/** Changes the user of a principal, whatever the spelling of its name, or creates one. Reports roles before and after. */
export async function changeUser(request: ChangeRequest): Promise<ChangeResult | undefined> {
  const { adminUri, onFinding } = request
  return withAdmin(adminUri, onFinding, 'nothing was changed', admin => new UserChange(request, admin).run())
}

const ROLE_NOT_FOUND = 31
const UNAUTHORIZED = 13
const DURABLE = { writeConcern: { w: 'majority', wtimeout: 4_000 } }

class UserChange {
  readonly #request: ChangeRequest
  readonly #admin: AdminClient
  readonly #canonical: string

  constructor(request: ChangeRequest, admin: AdminClient) {
    this.#request = request
    this.#admin = admin
    this.#canonical = canonicalizeArn(parsePrincipal(request.text))
  }

  async run(): Promise<ChangeResult> {
    const { text, roles, command, isDryRun } = this.#request
    const { entry, refusal, warnings } = findEntry(await this.#readAll(), this.#canonical)
    this.#reportPrincipal()
    for (const warning of warnings) this.#report('warning', 'entry', warning)
    const unchanged = { principal: this.#canonical, user: entry?.name ?? null, changed: false }
    const held = entry ? entry.roles.map(formatRole) : null
    const refuse = (why: string): ChangeResult => {
      this.#report('failure', 'entry', `nothing was changed: ${why}`)
      return { ...unchanged, before: held, after: held }
    }
    if (refusal !== undefined) return refuse(refusal)
    const plan = roles === 'all' || command === 'users revoke' ? planRevocation(entry, roles) : planGrant(entry, roles)
    if (typeof plan === 'string') return refuse(plan)
    const unknown = command === 'users grant' ? await this.#findUnknownRoles(plan.roles) : []
    if (unknown.length > 0) {
      return refuse(
        `MongoDB does not know ${formatRoles(unknown)}; create the role in that database, or correct its name`,
      )
    }
    const name = entry?.name ?? nameNewEntry(text)
    this.#reportPlan(name, plan, entry?.clientSource)
    const before = plan.before?.map(formatRole) ?? null
    const result = { principal: this.#canonical, user: name, before, after: plan.after?.map(formatRole) ?? null }
    if (plan.change === 'none' || isDryRun) {
      this.#report('note', 'change', plan.change === 'none' ? 'nothing to change' : 'dry run: nothing was changed')
      return { ...result, changed: false }
    }
    const after = await this.#applyWithAudit(name, plan)
    if (after === undefined) return { ...result, changed: false, after: before }
    return { ...result, changed: true, after: after?.map(formatRole) ?? null }
  }

  #report(level: FindingLevel, question: string, text: string): void {
    this.#request.onFinding({ level, question, text })
  }

  #readAll(): Promise<Document[]> {
    return createExternalUsers(command => this.#admin.runCommand(command)).readAll()
  }

  /** What the proxy makes of the principal, whatever its `$external` user is. */
  #reportPrincipal(): void {
    const { loaded, adminUri, text } = this.#request
    this.#report('ok', 'principal', `principal ${this.#canonical}`)
    const { session } = parseArn(text) ?? {}
    if (session !== undefined) {
      this.#report(
        'note',
        'principal',
        'the session name is left out: the caller chooses it, so roles are for all sessions',
      )
    }
    if (!loaded) return
    const { config, policy } = loaded
    const { partition } = parsePrincipal(text)
    const served = servedPartition(config.sts.hosts)
    if (partition !== served) {
      this.#report(
        'warning',
        'principal',
        `the hosts of sts.hosts name principals of ${served} only, so no login is this one`,
      )
    }
    const rule = describeRule(loaded, this.#canonical)
    if (rule !== undefined) this.#report('warning', 'rule', rule)
    if (!config.directory.enabled) {
      this.#report('warning', 'directory', 'directory.enabled is false: the proxy does not read users of $external')
    }
    const principal = parsePrincipal(this.#canonical)
    const kind = principal.kind === 'role' ? 'assumed-role' : principal.kind
    const subject = { ...principal, kind, canonical: this.#canonical, principalId: '' } as const
    const denial = createDenyList([...policy.denials]).find(subject, '', Date.now())
    if (denial) this.#report('warning', 'denial', `denied by ${formatDenial(denial)}, whatever its roles are`)
    if (config.upstream.admin?.equals(adminUri.uri)) {
      this.#report(
        'warning',
        'admin',
        `upstream.admin is the same user: the proxy should not be able to grant every role`,
      )
    }
  }

  #reportPlan(
    name: string,
    { before, after, change }: EntryChange,
    clientSource: readonly Network[] | undefined,
  ): void {
    this.#report('ok', 'before', `before: ${before ? `${name} has ${formatRoles(before)}` : 'no user of $external'}`)
    this.#report('ok', 'after', `after:  ${after ? `${name} has ${formatRoles(after)}` : 'no user of $external'}`)
    if (after && clientSource) {
      const networks = clientSource.map(formatNetwork).join(', ') || 'no address'
      this.#report('note', 'restriction', `its authenticationRestrictions stay: it can log in from ${networks}`)
    }
    if (change === 'changed' && after?.length === 0) {
      this.#report('note', 'change', 'the principal can still log in, without roles; --all drops the user')
    }
  }

  /** The roles that the server does not know. Without the privilege to ask, the server decides with the change itself. */
  async #findUnknownRoles(roles: readonly Role[]): Promise<Role[]> {
    if (roles.length === 0) return []
    const reply = await this.#admin.runCommand({ rolesInfo: roles.map(({ role, db }) => ({ role, db })) })
    if (Number(reply.ok) !== 1 && Number(reply.code) === UNAUTHORIZED) {
      this.#report('note', 'role', `the user of ${FLAG} lacks viewRole, so MongoDB checks the roles with the change`)
      return []
    }
    const known = new Set((assertOk(reply, FLAG).roles as Document[]).map(({ role, db }) => formatRole({ role, db })))
    return roles.filter(role => !known.has(formatRole(role)))
  }

  /** Returns the roles after the change, null if the user is gone, and undefined if the change failed. */
  async #applyWithAudit(name: string, plan: EntryChange): Promise<readonly Role[] | null | undefined> {
    const { command, loaded, operator } = this.#request
    const trail = await openCommandTrail(loaded?.config)
    const event = {
      actor: { kind: 'command', id: operator },
      command,
      arn: this.#canonical,
      user: `${name}@$external`,
      rolesBefore: plan.before?.map(formatRole) ?? [],
      ...(plan.change !== 'none' && { change: plan.change }),
    } as const
    try {
      await this.#apply(name, plan)
      const after = await this.#readAfter(plan)
      trail.record('command', { ...event, roles: after?.map(formatRole) ?? [] })
      this.#report('ok', 'change', `${DONE[plan.change]} ${name}`)
      return after
    } catch (thrown) {
      const reason = describeChangeFailure(thrown)
      trail.record('command', { ...event, outcome: 'failed', roles: null, reason })
      this.#report('failure', 'change', `MongoDB may not have changed ${name}: ${reason}`)
      return undefined
    } finally {
      if (!(await trail.whenWritten()))
        this.#report('failure', 'audit', 'the audit event of this change could not be written')
      await trail.close()
    }
  }

  async #apply(name: string, { change, before, after, roles }: EntryChange): Promise<void> {
    const named = { roles: roles.map(({ role, db }) => ({ role, db })), ...DURABLE }
    const isGrant = (after?.length ?? 0) > (before?.length ?? 0)
    const command: Document =
      change === 'added'
        ? { createUser: name, ...named }
        : change === 'removed'
          ? { dropUser: name, ...DURABLE }
          : { [isGrant ? 'grantRolesToUser' : 'revokeRolesFromUser']: name, ...named }
    assertOk(await this.#admin.runCommand(command, '$external'), FLAG)
  }

  /** Reads the user again: another administrator may have changed it meanwhile. */
  async #readAfter({ after }: EntryChange): Promise<readonly Role[] | null> {
    try {
      const { entry, refusal } = findEntry(await this.#readAll(), this.#canonical)
      const roles = entry?.roles ?? null
      if (refusal !== undefined && after)
        this.#report('failure', 'entry', `another change was made as well: ${refusal}`)
      else if (!hasSameRoles(roles, after)) {
        const now = roles ? formatRoles(roles) : 'no user'
        this.#report('warning', 'entry', `another change was made as well: there is now ${now}`)
      }
      return refusal === undefined ? roles : after
    } catch (thrown) {
      this.#report('warning', 'entry', `the change succeeded, and reading it again failed: ${describeFailure(thrown)}`)
      return after
    }
  }
}

const DONE = { added: 'created', changed: 'changed', removed: 'dropped', none: '' } as const

/** The rule that decides about a principal, so that its `$external` user has no effect. */
function describeRule({ policy: { rules } }: LoadedConfig, canonical: string): string | undefined {
  const rule = rules.match({ canonical })
  return rule && `rule ${rule.decidedBy.rule} of users decides, ${rule.description}: a user of $external has no effect`
}

/** Runs with a client for the connection string. A failure of MongoDB becomes a finding, and the result undefined. */
async function withAdmin<T>(
  { uri, warning }: AdminUri,
  onFinding: OnFinding,
  consequence: string,
  run: (admin: AdminClient) => Promise<T>,
): Promise<T | undefined> {
  if (warning !== undefined) onFinding({ level: 'warning', question: 'admin', text: warning })
  const admin = createAdminClient(uri)
  try {
    return await run(admin)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    const { kind } = fault
    if (kind === 'config/invalid' && !fault.data(kind)?.problems)
      throw invalid('the driver cannot use the connection string (not shown)')
    if (!MONGO_FAULTS.has(kind)) throw thrown
    onFinding({ level: 'failure', question: 'admin', text: `${consequence}: ${describeFailure(thrown)}` })
    return undefined
  } finally {
    await admin.close()
  }
}

const MONGO_FAULTS: ReadonlySet<string> = new Set([
  'upstream/unreachable',
  'upstream/authentication-failed',
  'users/unreadable',
])

function describeChangeFailure(thrown: unknown): string {
  const { code, errmsg } = Fault.from(thrown).data('upstream/authentication-failed') ?? {}
  if (code === ROLE_NOT_FOUND) return `MongoDB does not know a role: ${errmsg}`
  if (code === UNAUTHORIZED) return `the user of ${FLAG} lacks a privilege: ${errmsg}`
  return describeFailure(thrown)
}

/** The words of the shared parts name the setting of the proxy. */
function describeFailure(thrown: unknown): string {
  return describeReadFailure(thrown).replaceAll('upstream.admin', FLAG)
}

function invalid(problem: string): Fault {
  const text = `${FLAG}: ${problem}`
  return new Fault('config/invalid', text, { problems: [text] })
}
