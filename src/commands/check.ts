/**
 * `check`: asks once everything that the proxy depends on. Each question has its own time limit, and fails alone. Findings
 * are reported as they come.
 *
 *     upstream members, primary, client certificate ─▶ upstream.admin ─▶ LDAP authorization ─▶ users of rules
 *       ─▶ rules, pins, certificate, denials ─▶ directory ─▶ provisioned users ─▶ STS
 */
import { randomBytes, X509Certificate } from 'node:crypto'
import { resolveSrv, resolveTxt } from 'node:dns/promises'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { createDescriptorBudget } from '../app/capacity.js'
import { readDescriptorLimit } from '../app/descriptorLimit.js'
import { findExposedMembers } from '../app/helloAnswer.js'
import { findUnservedDenials } from '../app/ineffective.js'
import { type LoadedConfig, type Policy, provisioningOptions } from '../app/policy.js'
import { createConfiguredStsClient } from '../app/stsGateway.js'
import { after } from '../clock.js'
import { divideConnections } from '../config/connectionLimits.js'
import { servedPartition } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import { errorCode, Fault } from '../errors.js'
import { parseArn } from '../identity/arn.js'
import { evaluateLdap } from '../ldap/ldap.js'
import { createLdapProbe } from '../ldap/probe.js'
import { silentLog } from '../log.js'
import { auditUsers } from '../provisioning/audit.js'
import { describePath } from '../redaction.js'
import { openAdminDenials } from '../revocation/adminDenials.js'
import { createDenyList, type Denial, type DenyList, formatDenial } from '../revocation/denials.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import { openChannel } from '../upstream/channel.js'
import { rejectOnAbort } from '../upstream/deadline.js'
import { dial } from '../upstream/dial.js'
import { PROXY_METADATA } from '../upstream/metadata.js'
import { assertHelloOk, assertOk, sanitizeText } from '../upstream/reply.js'
import { createScramKeyCache } from '../upstream/scramKeys.js'
import type { Target } from '../upstream/target.js'
import { Topology } from '../upstream/topology.js'
import { parseDirectoryUsers } from '../users/directoryUsers.js'
import { type Grant, isExpired } from '../users/match.js'
import { openPins } from '../users/pins.js'
import type { Rule } from '../users/rules.js'
import { createExternalUsers, describeReadFailure } from '../users/systemUsers.js'
import { type Answer, attempt, type Finding, toRemark } from './findings.js'
import { describeStsTlsFailure, describeTlsFailure } from './tlsFailures.js'

export type CheckOptions = {
  /** Called with each finding as it comes. */
  onFinding?: (finding: Finding) => void
  /** Skips the questions that need the network. */
  isOffline?: boolean
  /** Milliseconds for each question. */
  timeoutMS?: number
}

const TIMEOUT_MS = 5_000
/** Database users that log in at the same time. */
const MAX_CONCURRENT_LOGINS = 8
/** Users of the directory that are named one by one. */
const MAX_DIRECTORY_WARNINGS = 1_000
/** A certificate that expires within this time is a warning. Milliseconds. */
const EXPIRES_SOON_MS = 14 * 24 * 3600_000

/** The findings, in the order in which they were reported. Never rejects. */
export async function check({ config, policy }: LoadedConfig, options: CheckOptions = {}): Promise<Finding[]> {
  const { timeoutMS = TIMEOUT_MS } = options
  const { upstream, isSingle } = policy
  const resolver = { resolveSrv, resolveTxt }
  const topology = new Topology({ upstream, single: isSingle, resolver, log: silentLog, random: Math.random, after })
  const admin = config.upstream.admin && createAdminClient(config.upstream.admin)
  try {
    return await new Checker({ ...options, timeoutMS, config, policy, topology, admin }).check()
  } finally {
    topology.close()
    // The driver may wait for a server that never answers.
    if (admin) await rejectOnAbort(AbortSignal.timeout(timeoutMS), admin.close()).catch(() => {})
  }
}

type CheckerOptions = CheckOptions & {
  timeoutMS: number
  config: Config
  policy: Policy
  topology: Topology
  /** Undefined without `upstream.admin`. */
  admin: AdminClient | undefined
}

type Question = { name: string; needsNetwork: boolean; ask: () => unknown }

class Checker {
  readonly #options: CheckerOptions
  readonly #config: Config
  readonly #policy: Policy
  readonly #topology: Topology
  readonly #admin: AdminClient | undefined
  readonly #findings: Finding[] = []
  readonly #denyList: DenyList
  /** The question that is being asked. */
  #question = ''

  constructor(options: CheckerOptions) {
    this.#options = options
    this.#config = options.config
    this.#policy = options.policy
    this.#topology = options.topology
    this.#admin = options.admin
    this.#denyList = createDenyList(options.policy.denials)
  }

  async check(): Promise<Finding[]> {
    for (const { name, needsNetwork, ask } of this.#questions()) {
      if (needsNetwork && this.#options.isOffline) continue
      this.#question = name
      try {
        await ask()
      } catch (thrown) {
        await this.#try(name, () => Promise.reject(thrown))
      }
    }
    return this.#findings
  }

  /** The names are those in the output of `--json`. */
  #questions(): Question[] {
    const question = (name: string, needsNetwork: boolean, ask: () => unknown) => ({ name, needsNetwork, ask })
    return [
      question('configuration', false, () => this.#noteWarnings()),
      question('descriptors', false, () => this.#reviewDescriptors()),
      question('upstream', true, () => this.#checkMembers()),
      question('clientCertificate', true, () => this.#checkClientCertificate()),
      question('upstreamAdmin', true, () => this.#checkAdmin()),
      question('ldap', true, () => this.#try('LDAP authorization', signal => this.#checkLdap(signal))),
      question('databaseUsers', true, () => this.#checkDatabaseUsers()),
      question('rules', false, () => this.#reviewRules()),
      question('pins', false, () => this.#checkPins()),
      question('certificate', false, () => this.#checkServerCertificate()),
      question('denials', false, () => this.#checkAdminDenials()),
      question('directory', true, () => this.#checkDirectory()),
      question('provisioning', true, () => this.#checkProvisioning()),
      question('sts', true, () => this.#checkSts()),
    ]
  }

  #report(finding: Finding): void {
    this.#findings.push(finding)
    this.#options.onFinding?.(finding)
  }

  #remark(level: 'note' | 'warning', text: string): void {
    this.#report({ level, question: this.#question, text })
  }

  async #try(subject: string, run: (signal: AbortSignal) => Answer | Promise<Answer>): Promise<void> {
    const { timeoutMS } = this.#options
    this.#report(await attempt({ question: this.#question, subject, timeoutMS }, run))
  }

  #noteWarnings(): void {
    for (const warning of this.#config.warnings) this.#remark('warning', warning)
    if (this.#options.isOffline) {
      this.#report({
        level: 'ok',
        question: this.#question,
        text: 'configuration: valid, without its secret files, and without asking a server',
      })
    }
  }

  /** A service manager or container gives the proxy another limit than a shell. */
  #reviewDescriptors(): void {
    const limit = readDescriptorLimit()
    if (limit === undefined) return
    const loaded = { config: this.#config, policy: this.#policy }
    const { warning } = createDescriptorBudget(loaded, limit).fit(limit, divideConnections(this.#config.listen))
    const finding = warning ?? `${limit} file descriptors (ulimit -n) are enough for listen.connections`
    this.#remark(
      warning ? 'warning' : 'note',
      `${finding}. This is the limit of this shell; the proxy may have another`,
    )
  }

  async #checkMembers(): Promise<void> {
    const signal = AbortSignal.timeout(this.#options.timeoutMS)
    const failure = await this.#topology.freshView(signal).catch((thrown: unknown) => thrown)
    const members = this.#topology.dataBearingMembers()
    if (members.length === 0) {
      return this.#try(`upstream ${this.#policy.upstream.name}`, () => Promise.reject(failure))
    }
    await Promise.all(
      members.map(({ target }) => this.#try(`upstream ${target.address}`, signal => describeMember(target, signal))),
    )
    const view = this.#topology.currentView()
    const exposed = view && findExposedMembers(view, this.#config.listen)
    if (exposed !== undefined) this.#remark('warning', exposed)
    if (!view?.isReplicaSet) return
    await this.#try('primary', () => this.#topology.selectPrimary().target.address)
    this.#remark('note', 'clients see the primary only, so readPreference=secondary finds no server')
  }

  async #checkClientCertificate(): Promise<void> {
    if (!this.#policy.upstream.connectionOptions.tls?.hasClientCertificate) return
    await this.#try('client certificate for the upstream', signal => this.#logInWithCertificate(signal))
  }

  /**
   * Every session presents this certificate. If it is that of a database user, a client that gets one command through
   * before the login of its session is that user.
   */
  async #logInWithCertificate(signal: AbortSignal): Promise<Answer> {
    const channel = await openChannel(this.#topology.selectPrimary().target, signal)
    try {
      await channel.request({ hello: 1, client: PROXY_METADATA, $db: 'admin' }, signal)
      const reply = await channel.request({ authenticate: 1, mechanism: 'MONGODB-X509', $db: '$external' }, signal)
      if (Number(reply.ok) !== 1) return 'belongs to no database user'
      const user = sanitizeText(reply.user) ?? 'a database user'
      return { level: 'failure', text: `logs in as ${user}. Drop that user, or use another certificate.` }
    } finally {
      channel.destroy()
    }
  }

  async #checkAdmin(): Promise<void> {
    const admin = this.#admin
    if (admin) await this.#try('upstream.admin', () => describeAdmin(admin))
  }

  async #checkLdap(signal: AbortSignal): Promise<string> {
    const { state, why } = evaluateLdap(await createLdapProbe(this.#topology, this.#admin)(signal))
    if (state === 'unknown' && this.#config.ldap.assume === 'off') return `assumed to be off (${why})`
    if (state !== 'off') throw new Fault(`ldap/${state}`, why)
    return `off: ${why}`
  }

  async #checkDatabaseUsers(): Promise<void> {
    const logIn = async ({ grant, arn }: Rule): Promise<void> => {
      if (!('user' in grant)) return
      const { name, db } = grant.user
      await this.#try(`user ${name}@${db} (${arn})`, signal => this.#logIn(grant, signal))
    }
    await forEachConcurrently(this.#policy.rules.all, MAX_CONCURRENT_LOGINS, logIn)
  }

  async #logIn({ user, password }: Extract<Grant, { user: unknown }>, signal: AbortSignal): Promise<string> {
    const { socket } = await dial({
      target: this.#topology.selectPrimary().target,
      requirePrimary: !this.#policy.isSingle,
      user: { ...user, password },
      clientMetadata: PROXY_METADATA,
      scramKeys: createScramKeyCache({ maxEntries: 1 }),
      random: randomBytes,
      signal,
    })
    socket.destroy()
    return 'logs in'
  }

  /** Notes rules that never decide, or always refuse, which the list does not show at a glance. */
  #reviewRules(): void {
    const { scope = 'not set' } = this.#config.listen
    const { all, outOfScope } = this.#policy.rules
    for (const { decidedBy, scopes } of outOfScope) {
      this.#remark('note', `rule ${decidedBy.rule} is for ${scopes?.join(', ')}, and listen.scope is ${scope}`)
    }
    for (const rule of all) this.#reviewRule(rule)
  }

  #reviewRule(rule: Rule): void {
    const { decidedBy, deleteAfterDate, exact, arn } = rule
    const { rules } = this.#policy
    // A * of an earlier pattern matches the * of this one, so an earlier rule that matches the pattern matches all of it.
    const winner = exact ? rules.match({ canonical: arn }) : rules.all.find(other => rules.matchesRule(other, arn))
    if (winner && winner.decidedBy.rule < decidedBy.rule) {
      const { rule: number } = winner.decidedBy
      this.#remark('note', `rule ${decidedBy.rule} never decides: rule ${number}, ${winner.description}, comes first`)
    }
    const denial = exact ? this.#findDenial(arn) : undefined
    if (denial) this.#remark('note', `rule ${decidedBy.rule} admits no login: its principal is denied, by ${denial}`)
    if (isExpired(rule, Date.now())) {
      this.#remark(
        'note',
        `rule ${decidedBy.rule} refuses logins since its deleteAfterDate, ${deleteAfterDate?.toISOString()}`,
      )
    }
  }

  /** The denial in deny.file of a principal (its canonical ARN), as far as an ARN tells. */
  #findDenial(canonical: string): string | undefined {
    const arn = parseArn(canonical)
    if (!arn) return undefined
    const kind = arn.kind === 'role' ? 'assumed-role' : arn.kind
    const denial = this.#denyList.find({ ...arn, kind, canonical, principalId: '' }, '', Date.now())
    return denial && formatDenial(denial)
  }

  async #checkPins(): Promise<void> {
    const { file } = this.#config.pins
    if (file !== undefined) await this.#checkOwnFile('pins', 'pins.file', file, path => openPins(path).all().size)
  }

  async #checkAdminDenials(): Promise<void> {
    const { deny, admin } = this.#config
    if (deny.adminFile !== undefined) {
      let denials: readonly Denial[] = []
      await this.#checkOwnFile('denials of the admin interface', 'deny.adminFile', deny.adminFile, path => {
        denials = openAdminDenials(path, Date.now).all()
        return denials.length
      })
      for (const warning of findUnservedDenials(this.#config, denials))
        this.#remark('warning', `deny.adminFile: ${warning}`)
    } else if ((admin.token || admin.tokens.some(({ may }) => may === 'write')) && admin.port !== 'off') {
      this.#remark('note', '/deny cannot add denials, because deny.adminFile is not set')
    }
  }

  /** Whether a file that the proxy writes can be read, and its folder written. `count`: the number of its entries. */
  #checkOwnFile(subject: string, setting: string, path: string, count: (path: string) => number): Promise<void> {
    return this.#try(subject, async () => {
      const entries = count(path)
      const folder = dirname(resolve(path))
      const code = await access(folder, constants.W_OK | constants.X_OK).then(() => undefined, errorCode)
      if (code === undefined) return `${entries} in ${describePath(path)}`
      const why = FOLDER_PROBLEMS[code] ?? `cannot be written (${code})`
      // An offline check may run on another machine than the proxy.
      const level = this.#options.isOffline ? 'warning' : 'failure'
      return { level, text: `${setting}: the folder ${describePath(folder)} ${why}` }
    })
  }

  #checkServerCertificate(): void {
    const { tls } = this.#config
    if (!tls) return
    const { validTo } = new X509Certificate(tls.cert)
    const remainingMS = Date.parse(validTo) - Date.now()
    if (remainingMS < 0) {
      const text = `tls.certFile: expired at ${validTo}. Clients that verify certificates refuse it.`
      this.#report({ level: 'failure', question: this.#question, text })
    } else if (remainingMS < EXPIRES_SOON_MS) this.#remark('warning', `tls.certFile: expires at ${validTo}`)
  }

  async #checkDirectory(): Promise<void> {
    const admin = this.#admin
    if (!this.#config.directory.enabled || !admin) return
    let warnings: readonly string[] = []
    await this.#try('directory', async (): Promise<Answer> => {
      try {
        const users = await readExternalUsers(admin, servedPartition(this.#config.sts.hosts))
        warnings = users.warnings
        return `${users.byPrincipal.size} principals in $external`
      } catch (thrown) {
        return { level: 'failure', text: `cannot be read: ${describeReadFailure(thrown)}. ${DIRECTORY_REMEDY}` }
      }
    })
    for (const warning of warnings) this.#remark('warning', `directory: ${warning}`)
  }

  async #checkProvisioning(): Promise<void> {
    const { enabled: directory } = this.#config.directory
    const roles = this.#policy.rules.all.flatMap(({ grant }) => ('roles' in grant ? grant.roles : []))
    const provisioning = this.#admin && provisioningOptions(this.#config, this.#admin.runCommand, silentLog, () => {})
    if (!provisioning || (roles.length === 0 && !directory)) return
    let notes: string[] = []
    await this.#try('provisioned users', async () => {
      const [summary = '', ...rest] = await auditUsers({ provisioning, roles, directory })
      notes = rest
      return summary
    })
    for (const note of notes) this.#report(toRemark(this.#question, note))
  }

  async #checkSts(): Promise<void> {
    const { timeoutMS, config } = this.#options
    // The client times out a little earlier, because its error says more than the timeout of the question.
    const client = createConfiguredStsClient(config.sts, timeoutMS * 0.9)
    const ask = async (host: string, signal: AbortSignal): Promise<Answer> => {
      const why = (await client.probe(host, signal))?.why
      const skewSeconds = Math.round(client.clockSkewMS() / 1000)
      if (why !== undefined) {
        const advice = describeStsTlsFailure(why)
        return { level: 'failure', text: advice === undefined ? why : `${why}; ${advice}` }
      }
      return `answers${skewSeconds === 0 ? '' : `, its clock is ${skewSeconds} s ahead of ours`}`
    }
    try {
      await Promise.all(config.sts.hosts.map(({ host }) => this.#try(`STS ${host}`, signal => ask(host, signal))))
    } finally {
      await rejectOnAbort(AbortSignal.timeout(timeoutMS), client.close()).catch(() => {})
    }
  }
}

const FOLDER_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist; create it, and let the proxy write to it',
  ENOTDIR: 'is below a file; name another one',
  EACCES: 'cannot be written by this user; let the proxy write to it',
  EROFS: 'is on a file system that is mounted read-only; name another one',
}

/** Runs `run` for every item, at most `limit` at a time. */
async function forEachConcurrently<T>(items: readonly T[], limit: number, run: (item: T) => Promise<void>) {
  const waiting = items.values()
  const work = async () => {
    for (const item of waiting) await run(item)
  }
  await Promise.all(Array.from({ length: limit }, work))
}

async function describeMember(target: Target, signal: AbortSignal): Promise<string> {
  const channel = await openChannel(target, signal)
  try {
    const command = { hello: 1, client: PROXY_METADATA, $db: 'admin' }
    const { setName } = assertHelloOk(await channel.request(command, signal), target.address)
    const { version } = await channel.request({ buildInfo: 1, $db: 'admin' }, signal)
    return `answers, version ${version}${typeof setName === 'string' ? `, member of ${setName}` : ''}`
  } finally {
    channel.destroy()
  }
}

async function describeAdmin(admin: AdminClient): Promise<Answer> {
  try {
    const { authInfo } = assertOk(await admin.runCommand({ connectionStatus: 1 }), 'upstream.admin')
    const users: unknown = authInfo?.authenticatedUsers
    const [user] = Array.isArray(users) ? users : []
    if (!user) return 'connects without a login, because its URI names no user'
    const [name, db] = [sanitizeText(user.user), sanitizeText(user.db)]
    // Some servers report only the name of the user.
    return `logs in${name === undefined ? '' : ` as ${name}${db === undefined ? '' : `@${db}`}`}`
  } catch (thrown) {
    const fault = Fault.from(thrown)
    const { errmsg, code } = fault.data('upstream/authentication-failed', 'upstream/unreachable') ?? {}
    const tls = describeTlsFailure(code, 'upstream.admin.uri')
    if (tls !== undefined) return { level: 'failure', text: tls }
    const why = errmsg ?? sanitizeText((thrown as Error)?.message) ?? fault.message
    return { level: 'failure', text: `${why.replace(/\.$/, '')}. Check its address, user and password.` }
  }
}

const DIRECTORY_REMEDY = 'Check that the user of upstream.admin may read admin.system.users.'

async function readExternalUsers(admin: AdminClient, partition: string) {
  const documents = await createExternalUsers(command => admin.runCommand(command)).readAll()
  return parseDirectoryUsers(documents, { partition, maxWarnings: MAX_DIRECTORY_WARNINGS })
}
