/** Users and roles that this fleet made and nobody wants any more, found and removed. */
import { Fault } from '../errors.js'
import type { RoleName } from '../users/collectionRole.js'
import type { RoleLookup } from './provisioner.js'
import { createUserReconciler, getRoleSetKey, type ProvisioningOptions } from './reconciler.js'

/** `signed`: users that stay and had been signed by an older master secret, which may go now. */
export type PruneResult = { users: string[]; roles: RoleName[]; resigned: string[] }

/**
 * Removes them, and signs with the first master secret what an older one had signed. What another fleet or a person made
 * is not looked at. Throws `provision/*`, `upstream/unreachable`, and what `rolesOf` throws.
 */
export async function prune(parts: ProvisioningOptions, rolesOf: RoleLookup): Promise<PruneResult> {
  const { accounts, madeBy, drop, sign, first, granted } = createUserReconciler(parts)
  const pruned: PruneResult = { users: [], roles: [], resigned: [] }
  const needed = new Set<string>()
  for (const account of await accounts.readAll()) {
    const { user } = account
    const made = madeBy(account)
    const wanted = made && decided(rolesOf, user)
    if (made && !wanted) {
      if (await drop(user)) pruned.users.push(user)
      continue
    }
    for (const role of [...account.roles, ...granted(wanted ?? [])]) needed.add(getRoleSetKey([role]))
    if (made && made.secret !== first() && (await sign(user, made))) pruned.resigned.push(user)
  }
  for (const role of await accounts.readRoles().catch(noneWherePowerless)) {
    if (!needed.has(getRoleSetKey([role])) && (await accounts.dropRole(role))) pruned.roles.push(role)
  }
  return pruned
}

/** A principal with two entries that contradict each other is somebody's, so nothing of its user changes. */
function decided(rolesOf: RoleLookup, user: string): ReturnType<RoleLookup> {
  try {
    return rolesOf(user)
  } catch (thrown) {
    if (Fault.from(thrown).kind === 'users/ambiguous') return []
    throw thrown
  }
}

const UNAUTHORIZED = 13

/** An administrator that may not look at roles has never made one. */
function noneWherePowerless(thrown: unknown): RoleName[] {
  const fault = Fault.from(thrown)
  if (fault.data('provision/failed')?.code === UNAUTHORIZED) return []
  throw fault
}
