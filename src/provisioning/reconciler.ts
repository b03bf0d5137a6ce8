/**
 * Makes a provisioned user what it should be: creates it, updates it, or drops it. Never touches a user whose mark is not
 * of this fleet.
 */
import type { Document } from 'bson'
import type { RecordAuditEvent } from '../audit/events.js'
import { Fault } from '../errors.js'
import type { Log, Secret } from '../log.js'
import type { AdminClient } from '../upstream/admin.js'
import { isCollectionRole, type RoleName, toRoleName } from '../users/collectionRole.js'
import type { Role } from '../users/match.js'
import { DatabaseUsers, type StoredUser } from './databaseUsers.js'
import { createMark, derivePassword, getPeriod, type Mark, type VerifiedMark, verifyMark } from './password.js'
import { recordRoleChange, recordUserChange, type UserChange } from './userEvents.js'

/** `arn`: the canonical ARN of the principal (the ARN of a match may be a pattern). */
export type DesiredUser = { arn: string; roles: readonly Role[] }

export type ProvisioningOptions = {
  runCommand: AdminClient['runCommand']
  /** Master secrets: the first creates new passwords, all of them verify marks. */
  secrets: readonly Secret[]
  fleet: string
  /** The database of the users. */
  database: string
  periodMS: number
  /** The networks of the proxies, from which the users may log in. Without them, from anywhere. */
  clientSource?: readonly string[] | undefined
  /** Milliseconds since 1970. */
  now: () => number
  log: Log
  /** Records each change of a user or role. */
  record: RecordAuditEvent
}

export type ReconcileOptions = {
  /** Whether to replace roles that differ. */
  replaceRoles: boolean
  /** Whether to set the password again, although it is of this period. */
  resetPassword: (mark: VerifiedMark) => boolean
  /** Called right before roles are replaced. If the reply is lost, MongoDB may have either roles. */
  beforeRoleChange?: () => void
}

/** `mark`: the mark now. `previous`: the mark before, if the password was set. */
export type ReconcileResult = { mark: VerifiedMark; previous?: VerifiedMark; passwordSet: boolean }

/** Another process may create and drop the same user at the same time. */
const MAX_ATTEMPTS = 3

/** How long this process recognizes a user that it created and could not read back. Milliseconds. */
const UNVERIFIED_MS = 60_000

const NEW_PASSWORD = 'new password'

/** Every method throws `provision/*` and `upstream/unreachable`. */
export class UserReconciler {
  readonly users: DatabaseUsers
  readonly #options: ProvisioningOptions
  readonly #clientSource: readonly string[]
  /** Users that this process created and could not read back, with the time of their creation. */
  readonly #unverified = new Map<string, number>()

  constructor(options: ProvisioningOptions) {
    const { runCommand, database, fleet, clientSource = [] } = options
    this.users = new DatabaseUsers({ runCommand, db: database, fleet })
    this.#options = options
    this.#clientSource = clientSource
  }

  /** The secret for new passwords. */
  get primarySecret(): Secret {
    const [secret] = this.#options.secrets
    if (!secret) throw new Fault('config/invalid', 'provision.secretFile: contains no secret')
    return secret
  }

  /** The mark of a user; undefined if this fleet did not create the user, or if the period cannot be right. */
  verifyMark(user: StoredUser): VerifiedMark | undefined {
    const mark = this.#readMark(user)
    return mark && !this.#isTooFarAhead(mark) ? mark : undefined
  }

  /** Whether the password is proven to be of this period or a later one, with the current restrictions. */
  isCurrent({ isSealed, period, clientSource }: VerifiedMark): boolean {
    return isSealed && period >= this.#currentPeriod() && clientSource.join() === this.#clientSource.join()
  }

  toGrantedRoles(roles: readonly Role[]): RoleName[] {
    return toGrantedRoles(this.#options.fleet, roles)
  }

  /** Creates or updates a user and its roles. Throws `provision/conflict` if this fleet did not create the user. */
  async reconcile({ arn, roles }: DesiredUser, options: ReconcileOptions): Promise<ReconcileResult> {
    for (const role of roles) {
      if (!isCollectionRole(role)) continue
      await this.users.ensureRole(role, (name, run) =>
        recordRoleChange(this.#options.record, 'role.created', name, run),
      )
    }
    const grantedRoles = this.toGrantedRoles(roles)
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const user = await this.users.read(arn)
      const result = user ? await this.#update(user, grantedRoles, options) : await this.#create(arn, grantedRoles)
      if (result) return result
    }
    const why = 'another process creates and drops this user at the same time'
    throw new Fault('provision/failed', undefined, { why, user: arn, db: this.#options.database })
  }

  /**
   * Resolves to whether there was a user to drop, for this reason. Throws `provision/conflict` if this fleet did not create
   * it: it keeps its roles.
   */
  async drop(arn: string, reason: string): Promise<boolean> {
    const user = await this.users.read(arn)
    if (user && !this.verifyMark(user)) throw this.#createConflict(user)
    return user !== undefined && this.#drop(user, reason)
  }

  /** Drops a role of this fleet. Resolves to false if it does not exist. */
  dropRole(role: RoleName): Promise<boolean> {
    return recordRoleChange(this.#options.record, 'role.dropped', role, () => this.users.dropRole(role))
  }

  /** Sets the password by the first master secret. Resolves to false if the user does not exist. */
  replaceSecret({ user: arn, roles }: StoredUser, previous: VerifiedMark): Promise<boolean> {
    return this.#change('updated', { arn, roles, reason: NEW_PASSWORD }, () =>
      this.users.update(arn, this.#buildCredentials(arn, previous).fields),
    )
  }

  /** Undefined if another process created the user first, or has changed it already. */
  async #create(arn: string, roles: readonly RoleName[]): Promise<ReconcileResult | undefined> {
    await this.users.assertSupported()
    const { mark, fields } = this.#buildCredentials(arn)
    const isCreated = await this.#change('created', { arn, roles }, () => this.users.create(arn, { ...fields, roles }))
    if (!isCreated) return undefined
    this.#unverified.set(arn, this.#options.now())
    const stored = await this.users.read(arn)
    if (stored && this.#isMarkLost(stored)) return this.#dropUnmarked(stored)
    this.#unverified.delete(arn)
    return stored && this.verifyMark(stored) ? { mark, passwordSet: true } : undefined
  }

  /** Whether the server has stored no mark or a part of it. A mark with another HMAC comes from another process. */
  #isMarkLost(stored: StoredUser): boolean {
    const { database: db, fleet } = this.#options
    const { mac } = (stored.customData ?? {}) as Partial<Mark>
    const written = createMark(this.primarySecret, { db, user: stored.user, fleet }, 0)
    return !this.verifyMark(stored) && (mac === undefined || mac === written.mac)
  }

  /** Every replica would regard a user without a mark as foreign, and so would this process after a restart. */
  async #dropUnmarked(user: StoredUser): Promise<never> {
    const why = 'the server does not keep the customData of a user'
    await this.#drop(user, why)
    this.#unverified.delete(user.user)
    throw new Fault('provision/unsupported', undefined, { why })
  }

  #drop({ user: arn, roles }: StoredUser, reason: string): Promise<boolean> {
    return this.#change('dropped', { arn, roles, reason }, () => this.users.drop(arn))
  }

  /** Whether this process created the user a moment ago and has not read it back since. */
  #isUnverified(arn: string): boolean {
    const createdAt = this.#unverified.get(arn)
    return createdAt !== undefined && Math.abs(this.#options.now() - createdAt) < UNVERIFIED_MS
  }

  /** Undefined if another process dropped the user meanwhile. */
  async #update(
    user: StoredUser,
    roles: readonly RoleName[],
    { replaceRoles, resetPassword, beforeRoleChange }: ReconcileOptions,
  ): Promise<ReconcileResult | undefined> {
    const { user: arn } = user
    const mark = this.verifyMark(user)
    if (!mark) {
      if (this.#isUnverified(arn) && this.#isMarkLost(user)) return this.#dropUnmarked(user)
      await this.users.assertSupported() // a server without roles may have lost the mark of an earlier release
      throw this.#createConflict(user)
    }
    this.#unverified.delete(arn)
    const keepsPassword = this.isCurrent(mark) && !resetPassword(mark)
    const credentials = keepsPassword ? undefined : this.#buildCredentials(arn, mark)
    const rolesDiffer = replaceRoles && getRoleSetKey(user.roles) !== getRoleSetKey(roles)
    if (!credentials && !rolesDiffer) return { mark, passwordSet: false }
    if (rolesDiffer) beforeRoleChange?.()
    const fields = { ...credentials?.fields, ...(rolesDiffer && { roles }) }
    const change = {
      arn,
      roles: rolesDiffer ? roles : user.roles,
      ...(rolesDiffer && { rolesBefore: user.roles }),
      ...(credentials && { reason: NEW_PASSWORD }),
    }
    if (!(await this.#change('updated', change, () => this.users.update(arn, fields)))) return undefined
    return credentials ? { mark: credentials.mark, previous: mark, passwordSet: true } : { mark, passwordSet: false }
  }

  /** Password and mark, to be written in one command: each is derived from the same secret and period. */
  #buildCredentials(user: string, previous?: VerifiedMark): { mark: VerifiedMark; fields: Document } {
    const { database: db, fleet } = this.#options
    const clientSource = this.#clientSource
    const secret = this.primarySecret
    const period = Math.max(previous?.isSealed ? previous.period : 0, this.#currentPeriod())
    const hasRestrictions = clientSource.length > 0 || (previous?.clientSource.length ?? 0) > 0
    const restrictions = clientSource.length > 0 ? [{ clientSource: [...clientSource] }] : []
    const fields = {
      pwd: derivePassword(secret, user, period).reveal(),
      mechanisms: ['SCRAM-SHA-256'],
      customData: createMark(secret, { db, user, fleet }, period, clientSource),
      ...(hasRestrictions && { authenticationRestrictions: restrictions }),
    }
    return { mark: { secret, period, clientSource, isSealed: true }, fields }
  }

  /** Why a user without a valid mark does not belong to this fleet. */
  describeForeign(user: StoredUser): string {
    return this.#readMark(user)
      ? 'has a password of a period more than one ahead of the clock of this proxy'
      : 'was not created by this proxy'
  }

  #createConflict(user: StoredUser): Fault {
    const { database: db } = this.#options
    const why = this.#readMark(user) && `the user ${this.describeForeign(user)}`
    return new Fault('provision/conflict', undefined, { user: user.user, db, ...(why && { why }) })
  }

  #readMark({ user, customData }: StoredUser): VerifiedMark | undefined {
    const { database: db, fleet, secrets } = this.#options
    return verifyMark(customData, { db, user, fleet }, secrets)
  }

  /** Clocks of replicas differ by at most one period. A later password would not change until the clock has caught up. */
  #isTooFarAhead({ isSealed, period }: VerifiedMark): boolean {
    return isSealed && period > this.#currentPeriod() + this.#options.periodMS / 1000
  }

  #currentPeriod(): number {
    const { now, periodMS } = this.#options
    return getPeriod(now(), periodMS)
  }

  /** Runs a command that changes a user, and reports the change. Resolves to false if there was nothing to change. */
  async #change(
    kind: 'created' | 'updated' | 'dropped',
    change: Omit<UserChange, 'database'>,
    run: () => Promise<boolean>,
  ): Promise<boolean> {
    const { log, database, record } = this.#options
    if (!(await recordUserChange(record, `user.${kind}`, { ...change, database }, run))) return false
    const description = change.rolesBefore ? `${kind}, with other roles` : kind
    log('info', 'database user changed', { change: description, user: `${change.arn}@${database}` })
    return true
  }
}

/** The roles to grant, without duplicates. */
export function toGrantedRoles(fleet: string, roles: readonly Role[]): RoleName[] {
  const names = roles.map(role => toRoleName(fleet, role))
  return names.filter((one, at) => names.findIndex(({ role, db }) => role === one.role && db === one.db) === at)
}

/** A key that is equal for equal sets of roles. */
export const getRoleSetKey = (names: readonly RoleName[]): string =>
  JSON.stringify(names.map(({ role, db }) => JSON.stringify([role, db])).sort())
