/**
 * Whether a configuration would work: everything that the proxy depends on is tried once, whatever the others gave. It is
 * long because there is much to try.
 */
import { randomBytes, X509Certificate } from 'node:crypto'
import { resolveSrv, resolveTxt } from 'node:dns/promises'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type LoadedConfig, provisioningOptions } from '../app/policy.js'
import { createConfiguredStsClient } from '../app/stsGateway.js'
import { after } from '../clock.js'
import type { Config } from '../config/load.js'
import { describeFault, Fault } from '../errors.js'
import { evaluateLdap } from '../ldap/ldap.js'
import { createLdapProbe } from '../ldap/probe.js'
import { type Secret, silentLog } from '../log.js'
import { auditUsers } from '../provisioning/audit.js'
import { openAdminDenials } from '../revocation/adminDenials.js'
import { createAdminClient as administrator } from '../upstream/admin.js'
import { openChannel } from '../upstream/channel.js'
import { dial } from '../upstream/dial.js'
import { addProxyMetadata } from '../upstream/metadata.js'
import { assertOk, sanitizeText } from '../upstream/reply.js'
import { createScramKeyCache } from '../upstream/scramKeys.js'
import type { Target } from '../upstream/target.js'
import { Topology } from '../upstream/topology.js'
import { parseDirectoryUsers } from '../users/directoryUsers.js'
import { type DatabaseUser, isExpired } from '../users/match.js'
import { openPins } from '../users/pins.js'
import type { Rules } from '../users/rules.js'
import { createExternalUsers, describeReadFailure } from '../users/systemUsers.js'

export type Finding = { isOk: boolean; text: string }

/** How long each thing that is tried may take, in milliseconds. */
const PATIENCE_MS = 5_000
/** A certificate that runs out within this time is told. Milliseconds. */
const SOON_MS = 14 * 24 * 3600_000

/** What was tried and what came of it, in the order of the configuration. Throws `config/invalid`. */
export async function check({ config, policy }: LoadedConfig): Promise<Finding[]> {
  const { rules, upstream, isSingle } = policy
  const findings: Finding[] = config.warnings.map(text => ({ isOk: true, text: `warning: ${text}` }))
  const resolver = { resolveSrv, resolveTxt }
  const topology = new Topology({ upstream, single: isSingle, resolver, log: silentLog, random: Math.random, after })
  try {
    findings.push(...(await greetAll(topology, upstream.name)))
    if (upstream.connectionOptions.tls?.hasClientCertificate) {
      findings.push(await tried('certificate shown to the upstream', signal => beNobody(topology, signal)))
    }
    const { admin } = config.upstream
    if (admin) findings.push(await tried('upstream.admin', () => beAdministrator(admin)))
    findings.push(await tried('LDAP authorization', signal => askAboutLdap(config, topology, signal)))
    for (const { grant, arn } of rules.all) {
      if (!('user' in grant)) continue
      const { name, db } = grant.user
      findings.push(await tried(`user ${name}@${db} (${arn})`, signal => logIn(topology, !isSingle, grant, signal)))
    }
    findings.push(...(await lookAtRules(config, rules)))
    findings.push(...lookAtCertificate(config), ...(await lookAtDenials(config)))
    findings.push(...(await lookAtDirectory(config)))
    findings.push(...(await lookAtUsers(config, rules)))
  } finally {
    topology.close()
  }
  findings.push(...(await reachSts(config)))
  return findings
}

/** Greets every member; what is to be known of a set comes after them. */
async function greetAll(topology: Topology, name: string): Promise<Finding[]> {
  const view = await topology.freshView(AbortSignal.timeout(PATIENCE_MS)).catch((thrown: unknown) => thrown)
  const members = topology.dataBearingMembers()
  if (members.length === 0) return [await tried(`upstream ${name}`, () => Promise.reject(view))]
  const findings = await Promise.all(
    members.map(({ target }) => tried(`upstream ${target.address}`, signal => greet(target, signal))),
  )
  if (!topology.currentView()?.isReplicaSet) return findings
  findings.push(await tried('primary', async () => topology.selectPrimary().target.address))
  const text = 'note: clients are led to the primary alone, so those with readPreference=secondary find nobody'
  return [...findings, { isOk: true, text }]
}

/** Tries one thing; what it gives is told, what it throws is the finding. */
async function tried(what: string, run: (signal: AbortSignal) => Promise<string | Finding>): Promise<Finding> {
  try {
    const given = await run(AbortSignal.timeout(PATIENCE_MS))
    const { isOk, text } = typeof given === 'string' ? { isOk: true, text: given } : given
    return { isOk, text: `${what}: ${text}` }
  } catch (thrown) {
    if (thrown instanceof DOMException) return { isOk: false, text: `${what}: no answer within ${PATIENCE_MS} ms` }
    return { isOk: false, text: `${what}: ${describeFault(Fault.from(thrown))}` }
  }
}

async function greet(target: Target, signal: AbortSignal): Promise<string> {
  const channel = await openChannel(target, signal)
  try {
    const hello = assertOk(
      await channel.request({ hello: 1, client: addProxyMetadata(undefined), $db: 'admin' }, signal),
      target.address,
    )
    const { version } = await channel.request({ buildInfo: 1, $db: 'admin' }, signal)
    const set = typeof hello.setName === 'string' ? `, member of ${hello.setName}` : ''
    return `answers, version ${version}${set}`
  } finally {
    channel.destroy()
  }
}

/**
 * Relays show the upstream our certificate. It must not be a database user's, or whoever finds a way to send one command
 * on a relay's socket is that user (R31).
 */
async function beNobody(topology: Topology, signal: AbortSignal): Promise<Finding> {
  const channel = await openChannel(topology.selectPrimary().target, signal)
  try {
    await channel.request({ hello: 1, client: addProxyMetadata(undefined), $db: 'admin' }, signal)
    const reply = await channel.request({ authenticate: 1, mechanism: 'MONGODB-X509', $db: '$external' }, signal)
    if (Number(reply.ok) !== 1) return { isOk: true, text: 'is of no database user' }
    const user = sanitizeText(reply.user) ?? 'somebody'
    return { isOk: false, text: `logs in as ${user}. Drop that user, or show another certificate.` }
  } finally {
    channel.destroy()
  }
}

async function beAdministrator(uri: Secret): Promise<string | Finding> {
  const superuser = administrator(uri)
  try {
    const { authInfo } = assertOk(await superuser.runCommand({ connectionStatus: 1 }), 'upstream.admin')
    const [who] = authInfo?.authenticatedUsers ?? []
    return who
      ? `logs in as ${sanitizeText(who.user)}@${sanitizeText(who.db)}`
      : 'connects, as nobody: it names no user'
  } catch (thrown) {
    const fault = Fault.from(thrown)
    const { errmsg } = fault.data('upstream/authentication-failed', 'upstream/unreachable') ?? {}
    const why = errmsg ?? sanitizeText((thrown as Error)?.message) ?? fault.message
    return { isOk: false, text: `${why}. Check its address, user and password.` }
  } finally {
    await superuser.close()
  }
}

async function askAboutLdap({ upstream, ldap }: Config, topology: Topology, signal: AbortSignal): Promise<string> {
  const superuser = upstream.admin && administrator(upstream.admin)
  try {
    const { state, why } = evaluateLdap(await createLdapProbe(topology, superuser)(signal))
    if (state === 'unknown' && ldap.assume === 'off') return `assumed to be off (${why})`
    if (state !== 'off') throw new Fault(`ldap/${state}`, why)
    return `off: ${why}`
  } finally {
    await superuser?.close()
  }
}

async function logIn(
  topology: Topology,
  primary: boolean,
  { user, password }: { user: DatabaseUser; password: Secret },
  signal: AbortSignal,
): Promise<string> {
  const { target } = topology.selectPrimary()
  const keys = createScramKeyCache({ maxEntries: 1 })
  const who = { ...user, password }
  const { socket } = await dial({
    target,
    requirePrimary: primary,
    user: who,
    clientMetadata: undefined,
    scramKeys: keys,
    random: randomBytes,
    signal,
  })
  socket.destroy()
  return 'logs in'
}

/** What nobody can see in the rules at a glance, and the pins. */
async function lookAtRules({ listen, pins }: Config, { all, outOfScope, match }: Rules): Promise<Finding[]> {
  const notes = outOfScope.map(
    ({ decidedBy, scopes }) =>
      `rule ${decidedBy.rule} is for ${scopes?.join(', ')}, and listen.scope is ${listen.scope ?? 'not set'}`,
  )
  for (const rule of all) {
    const { decidedBy, deleteAfterDate, exact, arn } = rule
    const decides = exact ? match({ canonical: arn }) : undefined
    if (decides && decides.decidedBy.rule !== decidedBy.rule) {
      notes.push(
        `rule ${decidedBy.rule} never decides: rule ${decides.decidedBy.rule}, ${decides.description}, comes first`,
      )
    }
    if (isExpired(rule, Date.now())) {
      notes.push(`rule ${decidedBy.rule} refuses since ${deleteAfterDate?.toISOString()}, its deleteAfterDate`)
    }
  }
  const findings = notes.map(text => ({ isOk: true, text: `note: ${text}` }))
  if (pins.file === undefined) return findings
  return [...findings, await keptFile('pins', pins.file, path => openPins(path).all().size)]
}

/** A file of the proxy's own: what is in it, and whether more could be put there. */
function keptFile(what: string, path: string, count: (path: string) => number): Promise<Finding> {
  return tried(what, async () => {
    const there = count(path)
    await access(dirname(resolve(path)), constants.W_OK)
    return `${there} in ${path}`
  })
}

/** Whether what is denied over the admin port could be kept. */
async function lookAtDenials({ deny, admin }: Config): Promise<Finding[]> {
  const { adminFile } = deny
  if (adminFile === undefined) {
    const text = 'note: /deny adds nobody, as deny.adminFile is not set'
    return admin.token && admin.port !== 'off' ? [{ isOk: true, text }] : []
  }
  return [
    await keptFile('denials over the admin port', adminFile, path => openAdminDenials(path, Date.now).all().length),
  ]
}

/** A certificate that has run out, or will before anybody looks again. */
function lookAtCertificate({ tls }: Config): Finding[] {
  if (!tls) return []
  const { validTo } = new X509Certificate(tls.cert)
  const left = Date.parse(validTo) - Date.now()
  if (left < 0) return [{ isOk: false, text: `tls.certFile: ran out at ${validTo}. Clients that verify it refuse it.` }]
  return left < SOON_MS ? [{ isOk: true, text: `warning: tls.certFile: runs out at ${validTo}` }] : []
}

/** Whether the directory can be read, and its users who do not do what whoever made them may think. */
async function lookAtDirectory({ directory, upstream }: Config): Promise<Finding[]> {
  if (!directory.enabled || !upstream.admin) return []
  const superuser = administrator(upstream.admin)
  let notes: readonly string[] = []
  const finding = await tried('directory', async () => {
    try {
      const { byPrincipal: known, warnings: complaints } = parseDirectoryUsers(
        await createExternalUsers(command => superuser.runCommand(command)).readAll(),
      )
      notes = complaints
      return `${known.size} principals in $external`
    } catch (thrown) {
      throw new Fault('users/unreadable', undefined, { why: describeReadFailure(thrown) })
    }
  })
  await superuser.close()
  return [finding, ...notes.map(text => ({ isOk: true, text: `warning: directory: ${text}` }))]
}

/** The users that the proxy keeps, where it keeps any. */
async function lookAtUsers(config: Config, { all }: Rules): Promise<Finding[]> {
  const { enabled } = config.directory
  const roles = all.flatMap(({ grant }) => ('roles' in grant ? grant.roles : []))
  const superuser = config.upstream.admin && administrator(config.upstream.admin)
  const parts = superuser && provisioningOptions(config, superuser.runCommand, silentLog)
  if (!parts || (roles.length === 0 && !enabled)) return []
  let found: string[] = []
  const finding = await tried('users that the proxy keeps', async () => {
    found = await auditUsers({ provisioning: parts, roles, directory: enabled })
    return found.shift() ?? ''
  })
  await superuser.close()
  return [finding, ...found.map(text => ({ isOk: true, text }))]
}

async function reachSts({ sts }: Config): Promise<Finding[]> {
  const client = createConfiguredStsClient(sts, PATIENCE_MS)
  const findings = sts.hosts.map(async ({ host }): Promise<Finding> => {
    const why = await client.probe(host, AbortSignal.timeout(PATIENCE_MS))
    const clock = Math.round(client.clockSkewMS() / 1000)
    if (why !== undefined) return { isOk: false, text: `STS ${host}: ${why}` }
    return { isOk: true, text: `STS ${host}: answers${clock === 0 ? '' : `, its clock is ${clock} s ahead of ours`}` }
  })
  try {
    return await Promise.all(findings)
  } finally {
    await client.close()
  }
}
