/** `users prune`: removes the database users and roles of this fleet that no rule and no directory user needs. */
import { CommandAudit } from '../app/commandAudit.js'
import { type LoadedConfig, provisioningOptions } from '../app/policy.js'
import { after, now } from '../clock.js'
import type { Config } from '../config/load.js'
import { describeFault, Fault } from '../errors.js'
import { silentLog } from '../log.js'
import type { RoleLookup } from '../provisioning/provisioner.js'
import { prune } from '../provisioning/prune.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import { Directory } from '../users/directory.js'
import { getRolesToProvision } from '../users/match.js'
import type { Rules } from '../users/rules.js'
import type { Finding } from './findings.js'

/** `user`: the user of the operating system, for the audit trail. */
export type PruneCommand = { all: boolean; user: string }

/**
 * With `all`, every user and role of the fleet is removed. Returns what was removed, or the failure that ended it. Throws
 * `config/invalid` without `upstream.admin` or `provision.secretFile`.
 */
export async function pruneUsers({ config, policy }: LoadedConfig, { all, user }: PruneCommand): Promise<Finding[]> {
  if (!config.upstream.admin) throw required('upstream.admin: required to list the users')
  const admin = createAdminClient(config.upstream.admin)
  const audit = new CommandAudit({ config, command: all ? 'users prune --all' : 'users prune', user })
  const provisioning = provisioningOptions(config, admin.runCommand, silentLog, audit.record)
  if (!provisioning) throw required('provision.secretFile: required to tell which users this proxy created')
  const directory = config.directory.enabled && !all ? createDirectory(config, admin) : undefined
  const report = (level: Finding['level'], text: string): Finding => ({ level, question: 'prune', text })
  const findings: Finding[] = []
  try {
    await audit.begin()
    await directory?.start()
    const removed = await prune(provisioning, all ? () => undefined : lookUpRoles(policy.rules, directory))
    const { database } = provisioning
    const lines = [
      ...removed.users.map(user => `removed the user ${user}@${database}`),
      ...removed.roles.map(({ role, db }) => `removed the role ${role}@${db}`),
      ...removed.rekeyed.map(user => `set a password of the first master secret for ${user}@${database}`),
    ]
    findings.push(...(lines.length > 0 ? lines : ['there was nothing to remove']).map(text => report('ok', text)))
  } catch (thrown) {
    const fault = Fault.from(thrown)
    audit.recordFailure(fault)
    findings.push(report('failure', describeFault(fault)))
  } finally {
    directory?.close()
    await Promise.all([admin.close(), audit.close()])
  }
  const { problem } = audit
  return problem === undefined
    ? findings
    : [...findings, report('warning', `the audit trail is incomplete: ${problem}`)]
}

/** A rule for another scope keeps its users: the listener of that scope belongs to the same fleet. */
function lookUpRoles({ match, outOfScope, matchesRule }: Rules, directory: Directory | undefined): RoleLookup {
  return canonical => {
    const rule = match({ canonical }) ?? outOfScope.find(other => matchesRule(other, canonical))
    return getRolesToProvision(rule ?? directory?.matchLastRead({ canonical }), Date.now())
  }
}

function createDirectory({ directory: { refresh } }: Config, admin: AdminClient): Directory {
  const runCommand: AdminClient['runCommand'] = command => admin.runCommand(command)
  return new Directory({ runCommand, refreshMS: refresh, after, now, log: silentLog })
}

function required(problem: string): Fault {
  return new Fault('config/invalid', problem, { problems: [problem] })
}
