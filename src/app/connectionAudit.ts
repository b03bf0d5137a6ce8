/** Turns what client connections report into events of the audit trail. */
import type { Actor, AuditEvent } from '../audit/events.js'
import { type RefusalSummary, RefusalWindow } from '../audit/refusalWindow.js'
import type { AuditTrail } from '../audit/trail.js'
import { toSubnet } from '../budget/subnet.js'
import type { AuditedClient, CertificateRefusal, ConnectionAudit } from '../client/audit.js'
import type { ClientInfo } from '../client/handshake.js'
import type { LoginRecord } from '../client/login.js'
import { NO_CERTIFICATE } from '../client/tls.js'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Match } from '../users/match.js'
import { formatRole } from '../users/roles.js'

export type ConnectionAuditOptions = {
  trail: AuditTrail
  /** Whether logins are refused while the trail cannot be written. */
  refusesWithoutAudit(): boolean
  configHash(): string
  after: After
}

export class ConnectionAuditor implements ConnectionAudit {
  readonly #options: ConnectionAuditOptions
  readonly #refusedLogins: RefusalWindow
  readonly #refusedCommands: RefusalWindow
  readonly #refusedCertificates: RefusalWindow

  constructor(options: ConnectionAuditOptions) {
    const { after, trail } = options
    this.#options = options
    this.#refusedLogins = new RefusalWindow({
      after,
      onSummary: summary =>
        trail.record('login.refused', {
          outcome: 'refused',
          actor: CLIENT,
          fault: summary.reason ?? ANY,
          count: summary.count,
          subnet: summary.subnet ?? ANY,
          distinctKeys: summary.distinctKeys,
          accessKeyIds: [...summary.firstKeys],
        }),
    })
    this.#refusedCommands = new RefusalWindow({ after, onSummary: summary => this.#recordRefusedCommands(summary) })
    this.#refusedCertificates = new RefusalWindow({
      after,
      onSummary: summary => this.#recordRefusedCertificates(summary),
    })
  }

  assertAvailable(): void {
    if (this.#options.trail.isFailing && this.#options.refusesWithoutAudit()) throw new Fault('audit/unavailable')
  }

  async recordLogin(
    client: AuditedClient,
    { record, info, upstream, kind }: Parameters<ConnectionAudit['recordLogin']>[1],
  ): Promise<void> {
    const { trail, refusesWithoutAudit, configHash } = this.#options
    const { identity, match, sts, accessKeyId, user, ms, cached } = record
    if (!identity || !match || !sts || accessKeyId === undefined || user === undefined) {
      throw new Fault('internal', undefined, { why: 'a login without an identity' })
    }
    const { address, port } = splitPeer(client.peer)
    // Flat, because spreads of parts took more time here than the rest of the event.
    trail.record('login', {
      actor: toActor(record),
      address,
      port,
      connection: trail.nameConnection(client.id),
      arn: identity.arn,
      accessKeyId,
      principalId: identity.principalId,
      account: identity.account,
      databaseUser: user,
      roles: listRoles(match),
      configHash: configHash(),
      sts: { host: sts.host, requestId: sts.requestId, cached: cached === true },
      upstream,
      ms,
      loginKind: kind,
      rule: describeRule(match),
      directoryUser: findDirectoryUser(match),
      appName: findAppName(info),
      driver: describeDriver(info),
    })
    if (!(await trail.whenWritten()) && refusesWithoutAudit()) throw new Fault('audit/unavailable')
  }

  recordLoginRefused(
    client: AuditedClient,
    { record, info, fault, kind }: Parameters<ConnectionAudit['recordLoginRefused']>[1],
  ): void {
    const { accessKeyId, identity, match, sts, user, ms, cached } = record
    const subnet = toSubnet(splitPeer(client.peer).address)
    if (!this.#refusedLogins.add(subnet, fault.kind, accessKeyId)) return
    const { denial, code } = readRefusal(fault)
    this.#options.trail.record('login.refused', {
      outcome: 'refused',
      ...this.#describeClient(client, record),
      fault: fault.kind,
      count: 1,
      reason: fault.message,
      remedy: fault.definition.remedy,
      accessKeyId,
      arn: identity?.arn,
      principalId: identity?.principalId,
      account: identity?.account,
      databaseUser: user,
      denial,
      code,
      sts: sts && { ...sts, cached: cached === true },
      ms,
      loginKind: kind,
      rule: match && describeRule(match),
      directoryUser: match && findDirectoryUser(match),
      appName: findAppName(info),
      driver: describeDriver(info),
    })
  }

  recordSessionEnd(
    client: AuditedClient,
    { record, by, fault, durationMS, bytes }: Parameters<ConnectionAudit['recordSessionEnd']>[1],
  ): void {
    const { trail } = this.#options
    const { address, port } = splitPeer(client.peer)
    const actor = toActor(record)
    const connection = trail.nameConnection(client.id)
    const arn = record.identity?.arn
    const databaseUser = record.user
    const reason = fault?.message
    const revocation = fault?.data('login/revoked')
    if (fault && revocation) {
      const cause = fault.cause instanceof Fault ? fault.cause.kind : undefined
      const { why = fault.message, denial } = revocation
      const session = { actor, address, port, connection, arn, databaseUser }
      trail.record('session.revoked', { ...session, reason: why, cause, denial })
    }
    trail.record('session.end', {
      actor,
      address,
      port,
      connection,
      arn,
      databaseUser,
      by,
      durationMS,
      bytes,
      fault: fault?.kind,
      reason,
    })
  }

  recordCommandRefused(
    client: AuditedClient,
    { command, fault, record }: Parameters<ConnectionAudit['recordCommandRefused']>[1],
  ): void {
    const subnet = toSubnet(splitPeer(client.peer).address)
    if (!this.#refusedCommands.add(subnet, command)) return
    this.#options.trail.record('command.refused', {
      outcome: 'refused',
      ...this.#describeClient(client, record),
      command,
      commands: 1,
      fault: fault?.kind ?? 'command/forbidden',
      arn: record.identity?.arn,
      databaseUser: record.user,
    })
  }

  /** Records a TLS handshake that failed because the client certificate is missing or not trusted. */
  recordCertificateRefused({ id, peer }: AuditedClient, { code, fingerprint }: CertificateRefusal): void {
    const { trail } = this.#options
    const client = splitPeer(peer)
    if (!this.#refusedCertificates.add(toSubnet(client.address), code)) return
    trail.record('certificate.refused', {
      outcome: 'refused',
      actor: CLIENT,
      ...client,
      connection: trail.nameConnection(id),
      reason: describeCertificateError(code),
      code,
      fingerprint,
      count: 1,
    })
  }

  /** Records the refusals that wait for the end of their second. */
  flush(): void {
    this.#refusedLogins.flush()
    this.#refusedCommands.flush()
    this.#refusedCertificates.flush()
  }

  #recordRefusedCommands({ subnet, reason, count }: RefusalSummary): void {
    this.#options.trail.record('command.refused', {
      outcome: 'refused',
      actor: CLIENT,
      command: reason ?? ANY,
      commands: count,
      subnet: subnet ?? ANY,
    })
  }

  #recordRefusedCertificates({ subnet, reason: code, count }: RefusalSummary): void {
    this.#options.trail.record('certificate.refused', {
      outcome: 'refused',
      actor: CLIENT,
      reason: code === undefined ? ANY : describeCertificateError(code),
      code,
      subnet: subnet ?? ANY,
      count,
    })
  }

  #describeClient({ id, peer }: AuditedClient, record: LoginRecord) {
    return { actor: toActor(record), ...splitPeer(peer), connection: this.#options.trail.nameConnection(id) }
  }
}

function describeCertificateError(code: string): string {
  if (code === NO_CERTIFICATE) return 'the client presented no certificate'
  if (code === 'CERT_HAS_EXPIRED') return 'the client certificate has expired'
  return 'the client certificate is not trusted'
}

const ANY = 'any'
const CLIENT: Actor = { kind: 'client', id: null }

function toActor({ identity, accessKeyId }: LoginRecord): Actor {
  if (identity) return { kind: 'principal', id: identity.canonical }
  return accessKeyId === undefined ? CLIENT : { kind: 'accessKey', id: accessKeyId }
}

function splitPeer(peer: string): { address: string; port: number } {
  const colon = peer.lastIndexOf(':')
  return { address: peer.slice(0, colon), port: Number(peer.slice(colon + 1)) }
}

/** The roles that the proxy granted; null for a database user of the operator. */
export function listRoles({ grant }: Pick<Match, 'grant'>): string[] | null {
  return 'roles' in grant ? grant.roles.map(formatRole) : null
}

/** The rule that decided, unless it was the directory. */
export function describeRule({ decidedBy, arn, grant }: Match): AuditEvent<'login'>['rule'] {
  if (!('rule' in decidedBy)) return undefined
  const given = 'user' in grant ? `${grant.user.name}@${grant.user.db}` : grant.roles.map(formatRole).join(', ')
  return { number: decidedBy.rule, text: `${arn} → ${given}` }
}

function findDirectoryUser({ decidedBy }: Match): string | undefined {
  return 'directoryUser' in decidedBy ? decidedBy.directoryUser : undefined
}

function findAppName(info: ClientInfo | undefined): string | undefined {
  const name: unknown = info?.metadata?.application?.name
  return typeof name === 'string' ? name : undefined
}

function describeDriver(info: ClientInfo | undefined): AuditEvent<'login'>['driver'] {
  const driver = info?.metadata?.driver
  return driver && { name: driver.name, version: driver.version }
}

/** The code that the client received, or that of AWS, which says more. */
function readRefusal(fault: Fault): { denial: string | undefined; code: number | string | undefined } {
  const denial = fault.data('login/denied')?.denial
  const aws = fault.data('sts/refused')?.code
  return { denial, code: aws ?? fault.clientView.definition.reply?.code }
}
