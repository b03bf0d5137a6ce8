/**
 * Remembers for the admin interface what connections report: open sessions, the last login of each principal, and the last
 * refusals. Passes every report on to the audit trail.
 *
 * The lists are bounded: sessions by the session slots, the others by the limits below.
 */
import { LRUCache } from 'lru-cache'
import type { Page } from '../admin/page.js'
import { slicePage } from '../admin/page.js'
import type { AdminPrincipal } from '../admin/principals.js'
import { type AdminRefusal, MAX_REFUSALS } from '../admin/refusals.js'
import type { AdminSession } from '../admin/sessions.js'
import type { AuditedClient, ConnectionAudit } from '../client/audit.js'
import type { LoginRecord } from '../client/login.js'
import { Fault } from '../errors.js'

const MAX_PRINCIPALS = 10_000

export type ActivityOptions = {
  audit: ConnectionAudit
  /** Id of this run. */
  boot: string
  /** Milliseconds since 1970. */
  wallClock(): number
}

type Login = Parameters<ConnectionAudit['recordLogin']>[1]
type Closable = { destroy(fault: Fault): void }
type Session = { client: AuditedClient; since: number; lastLogin: number; login: Login }
type Principal = Omit<AdminPrincipal, 'principal' | 'sessions' | 'lastLogin'> & { lastLogin: number }

export class Activity implements ConnectionAudit {
  readonly #options: ActivityOptions
  /** By the number of the connection, in the order of logins. */
  readonly #sessions = new Map<number, Session>()
  readonly #principals = new LRUCache<string, Principal>({ max: MAX_PRINCIPALS })
  /** The newest one comes last. */
  readonly #refusals: (Omit<AdminRefusal, 'time'> & { at: number })[] = []
  /** Connections by what they report as their client. */
  readonly #connections = new WeakMap<AuditedClient, Closable>()

  constructor(options: ActivityOptions) {
    this.#options = options
  }

  /** Makes it possible to close the session of this client. */
  track<C extends Closable>(client: AuditedClient, connection: C): C {
    this.#connections.set(client, connection)
    return connection
  }

  assertAvailable(): void {
    this.#options.audit.assertAvailable()
  }

  recordLogin(client: AuditedClient, login: Login): Promise<void> {
    const at = this.#options.wallClock()
    const since = this.#sessions.get(client.id)?.since ?? at
    this.#sessions.set(client.id, { client, since, lastLogin: at, login })
    this.#notePrincipal(client, login.record, at)
    return this.#options.audit.recordLogin(client, login)
  }

  recordLoginRefused(...[client, login]: Parameters<ConnectionAudit['recordLoginRefused']>): void {
    this.#noteRefusal(client, login.record, login.fault)
    this.#options.audit.recordLoginRefused(client, login)
  }

  recordSessionEnd(...[client, end]: Parameters<ConnectionAudit['recordSessionEnd']>): void {
    this.#sessions.delete(client.id)
    this.#options.audit.recordSessionEnd(client, end)
  }

  recordCommandRefused(...report: Parameters<ConnectionAudit['recordCommandRefused']>): void {
    this.#options.audit.recordCommandRefused(...report)
  }

  /** The sessions whose connection has a higher number than the cursor, which is that of the last one before. */
  listSessions({ limit, after }: Page): { items: AdminSession[]; next: number | null } {
    const numbers = [...this.#sessions.keys()].filter(number => number > after).sort((one, other) => one - other)
    const shown = numbers.slice(0, limit)
    return {
      items: shown.flatMap(number => this.#describeSession(this.#sessions.get(number))),
      next: numbers.length > limit ? (shown.at(-1) ?? null) : null,
    }
  }

  /** Closes the session with this id at once. Returns false if there is none. */
  closeSession(id: string): boolean {
    const [, boot, number] = /^([0-9a-f]+)-(\d{1,15})$/.exec(id) ?? []
    const session = boot === this.#options.boot ? this.#sessions.get(Number(number)) : undefined
    const connection = session && this.#connections.get(session.client)
    connection?.destroy(new Fault('connection/closed-by-admin'))
    return connection !== undefined
  }

  listPrincipals(page: Page): { items: readonly AdminPrincipal[]; next: number | null } {
    const counts = this.#countSessions()
    const { items, next } = slicePage([...this.#principals.keys()].sort(), page)
    return { items: items.flatMap(arn => this.#describePrincipal(arn, counts.get(arn) ?? 0)), next }
  }

  /** The principals with the most sessions, then those with the latest logins. */
  listLargestPrincipals(limit: number): AdminPrincipal[] {
    const counts = this.#countSessions()
    const largest = [...counts].sort(([, one], [, other]) => other - one).map(([arn]) => arn)
    const arns = new Set(largest.slice(0, limit))
    for (const arn of this.#principals.keys()) {
      if (arns.size >= limit) break
      arns.add(arn)
    }
    return [...arns].flatMap(arn => this.#describePrincipal(arn, counts.get(arn) ?? 0))
  }

  /** The newest one first. */
  listRefusals(): AdminRefusal[] {
    return this.#refusals.map(({ at, ...rest }) => ({ time: new Date(at).toISOString(), ...rest })).reverse()
  }

  #countSessions(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { login } of this.#sessions.values()) {
      const arn = login.record.identity?.canonical ?? ''
      counts.set(arn, (counts.get(arn) ?? 0) + 1)
    }
    return counts
  }

  #notePrincipal({ peer }: AuditedClient, { identity }: LoginRecord, at: number): void {
    if (!identity) return
    const logins = (this.#principals.get(identity.canonical)?.logins ?? 0) + 1
    const lastAddress = addressOf(peer)
    this.#principals.set(identity.canonical, { logins, lastLogin: at, lastAddress, lastArn: identity.arn })
  }

  /** Equal refusals in a row are one entry, or a single client would push out all others. */
  #noteRefusal({ peer }: AuditedClient, { accessKeyId, identity }: LoginRecord, fault: Fault): void {
    const refusal = {
      at: this.#options.wallClock(),
      count: 1,
      address: addressOf(peer),
      fault: fault.kind,
      reason: fault.message,
      remedy: fault.definition.remedy,
      accessKeyId: accessKeyId ?? null,
      arn: identity?.arn ?? null,
      denial: fault.data('login/denied')?.denial ?? null,
    }
    const last = this.#refusals.at(-1)
    if (last && last.fault === refusal.fault && last.address === refusal.address && last.arn === refusal.arn) {
      this.#refusals.pop()
      refusal.count = last.count + 1
    }
    this.#refusals.push(refusal)
    if (this.#refusals.length > MAX_REFUSALS) this.#refusals.shift()
  }

  #describeSession(session: Session | undefined): AdminSession[] {
    if (!session) return []
    const { client, since, lastLogin, login } = session
    const { record, info, upstream } = login
    const { identity, accessKeyId = '', user = null, by } = record
    const { application, driver } = info.metadata ?? {}
    return [
      {
        id: `${this.#options.boot}-${client.id}`,
        since: new Date(since).toISOString(),
        lastLogin: new Date(lastLogin).toISOString(),
        address: client.peer,
        arn: identity?.arn ?? '',
        principal: identity?.canonical ?? '',
        accessKeyId,
        databaseUser: user,
        rule: by && 'rule' in by ? by.rule : null,
        directoryUser: by && 'directoryUser' in by ? by.directoryUser : null,
        appName: typeof application?.name === 'string' ? application.name : null,
        driver: driver ? `${driver.name} ${driver.version}` : null,
        upstream,
      },
    ]
  }

  #describePrincipal(principal: string, sessions: number): AdminPrincipal[] {
    const known = this.#principals.peek(principal)
    if (!known) return []
    return [{ ...known, principal, sessions, lastLogin: new Date(known.lastLogin).toISOString() }]
  }
}

function addressOf(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(':'))
}
