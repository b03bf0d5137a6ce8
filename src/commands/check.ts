/**
 * `check`: tries once everything that the proxy depends on. A failure does not stop the checks after it.
 *
 *     upstream members, primary, client certificate ─▶ upstream.admin ─▶ LDAP authorization ─▶ users of rules
 *       ─▶ rules, pins, certificate, denials ─▶ directory ─▶ provisioned users ─▶ STS
 */
import { randomBytes, X509Certificate } from 'node:crypto'
import { resolveSrv, resolveTxt } from 'node:dns/promises'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type LoadedConfig, type Policy, provisioningOptions } from '../app/policy.js'
import { createConfiguredStsClient } from '../app/stsGateway.js'
import { after } from '../clock.js'
import type { Config } from '../config/load.js'
import { describeFault, Fault } from '../errors.js'
import { evaluateLdap } from '../ldap/ldap.js'
import { createLdapProbe } from '../ldap/probe.js'
import { silentLog } from '../log.js'
import { auditUsers } from '../provisioning/audit.js'
import { openAdminDenials } from '../revocation/adminDenials.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import { openChannel } from '../upstream/channel.js'
import { dial } from '../upstream/dial.js'
import { addProxyMetadata } from '../upstream/metadata.js'
import { assertOk, sanitizeText } from '../upstream/reply.js'
import { createScramKeyCache } from '../upstream/scramKeys.js'
import type { Target } from '../upstream/target.js'
import { Topology } from '../upstream/topology.js'
import { parseDirectoryUsers } from '../users/directoryUsers.js'
import { type Grant, isExpired } from '../users/match.js'
import { openPins } from '../users/pins.js'
import type { Rule } from '../users/rules.js'
import { createExternalUsers, describeReadFailure } from '../users/systemUsers.js'

export type Finding = { isOk: boolean; text: string }

/** Milliseconds for each check. */
const TIMEOUT_MS = 5_000
/** A certificate that expires within this time is a warning. Milliseconds. */
const EXPIRES_SOON_MS = 14 * 24 * 3600_000

/** The findings, in the order of the picture above. */
export async function check({ config, policy }: LoadedConfig): Promise<Finding[]> {
  const { upstream, isSingle } = policy
  const resolver = { resolveSrv, resolveTxt }
  const topology = new Topology({ upstream, single: isSingle, resolver, log: silentLog, random: Math.random, after })
  const admin = config.upstream.admin && createAdminClient(config.upstream.admin)
  try {
    return await new Checker({ config, policy, topology, admin }).check()
  } finally {
    topology.close()
    await admin?.close()
  }
}

type CheckerOptions = {
  config: Config
  policy: Policy
  topology: Topology
  /** Undefined without `upstream.admin`. */
  admin: AdminClient | undefined
}

class Checker {
  readonly #config: Config
  readonly #policy: Policy
  readonly #topology: Topology
  readonly #admin: AdminClient | undefined
  readonly #findings: Finding[] = []

  constructor({ config, policy, topology, admin }: CheckerOptions) {
    this.#config = config
    this.#policy = policy
    this.#topology = topology
    this.#admin = admin
  }

  async check(): Promise<Finding[]> {
    for (const warning of this.#config.warnings) this.#note(`warning: ${warning}`)
    await this.#checkMembers()
    await this.#checkClientCertificate()
    await this.#checkAdmin()
    await this.#try('LDAP authorization', signal => this.#checkLdap(signal))
    await this.#checkDatabaseUsers()
    this.#reviewRules()
    await this.#checkPins()
    this.#checkServerCertificate()
    await this.#checkAdminDenials()
    await this.#checkDirectory()
    await this.#checkProvisioning()
    await this.#checkSts()
    return this.#findings
  }

  /** Adds a finding that is not a failure. */
  #note(text: string): void {
    this.#findings.push({ isOk: true, text })
  }

  async #try(subject: string, run: (signal: AbortSignal) => Promise<string | Finding>): Promise<void> {
    this.#findings.push(await attempt(subject, run))
  }

  async #checkMembers(): Promise<void> {
    const failure = await this.#topology.freshView(AbortSignal.timeout(TIMEOUT_MS)).catch((thrown: unknown) => thrown)
    const members = this.#topology.dataBearingMembers()
    if (members.length === 0) {
      return this.#try(`upstream ${this.#policy.upstream.name}`, () => Promise.reject(failure))
    }
    const findings = members.map(({ target }) =>
      attempt(`upstream ${target.address}`, signal => describeMember(target, signal)),
    )
    this.#findings.push(...(await Promise.all(findings)))
    if (!this.#topology.currentView()?.isReplicaSet) return
    await this.#try('primary', async () => this.#topology.selectPrimary().target.address)
    this.#note('note: clients see the primary only, so readPreference=secondary finds no server')
  }

  async #checkClientCertificate(): Promise<void> {
    if (!this.#policy.upstream.connectionOptions.tls?.hasClientCertificate) return
    await this.#try('client certificate for the upstream', signal => this.#logInWithCertificate(signal))
  }

  /**
   * Every session presents this certificate. If it is that of a database user, a client that gets one command through
   * before the login of its session is that user.
   */
  async #logInWithCertificate(signal: AbortSignal): Promise<Finding> {
    const channel = await openChannel(this.#topology.selectPrimary().target, signal)
    try {
      await channel.request({ hello: 1, client: addProxyMetadata(undefined), $db: 'admin' }, signal)
      const reply = await channel.request({ authenticate: 1, mechanism: 'MONGODB-X509', $db: '$external' }, signal)
      if (Number(reply.ok) !== 1) return { isOk: true, text: 'belongs to no database user' }
      const user = sanitizeText(reply.user) ?? 'a database user'
      return { isOk: false, text: `logs in as ${user}. Drop that user, or use another certificate.` }
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
    for (const { grant, arn } of this.#policy.rules.all) {
      if (!('user' in grant)) continue
      const { name, db } = grant.user
      await this.#try(`user ${name}@${db} (${arn})`, signal => this.#logIn(grant, signal))
    }
  }

  async #logIn({ user, password }: Extract<Grant, { user: unknown }>, signal: AbortSignal): Promise<string> {
    const { socket } = await dial({
      target: this.#topology.selectPrimary().target,
      requirePrimary: !this.#policy.isSingle,
      user: { ...user, password },
      clientMetadata: undefined,
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
      this.#note(`note: rule ${decidedBy.rule} is for ${scopes?.join(', ')}, and listen.scope is ${scope}`)
    }
    for (const rule of all) this.#reviewRule(rule)
  }

  #reviewRule(rule: Rule): void {
    const { decidedBy, deleteAfterDate, exact, arn } = rule
    const winner = exact ? this.#policy.rules.match({ canonical: arn }) : undefined
    if (winner && winner.decidedBy.rule !== decidedBy.rule) {
      const { rule: number } = winner.decidedBy
      this.#note(`note: rule ${decidedBy.rule} never decides: rule ${number}, ${winner.description}, comes first`)
    }
    if (isExpired(rule, Date.now())) {
      this.#note(
        `note: rule ${decidedBy.rule} refuses logins since its deleteAfterDate, ${deleteAfterDate?.toISOString()}`,
      )
    }
  }

  async #checkPins(): Promise<void> {
    const { file } = this.#config.pins
    if (file !== undefined) await this.#checkOwnFile('pins', file, path => openPins(path).all().size)
  }

  async #checkAdminDenials(): Promise<void> {
    const { deny, admin } = this.#config
    if (deny.adminFile !== undefined) {
      const count = (path: string) => openAdminDenials(path, Date.now).all().length
      await this.#checkOwnFile('denials of the admin interface', deny.adminFile, count)
    } else if (admin.token && admin.port !== 'off') {
      this.#note('note: /deny cannot add denials, because deny.adminFile is not set')
    }
  }

  /** Whether a file that the proxy writes can be read, and its folder written. `count`: the number of its entries. */
  #checkOwnFile(subject: string, path: string, count: (path: string) => number): Promise<void> {
    return this.#try(subject, async () => {
      const entries = count(path)
      await access(dirname(resolve(path)), constants.W_OK)
      return `${entries} in ${path}`
    })
  }

  #checkServerCertificate(): void {
    const { tls } = this.#config
    if (!tls) return
    const { validTo } = new X509Certificate(tls.cert)
    const remainingMS = Date.parse(validTo) - Date.now()
    if (remainingMS < 0) {
      const text = `tls.certFile: expired at ${validTo}. Clients that verify certificates refuse it.`
      this.#findings.push({ isOk: false, text })
    } else if (remainingMS < EXPIRES_SOON_MS) this.#note(`warning: tls.certFile: expires at ${validTo}`)
  }

  async #checkDirectory(): Promise<void> {
    const admin = this.#admin
    if (!this.#config.directory.enabled || !admin) return
    let warnings: readonly string[] = []
    await this.#try('directory', async () => {
      const users = await readExternalUsers(admin)
      warnings = users.warnings
      return `${users.byPrincipal.size} principals in $external`
    })
    for (const warning of warnings) this.#note(`warning: directory: ${warning}`)
  }

  async #checkProvisioning(): Promise<void> {
    const { enabled: directory } = this.#config.directory
    const roles = this.#policy.rules.all.flatMap(({ grant }) => ('roles' in grant ? grant.roles : []))
    const provisioning = this.#admin && provisioningOptions(this.#config, this.#admin.runCommand, silentLog)
    if (!provisioning || (roles.length === 0 && !directory)) return
    let notes: string[] = []
    await this.#try('provisioned users', async () => {
      const [summary = '', ...rest] = await auditUsers({ provisioning, roles, directory })
      notes = rest
      return summary
    })
    for (const note of notes) this.#note(note)
  }

  async #checkSts(): Promise<void> {
    const { sts } = this.#config
    const client = createConfiguredStsClient(sts, TIMEOUT_MS)
    const findings = sts.hosts.map(async ({ host }): Promise<Finding> => {
      const why = await client.probe(host, AbortSignal.timeout(TIMEOUT_MS))
      const skewSeconds = Math.round(client.clockSkewMS() / 1000)
      if (why !== undefined) return { isOk: false, text: `STS ${host}: ${why}` }
      const skew = skewSeconds === 0 ? '' : `, its clock is ${skewSeconds} s ahead of ours`
      return { isOk: true, text: `STS ${host}: answers${skew}` }
    })
    try {
      this.#findings.push(...(await Promise.all(findings)))
    } finally {
      await client.close()
    }
  }
}

/** Runs one check. Its text, or the fault that it throws, becomes the finding. */
async function attempt(subject: string, run: (signal: AbortSignal) => Promise<string | Finding>): Promise<Finding> {
  try {
    const result = await run(AbortSignal.timeout(TIMEOUT_MS))
    const { isOk, text } = typeof result === 'string' ? { isOk: true, text: result } : result
    return { isOk, text: `${subject}: ${text}` }
  } catch (thrown) {
    if (thrown instanceof DOMException) return { isOk: false, text: `${subject}: no answer within ${TIMEOUT_MS} ms` }
    return { isOk: false, text: `${subject}: ${describeFault(Fault.from(thrown))}` }
  }
}

async function describeMember(target: Target, signal: AbortSignal): Promise<string> {
  const channel = await openChannel(target, signal)
  try {
    const command = { hello: 1, client: addProxyMetadata(undefined), $db: 'admin' }
    const { setName } = assertOk(await channel.request(command, signal), target.address)
    const { version } = await channel.request({ buildInfo: 1, $db: 'admin' }, signal)
    return `answers, version ${version}${typeof setName === 'string' ? `, member of ${setName}` : ''}`
  } finally {
    channel.destroy()
  }
}

async function describeAdmin(admin: AdminClient): Promise<string | Finding> {
  try {
    const { authInfo } = assertOk(await admin.runCommand({ connectionStatus: 1 }), 'upstream.admin')
    const [user] = authInfo?.authenticatedUsers ?? []
    if (!user) return 'connects without a login, because its URI names no user'
    return `logs in as ${sanitizeText(user.user)}@${sanitizeText(user.db)}`
  } catch (thrown) {
    const fault = Fault.from(thrown)
    const { errmsg } = fault.data('upstream/authentication-failed', 'upstream/unreachable') ?? {}
    const why = errmsg ?? sanitizeText((thrown as Error)?.message) ?? fault.message
    return { isOk: false, text: `${why.replace(/\.$/, '')}. Check its address, user and password.` }
  }
}

async function readExternalUsers(admin: AdminClient) {
  try {
    return parseDirectoryUsers(await createExternalUsers(command => admin.runCommand(command)).readAll())
  } catch (thrown) {
    throw new Fault('users/unreadable', undefined, { why: describeReadFailure(thrown) })
  }
}
