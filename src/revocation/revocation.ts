/**
 * Revocation: the deny list, made of the deny file and the denials of the admin interface, and the review of live
 * connections after every change.
 *
 *     deny file ──────┐
 *                     ├─▶ deny list ─▶ checked at each login, twice
 *     admin denials ──┘       └─ change ─▶ review of all live connections ─▶ close with login/revoked
 */
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import type { Log } from '../log.js'
import { isExpired, type Match } from '../users/match.js'
import type { AdminDenials } from './adminDenials.js'
import { createDenyList, type Denial, type DenyList, formatDenial } from './denials.js'
import { type LiveConnection, LiveConnections, type ReviewConnection } from './liveConnections.js'

export type RevocationOptions = {
  /** Undefined without `deny.adminFile`. */
  adminDenials: AdminDenials | undefined
  /** The denials of the deny file at the start. */
  fileDenials: readonly Denial[]
  /**
   * The current match of a principal at an address; undefined or a fault if it has none. Returns the previous match if
   * the current one cannot be known.
   */
  reevaluate(identity: Identity, peer: string, previous: Match | undefined): Match | undefined | Fault
  /** Milliseconds since 1970. */
  now(): number
  after: After
  log: Log
  /** Called with the number of denials after every change. */
  onCountChange(denials: number): void
  /** Called when the admin interface has changed the list. */
  onAdminChange(): void
}

/** How often to look for expired matches. Milliseconds. */
const EXPIRY_CHECK_MS = 500

export class Revocation {
  readonly #options: RevocationOptions
  readonly #connections: LiveConnections
  #fileDenials: readonly Denial[]
  #denyList: DenyList
  #cancelExpiryCheck = (): void => {}

  constructor(options: RevocationOptions) {
    const { fileDenials, now, after } = options
    this.#options = options
    this.#fileDenials = fileDenials
    this.#denyList = this.#buildDenyList()
    const yieldToEventLoop = () => new Promise<void>(resolve => after(0, resolve))
    this.#connections = new LiveConnections({ now, yieldToEventLoop })
    this.#checkExpiry()
  }

  close(): void {
    this.#cancelExpiryCheck()
  }

  /** Throws `login/denied` if the identity or its access key is denied. */
  assertNotDenied(accessKeyId: string, identity: Identity): void {
    const denial = this.#denyList.find(identity, accessKeyId, this.#options.now())
    if (denial) throw createDenialFault(denial)
  }

  /**
   * The fault `login/denied` of an access key that is denied. An unverified client must not receive it, because
   * the reply would reveal which keys are on the deny list.
   */
  findKeyDenial(accessKeyId: string): Fault | undefined {
    const denial = this.#denyList.findByAccessKey(accessKeyId, this.#options.now())
    return denial && createDenialFault(denial)
  }

  /** Adds a connection until the returned function is called. Add it first, then check it (see `LiveConnections`). */
  addConnection(connection: LiveConnection): () => void {
    return this.#connections.add(connection)
  }

  /** The canonical ARNs of all principals that have a live connection. */
  principals(): Set<string> {
    return this.#connections.principals()
  }

  list(): { file: readonly Denial[]; admin: readonly Denial[] } {
    return { file: this.#fileDenials, admin: this.#options.adminDenials?.all() ?? [] }
  }

  /** Replaces the denials of the deny file and reviews all live connections, which also adopts changed rules. */
  replaceFile(denials: readonly Denial[]): Promise<readonly Fault[]> {
    this.#fileDenials = denials
    this.#denyList = this.#buildDenyList()
    return this.reviewConnections()
  }

  /** Decides about every live connection again and closes those that must not stay. Resolves to the faults of the closed ones. */
  reviewConnections(): Promise<readonly Fault[]> {
    return this.#connections.review(this.#createReviewer())
  }

  /**
   * Adds a denial. Resolves to the number of live connections that it closed, once it is on disk.
   * Rejects with `denials/not-persisted`.
   */
  async deny(denial: Denial): Promise<number> {
    const { adminDenials } = this.#options
    if (!adminDenials) throw createNoFileFault()
    if (!(await adminDenials.add(denial))) return 0
    this.#adoptAdminChange('denial added', denial)
    const faults = await this.reviewConnections()
    return faults.filter(fault => fault.data('login/revoked')?.denial === formatDenial(denial)).length
  }

  /** Removes a denial that `deny` added. Resolves to false if there is none. Rejects with `denials/not-persisted`. */
  async allow(denial: Denial): Promise<boolean> {
    const { adminDenials } = this.#options
    if (!adminDenials) throw createNoFileFault()
    if (!(await adminDenials.remove(denial))) return false
    this.#adoptAdminChange('denial removed', denial)
    return true
  }

  #adoptAdminChange(event: 'denial added' | 'denial removed', denial: Denial): void {
    const { log, onAdminChange } = this.#options
    const { why, until } = denial
    log('warn', event, { denial: formatDenial(denial), ...(why && { reason: why }), until })
    this.#denyList = this.#buildDenyList()
    onAdminChange()
  }

  #buildDenyList(): DenyList {
    const { adminDenials, onCountChange } = this.#options
    const denyList = createDenyList(this.#fileDenials, adminDenials?.all() ?? [])
    onCountChange(denyList.all.length)
    return denyList
  }

  /** Evaluates the rules once per principal, address and previous match, however many connections share them. */
  #createReviewer(): ReviewConnection {
    const results = new Map<Match | undefined, Map<string, Match | undefined | Fault>>()
    const reevaluate = ({ identity, peer, match: previous }: LiveConnection): Match | undefined | Fault => {
      const known = results.get(previous) ?? new Map<string, Match | undefined | Fault>()
      results.set(previous, known)
      const key = `${identity.canonical} ${identity.principalId} ${peer}`
      if (!known.has(key)) known.set(key, this.#options.reevaluate(identity, peer, previous))
      return known.get(key)
    }
    return connection => {
      try {
        this.assertNotDenied(connection.accessKeyId, connection.identity)
        return reevaluate(connection)
      } catch (thrown) {
        return Fault.from(thrown)
      }
    }
  }

  #checkExpiry(): void {
    const { now, after } = this.#options
    const time = now()
    if (this.#connections.some(({ match }) => match !== undefined && isExpired(match, time))) {
      void this.reviewConnections()
    }
    this.#cancelExpiryCheck = after(EXPIRY_CHECK_MS, () => this.#checkExpiry())
  }
}

function createDenialFault(denial: Denial): Fault {
  const { why } = denial
  return new Fault('login/denied', undefined, { denial: formatDenial(denial), ...(why && { reason: why }) })
}

function createNoFileFault(): Fault {
  return new Fault('denials/not-persisted', 'deny.adminFile is not set')
}
