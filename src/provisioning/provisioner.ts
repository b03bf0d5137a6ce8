/**
 * Database users for principals that have roles and no credential, and what is remembered of them (R21).
 *
 * The name of such a user is the canonical ARN. A login that finds in memory what it needs asks the upstream nothing.
 *
 * Other processes do the same, perhaps with an older configuration or another clock. So roles are written where this
 * process decided anew, never to repair what another one wrote, and only users are dropped that this process saw wanted
 * before; `prune` is for the others.
 */
import { LRUCache } from 'lru-cache'
import { Fault, toLogFields } from '../errors.js'
import type { Secret } from '../log.js'
import type { DatabaseUser, Role } from '../users/match.js'
import { derivePassword, type VerifiedMark } from './password.js'
import {
  createUserReconciler,
  type DesiredUser,
  getRoleSetKey,
  type ProvisioningOptions as Making,
  type ReconcileResult,
  toGrantedRoles,
} from './reconciler.js'

/** A user that can be logged in as. One of the passwords is good; they are in the order in which to try them. */
export type UserCredentials = { user: DatabaseUser; passwords: readonly Secret[] }

/** A principal's roles, undefined where it has none any more. Throws where that cannot be known now. */
export type RoleLookup = (arn: string) => readonly Role[] | undefined

export type Provisioner = {
  /** The user of a principal, made if need be. Throws `provision/*`, `upstream/unreachable`. */
  ensureUser(wanted: DesiredUser): Promise<UserCredentials>
  /** What to try when the upstream took none of the passwords. Throws `upstream/authentication-failed` where nothing is left to try. */
  handleRefusal(wanted: DesiredUser, tried: UserCredentials): Promise<UserCredentials>
  /**
   * Carries out what was decided anew about the principals that this process has met; where that cannot be known, all
   * stays. Failures are logged and made good by a later call.
   */
  syncRoles(rolesOf: RoleLookup): Promise<void>
}

/** `entries`: how many principals are remembered at most. */
export type ProvisionerOptions = Making & { maxPrincipals?: number }

/** `key` and `roles` are what this process decided, `made` is what the mark said when it was last read or written. */
type Known = {
  key: string
  roles: readonly Role[]
  made: VerifiedMark
  before?: VerifiedMark | undefined
  access: UserCredentials
  setAt: number
}

/** What failed is not tried again for this principal before so many milliseconds: logins shall not flood the upstream. */
const PAUSE_MS = 2_000
/** A password that was just set is not set again: another cause keeps its user out, such as `provision.clientSource`. */
const SET_AGAIN_MS = 10_000
const ENTRIES = 10_000

export function createProvisioner({ maxPrincipals = ENTRIES, ...parts }: ProvisionerOptions): Provisioner {
  const { database: db, periodMS, now, log } = parts
  const { keep, drop, isCurrent, first } = createUserReconciler(parts)
  const memory = new LRUCache<string, Known>({ max: maxPrincipals })
  const failures = new LRUCache<string, { fault: Fault; key: string; until: number }>({ max: maxPrincipals })
  const inTurn = serially()

  const complain = (arn: string, fault: Fault) => log('error', 'provisioning failed', { ...toLogFields(fault), arn })

  /** The password as the mark has it; then what another process may have made of it, and what it was. */
  const accessOf = (arn: string, made: VerifiedMark, before: VerifiedMark | undefined): UserCredentials => {
    const length = periodMS / 1000
    const tries = [
      made,
      { secret: first(), period: made.period + length },
      ...(before ? [before] : []),
      { secret: made.secret, period: made.period - length },
    ]
    const isNew = (one: { secret: Secret; period: number }, at: number) =>
      tries.findIndex(({ secret, period }) => secret === one.secret && period === one.period) === at
    const passwords = tries.filter(isNew).map(({ secret, period }) => derivePassword(secret, arn, period))
    return { user: { name: arn, db }, passwords }
  }

  const remember = (
    { arn, roles }: DesiredUser,
    key: string,
    { mark: made, previous: before, passwordSet: set }: ReconcileResult,
  ): Known => {
    const earlier = memory.get(arn)
    const last = before ?? (earlier && !isSame(earlier.made, made) ? earlier.made : earlier?.before)
    const setAt = set ? now() : (earlier?.setAt ?? Number.NEGATIVE_INFINITY)
    const known = { key, roles, made, before: last, access: accessOf(arn, made, last), setAt }
    memory.set(arn, known)
    return known
  }

  /** Makes the user what it is to be. `tried`: the password is set again, unless it has changed since. */
  const make = async (wanted: DesiredUser, key: string, tried?: UserCredentials): Promise<UserCredentials> => {
    const failed = failures.get(wanted.arn)
    if (failed && failed.key === key && now() < failed.until) throw failed.fault
    const known = memory.get(wanted.arn)
    const again = (made: VerifiedMark): boolean => {
      if (!tried || (known && (known.access !== tried || !isSame(known.made, made)))) return false
      if (known && now() - known.setAt < SET_AGAIN_MS) {
        throw new Fault('upstream/authentication-failed', undefined, {
          user: wanted.arn,
          why: 'its password was set a moment ago; see provision.clientSource',
        })
      }
      return true
    }
    try {
      const kept = await keep(wanted, { replaceRoles: known?.key !== key, resetPassword: again })
      failures.delete(wanted.arn)
      return remember(wanted, key, kept).access
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (fault.kind.startsWith('provision/')) {
        failures.set(wanted.arn, { fault, key, until: now() + PAUSE_MS })
        complain(wanted.arn, fault)
      }
      throw fault
    }
  }

  const ready = (arn: string, key: string): UserCredentials | undefined => {
    const known = memory.get(arn)
    return known?.key === key && isCurrent(known.made) ? known.access : undefined
  }

  const leave = async (arn: string): Promise<void> => {
    await drop(arn)
    memory.delete(arn)
  }

  return {
    ensureUser: async wanted => {
      const { arn } = wanted
      const key = keyOf(wanted.roles)
      const made = async () => {
        const access = ready(arn, key)
        if (access) return access
        const known = memory.get(arn)
        return make(wanted, key).catch((thrown: unknown) => {
          // That a period is over locks nobody out while the administrator cannot set the next password.
          if (known?.key === key && STILL_GOOD.has(Fault.from(thrown).kind)) return known.access
          throw thrown
        })
      }
      return ready(arn, key) ?? inTurn(arn, `make ${key}`, made)
    },
    handleRefusal: async (wanted, tried) => {
      const key = keyOf(wanted.roles)
      const known = memory.get(wanted.arn)
      if (known && known.access !== tried && known.key === key) return known.access
      return inTurn(wanted.arn, `again ${key}`, () => make(wanted, key, tried))
    },
    syncRoles: async rolesOf => {
      for (const [arn, known] of [...memory.entries()]) {
        let roles: readonly Role[] | undefined
        try {
          roles = rolesOf(arn)
        } catch {
          continue // the directory has told that it is away
        }
        if (roles === known.roles) continue
        if (!roles) {
          await inTurn(arn, 'leave', () => leave(arn)).catch(thrown => complain(arn, Fault.from(thrown)))
          continue
        }
        const key = keyOf(roles)
        if (key === known.key) known.roles = roles
        // `make` has complained itself, unless the upstream is away, which is told elsewhere.
        else await inTurn(arn, `make ${key}`, () => make({ arn, roles }, key)).catch(() => {})
      }
    },
  }
}

/** Failures of the administrator's connection, which say nothing about the user. */
const STILL_GOOD: ReadonlySet<string> = new Set(['upstream/unreachable', 'provision/failed'])

const isSame = (one: VerifiedMark, other: VerifiedMark): boolean =>
  one.secret === other.secret && one.period === other.period
const keyOf = (roles: readonly Role[]): string => getRoleSetKey(toGrantedRoles('', roles))

/**
 * One piece of work at a time for each principal. Whoever wants what is being done shares it; whoever wants something
 * else waits for its end.
 */
function serially() {
  const underway = new Map<string, { what: string; work: Promise<unknown> }>()
  return <T>(arn: string, what: string, run: () => Promise<T>): Promise<T> => {
    const running = underway.get(arn)
    if (running?.what === what) return running.work as Promise<T>
    const work = running ? running.work.then(run, run) : run()
    const mine = { what, work }
    underway.set(arn, mine)
    const done = () => {
      if (underway.get(arn) === mine) underway.delete(arn)
    }
    work.then(done, done)
    return work
  }
}
