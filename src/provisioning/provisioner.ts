/**
 * Provisioned users: database users for principals that have roles instead of a database password.
 *
 * The name of such a user is the canonical ARN. The state of recent principals is cached, so that most logins run no
 * command of the administrator.
 *
 * Other processes provision the same users, perhaps with an older configuration or another clock. A process therefore
 * writes roles only when its own decision changes, never to repair what another process wrote. It drops only users that it
 * has provisioned itself; `prune` removes the others.
 *
 * MongoDB may refuse a change, or be unreachable. If the change takes roles away, open sessions still have them. The
 * provisioner reports their principals, so that those sessions can be closed.
 */
import { LRUCache } from 'lru-cache'
import { Fault, type FaultKind, toLogFields } from '../errors.js'
import type { Secret } from '../log.js'
import { findLostRoles } from '../users/lostRoles.js'
import type { DatabaseUser, Role } from '../users/match.js'
import { formatRole } from '../users/roles.js'
import { derivePassword, type VerifiedMark } from './password.js'
import { PrincipalQueue } from './principalQueue.js'
import {
  type DesiredUser,
  getRoleSetKey,
  type ProvisioningOptions,
  type ReconcileResult,
  toGrantedRoles,
  UserReconciler,
} from './reconciler.js'
import { RoleReductions } from './roleReductions.js'

/** A database user with candidate passwords, in the order to try them. One of them is valid. */
export type UserCredentials = { user: DatabaseUser; passwords: readonly Secret[] }

/** The roles of a principal; undefined if it has none any more. Throws if that cannot be known now. */
export type RoleLookup = (arn: string) => readonly Role[] | undefined

/**
 * `maxPrincipals`: the size of the cache. `onSyncFailure`: called for each change of roles that failed, other than those of
 * a login.
 */
export type ProvisionerOptions = ProvisioningOptions & {
  maxPrincipals?: number
  onSyncFailure?: (kind: FaultKind) => void
}

type CachedPrincipal = {
  /** What this process decided; `UNCERTAIN` while a change of the roles has no good reply. */
  rolesKey: string
  /** The roles that the database user may have. */
  roles: readonly Role[]
  /** The mark as it was last read or written, and the one before. */
  mark: VerifiedMark
  previousMark: VerifiedMark | undefined
  credentials: UserCredentials
  passwordSetAt: number
}

/** `roles`: undefined if the principal has none any more. */
type Decision = { roles: readonly Role[] | undefined }

type Failure = { fault: Fault; rolesKey: string; until: number }

/**
 * After a failure, commands for the same principal wait this long, so that logins do not flood the upstream. The wait is
 * longer for a server that does not support such users, because each attempt creates and drops one.
 */
const RETRY_DELAYS_MS: Partial<Record<FaultKind, number>> = {
  'provision/conflict': 2_000,
  'provision/failed': 2_000,
  'provision/unsupported': 60_000,
}
/** If a password was set within this time and is refused, setting it again is futile: `provision.clientSource` may be wrong. */
const PASSWORD_RESET_DELAY_MS = 10_000
const DEFAULT_MAX_PRINCIPALS = 10_000
/** Logins use the same few connections of the administrator. */
const MAX_CONCURRENT_SYNCS = 2

/** Equal to no key of roles, so that the next decision is written, whatever it is. */
const UNCERTAIN = ''

/** Failures of the administrator's connection, which say nothing about the user. */
const ADMIN_FAILURES: ReadonlySet<FaultKind> = new Set<FaultKind>(['upstream/unreachable', 'provision/failed'])

export class Provisioner {
  readonly #options: ProvisionerOptions
  readonly #reconciler: UserReconciler
  readonly #principals: LRUCache<string, CachedPrincipal>
  readonly #failures: LRUCache<string, Failure>
  /** The last failure in the log for each principal, until it succeeds. Attempts repeat every few seconds. */
  readonly #loggedFailures: LRUCache<string, string>
  readonly #reductions = new RoleReductions()
  readonly #queue = new PrincipalQueue()

  constructor(options: ProvisionerOptions) {
    const { maxPrincipals: max = DEFAULT_MAX_PRINCIPALS } = options
    this.#options = options
    this.#reconciler = new UserReconciler(options)
    this.#principals = new LRUCache({ max })
    this.#failures = new LRUCache({ max })
    this.#loggedFailures = new LRUCache({ max })
  }

  /** The user of a principal, created or updated if necessary. Rejects with `provision/*` or `upstream/unreachable`. */
  async ensureUser(desired: DesiredUser): Promise<UserCredentials> {
    const rolesKey = getRolesKey(desired.roles)
    const credentials = this.#findCurrent(desired.arn, rolesKey)
    return (
      credentials ?? this.#queue.run(desired.arn, `provision ${rolesKey}`, () => this.#provision(desired, rolesKey))
    )
  }

  /**
   * The credentials to try after the upstream has refused all of these. Rejects with `upstream/authentication-failed` if
   * there are none.
   */
  async handleRefusal(desired: DesiredUser, refused: UserCredentials): Promise<UserCredentials> {
    const rolesKey = getRolesKey(desired.roles)
    const cached = this.#principals.get(desired.arn)
    if (cached && cached.credentials !== refused && cached.rolesKey === rolesKey) return cached.credentials
    return this.#queue.run(desired.arn, `reset ${rolesKey}`, () => this.#reconcile(desired, rolesKey, refused))
  }

  /** The number of principals whose database user still has roles that were taken away. */
  get unrevokedCount(): number {
    return this.#reductions.size
  }

  /**
   * Notes which principals should have lost roles by now. After the grace period they are overdue. `now` and `graceMS` are
   * in milliseconds.
   */
  noteReductions(getRoles: RoleLookup, time: { now: number; graceMS: number }): void {
    for (const arn of this.#reductions.arns()) if (!this.#principals.has(arn)) this.#reductions.delete(arn)
    for (const [arn, cached] of this.#principals.entries()) {
      const decision = decide(getRoles, arn)
      if (!decision) continue
      const lost = decision.roles === cached.roles ? [] : findLostRoles(cached.roles, decision.roles ?? [])
      if (this.#reductions.note(arn, lost, time)) this.#reportOverdue(arn, lost)
    }
  }

  /** Whether roles that were taken away from a principal stayed with its database user for too long. */
  isOverdue(arn: string): boolean {
    return this.#reductions.isOverdue(arn)
  }

  /** Why the sessions of a principal must close although a rule admits it. */
  findOverdue(arn: string): Fault | undefined {
    return this.isOverdue(arn) ? new Fault('provision/overdue') : undefined
  }

  /**
   * Applies changed decisions to the cached principals, first those that lose roles. Skips a principal whose roles cannot be
   * known. Logs failures, which a later call makes good. `inUse`: principals that stay in the cache, because they have
   * sessions. Never rejects.
   */
  async syncRoles(getRoles: RoleLookup, inUse: Iterable<string> = []): Promise<void> {
    for (const arn of inUse) this.#principals.get(arn)
    const arns = new Set([...this.#reductions.arns(), ...this.#principals.keys()]).values()
    let isUnreachable = false
    const work = async (): Promise<void> => {
      for (const arn of arns) {
        const decision = this.#adoptDecision(arn, getRoles)
        // If the upstream is unreachable, the other principals would only wait for the same timeout.
        if (!decision || isUnreachable) continue
        const fault = await this.#syncPrincipal(arn, decision, getRoles)
        isUnreachable ||= fault?.kind === 'upstream/unreachable'
      }
    }
    await Promise.all(Array.from({ length: MAX_CONCURRENT_SYNCS }, work))
  }

  /** The decision about a cached principal if it calls for a change in MongoDB. */
  #adoptDecision(arn: string, getRoles: RoleLookup): Decision | undefined {
    const cached = this.#principals.peek(arn)
    const decision = cached && decide(getRoles, arn)
    if (!decision || decision.roles === cached.roles) return undefined
    if (!decision.roles || getRolesKey(decision.roles) !== cached.rolesKey) return decision
    cached.roles = decision.roles
    return undefined
  }

  /** Resolves to the fault of a change that failed. */
  async #syncPrincipal(arn: string, { roles }: Decision, getRoles: RoleLookup): Promise<Fault | undefined> {
    const rolesKey = roles && getRolesKey(roles)
    const recent = this.#findRecentFailure(arn, rolesKey ?? '')
    if (recent) return recent
    try {
      if (roles)
        await this.#queue.run(arn, `provision ${rolesKey}`, () => this.#reconcile({ arn, roles }, rolesKey ?? ''))
      else await this.#queue.run(arn, 'drop', () => this.#drop(arn, getRoles))
      return undefined
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (fault.kind !== 'proxy/shutdown') {
        this.#options.onSyncFailure?.(fault.kind)
        this.#logFailure(arn, fault)
      }
      return fault
    }
  }

  #findCurrent(arn: string, rolesKey: string): UserCredentials | undefined {
    const cached = this.#principals.get(arn)
    return cached?.rolesKey === rolesKey && this.#reconciler.isCurrent(cached.mark) ? cached.credentials : undefined
  }

  async #provision(desired: DesiredUser, rolesKey: string): Promise<UserCredentials> {
    const credentials = this.#findCurrent(desired.arn, rolesKey)
    if (credentials) return credentials
    const cached = this.#principals.get(desired.arn)
    try {
      return await this.#reconcile(desired, rolesKey)
    } catch (thrown) {
      // At the end of a period the old password stays valid until the administrator can set the next one.
      if (cached?.rolesKey === rolesKey && ADMIN_FAILURES.has(Fault.from(thrown).kind)) return cached.credentials
      throw thrown
    }
  }

  /** Makes the user what it should be. Sets the password again if `refused` are still its credentials. */
  async #reconcile(desired: DesiredUser, rolesKey: string, refused?: UserCredentials): Promise<UserCredentials> {
    const { arn } = desired
    const recent = this.#findRecentFailure(arn, rolesKey)
    if (recent) throw recent
    try {
      const result = await this.#reconciler.reconcile(desired, {
        replaceRoles: this.#principals.get(arn)?.rolesKey !== rolesKey,
        resetPassword: this.#createResetDecision(arn, refused),
        beforeRoleChange: () => this.#expectEitherRoles(desired),
      })
      this.#forgetFailure(arn)
      return this.#cache(desired, rolesKey, result).credentials
    } catch (thrown) {
      const fault = Fault.from(thrown)
      const delayMS = RETRY_DELAYS_MS[fault.kind] ?? 0
      this.#failures.set(arn, { fault, rolesKey, until: this.#options.now() + delayMS })
      if (fault.kind.startsWith('provision/')) this.#logFailure(arn, fault)
      throw fault
    }
  }

  /** MongoDB may apply a change whose reply is lost. Until the next good reply the user may have both roles. */
  #expectEitherRoles({ arn, roles }: DesiredUser): void {
    const cached = this.#principals.peek(arn)
    if (!cached) return
    const added = roles.filter(role => !cached.roles.some(held => formatRole(held) === formatRole(role)))
    cached.roles = [...cached.roles, ...added]
    cached.rolesKey = UNCERTAIN
  }

  /** The last failure if another attempt would be too early. */
  #findRecentFailure(arn: string, rolesKey: string): Fault | undefined {
    const failure = this.#failures.get(arn)
    return failure && failure.rolesKey === rolesKey && this.#options.now() < failure.until ? failure.fault : undefined
  }

  #forgetFailure(arn: string): void {
    this.#failures.delete(arn)
    this.#loggedFailures.delete(arn)
  }

  /** Decides by the mark in MongoDB whether to set a refused password again. */
  #createResetDecision(arn: string, refused: UserCredentials | undefined): (mark: VerifiedMark) => boolean {
    const cached = this.#principals.get(arn)
    return mark => {
      if (!refused || (cached && (cached.credentials !== refused || !isSameMark(cached.mark, mark)))) return false
      if (cached && this.#options.now() - cached.passwordSetAt < PASSWORD_RESET_DELAY_MS) {
        throw new Fault('upstream/authentication-failed', undefined, {
          user: arn,
          why: 'the password was set a moment ago; check provision.clientSource',
        })
      }
      return true
    }
  }

  async #drop(arn: string, getRoles: RoleLookup): Promise<void> {
    // The decision may have changed while the principal's last task ran.
    const decision = decide(getRoles, arn)
    if (!decision || decision.roles) return
    try {
      await this.#reconciler.drop(arn, 'its principal has no roles any more')
    } catch (thrown) {
      const fault = Fault.from(thrown)
      this.#failures.set(arn, { fault, rolesKey: '', until: 0 })
      throw fault
    }
    this.#principals.delete(arn)
    this.#reductions.delete(arn)
    this.#forgetFailure(arn)
  }

  #cache({ arn, roles }: DesiredUser, rolesKey: string, result: ReconcileResult): CachedPrincipal {
    const { mark, previous, passwordSet } = result
    const earlier = this.#principals.get(arn)
    const earlierMark = earlier && !isSameMark(earlier.mark, mark) ? earlier.mark : earlier?.previousMark
    const previousMark = previous ?? earlierMark
    const cached = {
      rolesKey,
      roles,
      mark,
      previousMark,
      credentials: this.#deriveCredentials(arn, mark, previousMark),
      passwordSetAt: passwordSet ? this.#options.now() : (earlier?.passwordSetAt ?? Number.NEGATIVE_INFINITY),
    }
    this.#principals.set(arn, cached)
    this.#reductions.delete(arn)
    return cached
  }

  /** The password by the mark, then the one that another process may have set since, then the earlier ones. */
  #deriveCredentials(arn: string, mark: VerifiedMark, previousMark: VerifiedMark | undefined): UserCredentials {
    const { database: db, periodMS } = this.#options
    const periodSeconds = periodMS / 1000
    const candidates: { secret: Secret; period: number }[] = [
      mark,
      { secret: this.#reconciler.primarySecret, period: mark.period + periodSeconds },
      ...(previousMark ? [previousMark] : []),
      { secret: mark.secret, period: mark.period - periodSeconds },
    ]
    const isFirst = (one: { secret: Secret; period: number }, index: number) =>
      candidates.findIndex(({ secret, period }) => secret === one.secret && period === one.period) === index
    const passwords = candidates.filter(isFirst).map(({ secret, period }) => derivePassword(secret, arn, period))
    return { user: { name: arn, db }, passwords }
  }

  #logFailure(arn: string, fault: Fault): void {
    const text = describe(fault)
    if (this.#loggedFailures.get(arn) === text) return
    this.#loggedFailures.set(arn, text)
    this.#options.log('error', 'provisioning failed', { ...toLogFields(fault), arn })
  }

  #reportOverdue(arn: string, lost: readonly Role[]): void {
    const fault = new Fault('provision/overdue', undefined, {}, this.#failures.get(arn)?.fault)
    this.#options.onSyncFailure?.(fault.kind)
    this.#options.log('error', 'roles not revoked', { ...toLogFields(fault), arn, roles: lost.map(formatRole) })
  }
}

/** The decision about a principal; undefined if it cannot be known now. */
function decide(getRoles: RoleLookup, arn: string): Decision | undefined {
  try {
    return { roles: getRoles(arn) }
  } catch {
    return undefined // the directory has logged that it is unreadable
  }
}

/** Equal texts mean failures that are logged only once. */
function describe(fault: Fault): string {
  const { code } = fault.data('provision/failed', 'upstream/unreachable') ?? {}
  return `${fault.kind} ${code}`
}

const isSameMark = (one: VerifiedMark, other: VerifiedMark): boolean =>
  one.secret === other.secret && one.period === other.period

const getRolesKey = (roles: readonly Role[]): string => getRoleSetKey(toGrantedRoles('', roles))
