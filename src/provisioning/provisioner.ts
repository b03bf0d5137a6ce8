/**
 * Provisioned users: database users for principals that have roles instead of a database password.
 *
 * The name of such a user is the canonical ARN. The state of recent principals is cached, so that most logins run no
 * command of the administrator.
 *
 * Other processes provision the same users, perhaps with an older configuration or another clock. A process therefore
 * writes roles only when its own decision changes, never to repair what another process wrote. It drops only users that it
 * has provisioned itself; `prune` removes the others.
 */
import { LRUCache } from 'lru-cache'
import { Fault, type FaultKind, toLogFields } from '../errors.js'
import type { Secret } from '../log.js'
import type { DatabaseUser, Role } from '../users/match.js'
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

/** A database user with candidate passwords, in the order to try them. One of them is valid. */
export type UserCredentials = { user: DatabaseUser; passwords: readonly Secret[] }

/** The roles of a principal; undefined if it has none any more. Throws if that cannot be known now. */
export type RoleLookup = (arn: string) => readonly Role[] | undefined

/** `maxPrincipals`: the size of the cache. */
export type ProvisionerOptions = ProvisioningOptions & { maxPrincipals?: number }

type CachedPrincipal = {
  /** What this process decided. */
  rolesKey: string
  roles: readonly Role[]
  /** The mark as it was last read or written, and the one before. */
  mark: VerifiedMark
  previousMark: VerifiedMark | undefined
  credentials: UserCredentials
  passwordSetAt: number
}

type Failure = { fault: Fault; rolesKey: string; until: number }

/** After a failure, commands for the same principal wait this long, so that logins do not flood the upstream. */
const RETRY_DELAY_MS = 2_000
/** A server that cannot hold such users does not learn it soon, and each attempt creates and drops one. */
const UNSUPPORTED_RETRY_DELAY_MS = 60_000
/** If a password was set within this time and is refused, setting it again is futile: `provision.clientSource` may be wrong. */
const PASSWORD_RESET_DELAY_MS = 10_000
const DEFAULT_MAX_PRINCIPALS = 10_000

/** Failures of the administrator's connection, which say nothing about the user. */
const ADMIN_FAILURES: ReadonlySet<FaultKind> = new Set<FaultKind>(['upstream/unreachable', 'provision/failed'])

export class Provisioner {
  readonly #options: ProvisionerOptions
  readonly #reconciler: UserReconciler
  readonly #principals: LRUCache<string, CachedPrincipal>
  readonly #failures: LRUCache<string, Failure>
  readonly #queue = new PrincipalQueue()

  constructor(options: ProvisionerOptions) {
    const { maxPrincipals: max = DEFAULT_MAX_PRINCIPALS } = options
    this.#options = options
    this.#reconciler = new UserReconciler(options)
    this.#principals = new LRUCache({ max })
    this.#failures = new LRUCache({ max })
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

  /**
   * Applies changed decisions to the cached principals. Skips a principal whose roles cannot be known. Logs failures,
   * which a later call makes good.
   */
  async syncRoles(getRoles: RoleLookup): Promise<void> {
    for (const [arn, cached] of [...this.#principals.entries()]) {
      let roles: readonly Role[] | undefined
      try {
        roles = getRoles(arn)
      } catch {
        continue // the directory has logged that it is unreadable
      }
      if (roles !== cached.roles) await this.#syncPrincipal(arn, cached, roles)
    }
  }

  async #syncPrincipal(arn: string, cached: CachedPrincipal, roles: readonly Role[] | undefined): Promise<void> {
    if (!roles) {
      return this.#queue.run(arn, 'drop', () => this.#drop(arn)).catch(thrown => this.#logFailure(arn, thrown))
    }
    const rolesKey = getRolesKey(roles)
    if (rolesKey === cached.rolesKey) {
      cached.roles = roles
      return
    }
    // The failure is logged already, here or by the monitor of the upstream.
    await this.#queue.run(arn, `provision ${rolesKey}`, () => this.#reconcile({ arn, roles }, rolesKey)).catch(() => {})
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
    const failure = this.#failures.get(arn)
    if (failure && failure.rolesKey === rolesKey && this.#options.now() < failure.until) throw failure.fault
    try {
      const result = await this.#reconciler.reconcile(desired, {
        replaceRoles: this.#principals.get(arn)?.rolesKey !== rolesKey,
        resetPassword: this.#createResetDecision(arn, refused),
      })
      this.#failures.delete(arn)
      return this.#cache(desired, rolesKey, result).credentials
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (fault.kind.startsWith('provision/')) {
        const delayMS = fault.kind === 'provision/unsupported' ? UNSUPPORTED_RETRY_DELAY_MS : RETRY_DELAY_MS
        this.#failures.set(arn, { fault, rolesKey, until: this.#options.now() + delayMS })
        this.#logFailure(arn, fault)
      }
      throw fault
    }
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

  async #drop(arn: string): Promise<void> {
    await this.#reconciler.drop(arn)
    this.#principals.delete(arn)
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

  #logFailure(arn: string, thrown: unknown): void {
    this.#options.log('error', 'provisioning failed', { ...toLogFields(Fault.from(thrown)), arn })
  }
}

const isSameMark = (one: VerifiedMark, other: VerifiedMark): boolean =>
  one.secret === other.secret && one.period === other.period

const getRolesKey = (roles: readonly Role[]): string => getRoleSetKey(toGrantedRoles('', roles))
