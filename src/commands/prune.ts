/** `users prune`: what this fleet made in the upstream and nobody wants any more is removed. */

import { type LoadedConfig, provisioningOptions } from '../app/policy.js'
import { after, now } from '../clock.js'
import type { Config } from '../config/load.js'
import { describeFault, Fault } from '../errors.js'
import { silentLog } from '../log.js'
import type { RoleLookup } from '../provisioning/provisioner.js'
import { prune } from '../provisioning/prune.js'
import { type AdminClient, createAdminClient as administrator } from '../upstream/admin.js'
import { Directory } from '../users/directory.js'
import { getRolesToProvision } from '../users/match.js'
import type { Rules } from '../users/rules.js'
import type { Finding } from './check.js'

/**
 * Removes users and roles of this fleet: those that no rule and no entry of the directory gives any more, or `all` of
 * them. Gives what was done, and the one thing that failed. Throws `config/invalid`.
 */
export async function pruneUsers(
  { config, policy: { rules } }: LoadedConfig,
  { all }: { all: boolean },
): Promise<Finding[]> {
  if (!config.upstream.admin) throw missing('upstream.admin: needed to look for users')
  const admin = administrator(config.upstream.admin)
  const parts = provisioningOptions(config, admin.runCommand, silentLog)
  if (!parts) throw missing('provision.secretFile: needed to tell which users were made by this proxy')
  const external = config.directory.enabled && !all ? directoryOf(config, admin) : undefined
  try {
    await external?.start()
    const { users, roles, resigned } = await prune(parts, all ? () => undefined : rolesBy(rules, external))
    const lines = [
      ...users.map(user => `removed the user ${user}@${parts.database}`),
      ...roles.map(({ role, db }) => `removed the role ${role}@${db}`),
      ...resigned.map(user => `signed with the first master secret: ${user}@${parts.database}`),
    ]
    if (lines.length === 0) lines.push('there was nothing to remove')
    return lines.map(text => ({ isOk: true, text }))
  } catch (thrown) {
    return [{ isOk: false, text: describeFault(Fault.from(thrown)) }]
  } finally {
    external?.close()
    await admin.close()
  }
}

/** Rules first, then the directory. A rule for another scope wants its users, too: its listener is of the same fleet. */
function rolesBy({ match, outOfScope, matchesRule }: Rules, external: Directory | undefined): RoleLookup {
  return canonical => {
    const rule = match({ canonical }) ?? outOfScope.find(other => matchesRule(other, canonical))
    return getRolesToProvision(rule ?? external?.matchLastRead({ canonical }), Date.now())
  }
}

function directoryOf({ directory: { refresh } }: Config, { runCommand: run }: AdminClient): Directory {
  return new Directory({ runCommand: command => run(command), refreshMS: refresh, after, now, log: silentLog })
}

function missing(problem: string): Fault {
  return new Fault('config/invalid', problem, { problems: [problem] })
}
