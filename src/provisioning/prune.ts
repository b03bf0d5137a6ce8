/** Removes the users and roles that this fleet created and no rule or directory user needs any more. */
import { Fault } from '../errors.js'
import type { RoleName } from '../users/collectionRole.js'
import type { RoleLookup } from './provisioner.js'
import { getRoleSetKey, type ProvisioningOptions, UserReconciler } from './reconciler.js'

/**
 * The removed users and roles. `rekeyed`: remaining users whose password came from an older master secret and now comes
 * from the first one. Once all are rekeyed, the older secret can be removed.
 */
export type PruneResult = { users: string[]; roles: RoleName[]; rekeyed: string[] }

/**
 * Ignores users and roles that another fleet or a person created. Throws `provision/*`, `upstream/unreachable`, and what
 * `getRoles` throws.
 */
export async function prune(options: ProvisioningOptions, getRoles: RoleLookup): Promise<PruneResult> {
  const reconciler = new UserReconciler(options)
  const { users } = reconciler
  const result: PruneResult = { users: [], roles: [], rekeyed: [] }
  const neededRoles = new Set<string>()
  for (const storedUser of await users.readAll()) {
    const { user } = storedUser
    const mark = reconciler.verifyMark(storedUser)
    const roles = mark && lookUp(getRoles, user)
    if (mark && !roles) {
      if (await reconciler.drop(user, 'no rule and no directory user needs it')) result.users.push(user)
      continue
    }
    for (const role of [...storedUser.roles, ...reconciler.toGrantedRoles(roles ?? [])]) {
      neededRoles.add(getRoleSetKey([role]))
    }
    const isOutdated = mark && mark.secret !== reconciler.primarySecret
    if (isOutdated && (await reconciler.replaceSecret(storedUser, mark))) result.rekeyed.push(user)
  }
  for (const role of await users.readRoles().catch(emptyIfUnauthorized)) {
    if (!neededRoles.has(getRoleSetKey([role])) && (await reconciler.dropRole(role))) result.roles.push(role)
  }
  return result
}

/** A principal with several $external users still exists, so its provisioned user stays as it is. */
function lookUp(getRoles: RoleLookup, user: string): ReturnType<RoleLookup> {
  try {
    return getRoles(user)
  } catch (thrown) {
    if (Fault.from(thrown).kind === 'users/ambiguous') return []
    throw thrown
  }
}

const UNAUTHORIZED = 13

/** An administrator that may not read roles has never created one. */
function emptyIfUnauthorized(thrown: unknown): RoleName[] {
  const fault = Fault.from(thrown)
  if (fault.data('provision/failed')?.code === UNAUTHORIZED) return []
  throw fault
}
