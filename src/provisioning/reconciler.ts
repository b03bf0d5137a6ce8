/**
 * One database user made what it is to be (R21): created where it is missing, updated where it differs, dropped when it is
 * not wanted, and never touched where its mark is not of this fleet.
 */
import type { Document } from 'bson'
import { Fault } from '../errors.js'
import type { Log, Secret } from '../log.js'
import type { AdminClient } from '../upstream/admin.js'
import { isCollectionRole, type RoleName, toRoleName } from '../users/collectionRole.js'
import type { Role } from '../users/match.js'
import { createDatabaseUsers as accountsOf, type StoredUser } from './databaseUsers.js'
import { createMark, derivePassword, getPeriod, type VerifiedMark, verifyMark } from './password.js'

/** `arn`: the principal in its canonical spelling (a match may hold a pattern instead). */
export type DesiredUser = { arn: string; roles: readonly Role[] }

export type ProvisioningOptions = {
  run: AdminClient['runCommand']
  /** Master secrets: the first makes what is new, all are known. */
  secrets: readonly Secret[]
  fleet: string
  /** Of the users. */
  database: string
  periodMS: number
  /** From where the users may log in: the addresses of the proxies. None: from anywhere. */
  clientSource?: readonly string[] | undefined
  /** Milliseconds since 1970. */
  now: () => number
  log: Log
}

/** `made`: what its mark says now; `before`: what it said, where its password was set; `set`: whether it was. */
export type ReconcileResult = { mark: VerifiedMark; previous?: VerifiedMark; passwordSet: boolean }

export type ReconcileOptions = {
  /** Whether roles that differ are replaced. */
  replaceRoles: boolean
  /** Whether the password is set again, though it is of this period. */
  resetPassword: (made: VerifiedMark) => boolean
}

/** Somebody who makes and drops the same user all the time wins after so many tries. */
const TRIES = 3

/** Every function throws `provision/*` and `upstream/unreachable`. */
export function createUserReconciler({
  run,
  secrets,
  fleet,
  database: db,
  periodMS,
  clientSource = [],
  now,
  log,
}: ProvisioningOptions) {
  const accounts = accountsOf(run, { db, fleet })
  const current = (): number => getPeriod(now(), periodMS)
  const first = (): Secret => {
    const [secret] = secrets
    if (!secret) throw new Fault('config/invalid', 'provision.secretFile: holds no secret')
    return secret
  }
  const told = (change: string, user: string) => log('info', 'database user changed', { change, user: `${user}@${db}` })
  const madeBy = ({ user, customData }: StoredUser) => verifyMark(customData, { db, user, fleet }, secrets)
  const isCurrent = (made: VerifiedMark) => made.period >= current() && made.clientSource.join() === clientSource.join()

  /** What goes together: a password is never written without its mark, nor a mark without its password. */
  const signed = (user: string, before?: VerifiedMark): { made: VerifiedMark; fields: Document } => {
    const made = { secret: first(), period: Math.max(before?.period ?? 0, current()), clientSource }
    const restricted = clientSource.length > 0 || (before?.clientSource.length ?? 0) > 0
    const restrictions = clientSource.length > 0 ? [{ clientSource: [...clientSource] }] : []
    const fields = {
      pwd: derivePassword(made.secret, user, made.period).reveal(),
      mechanisms: ['SCRAM-SHA-256'],
      customData: createMark(made.secret, { db, user, fleet }, made.period, clientSource),
      ...(restricted && { authenticationRestrictions: restrictions }),
    }
    return { made, fields }
  }

  return {
    accounts,
    madeBy,
    isCurrent,
    first,
    granted: (roles: readonly Role[]) => toGrantedRoles(fleet, roles),

    async keep({ arn, roles: wanted }: DesiredUser, choice: ReconcileOptions): Promise<ReconcileResult> {
      for (const role of wanted) if (isCollectionRole(role)) await accounts.ensureRole(role)
      const roles = toGrantedRoles(fleet, wanted)
      for (let attempt = 0; attempt < TRIES; attempt++) {
        const account = await accounts.read(arn)
        if (!account) {
          const { made, fields } = signed(arn)
          // Another process may be quicker; then what it did is read.
          if (!(await accounts.create(arn, { ...fields, roles }))) continue
          told('created', arn)
          return { mark: made, passwordSet: true }
        }
        const before = madeBy(account)
        if (!before) throw new Fault('provision/conflict', undefined, { user: arn, db })
        const anew = isCurrent(before) && !choice.resetPassword(before) ? undefined : signed(arn, before)
        const others = choice.replaceRoles && getRoleSetKey(account.roles) !== getRoleSetKey(roles)
        if (!anew && !others) return { mark: before, passwordSet: false }
        if (!(await accounts.update(arn, { ...anew?.fields, ...(others && { roles }) }))) continue
        told(others ? 'updated, with other roles' : 'updated', arn)
        return anew ? { mark: anew.made, previous: before, passwordSet: true } : { mark: before, passwordSet: false }
      }
      throw new Fault('provision/failed', undefined, { why: 'it was made and dropped again and again', user: arn, db })
    },

    /** Gives whether there was a user of ours to drop. */
    async drop(arn: string): Promise<boolean> {
      const account = await accounts.read(arn)
      if (!account || !madeBy(account) || !(await accounts.drop(arn))) return false
      told('dropped', arn)
      return true
    },

    /** Signs with the first secret what an older one had signed. */
    async sign(arn: string, before: VerifiedMark): Promise<boolean> {
      if (!(await accounts.update(arn, signed(arn, before).fields))) return false
      told('updated', arn)
      return true
    },
  }
}

/** Roles as they are granted, each once. */
export function toGrantedRoles(fleet: string, roles: readonly Role[]): RoleName[] {
  const names = roles.map(role => toRoleName(fleet, role))
  return names.filter((one, at) => names.findIndex(({ role, db }) => role === one.role && db === one.db) === at)
}

/** The same text for the same set of roles. */
export const getRoleSetKey = (names: readonly RoleName[]): string =>
  JSON.stringify(names.map(({ role, db }) => JSON.stringify([role, db])).sort())
