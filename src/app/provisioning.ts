/** What a configuration says about the users that the proxy keeps, as the provisioner takes it. */
import type { Config } from '../config/load.js'
import type { Log } from '../log.js'
import type { ProvisioningOptions } from '../provisioning/upkeep.js'
import type { AdminClient } from '../upstream/admin.js'

/** Undefined where no master secret was given, so that no user is kept. */
export function provisioningOf(
  { provision }: Config,
  run: AdminClient['runCommand'],
  log: Log,
): ProvisioningOptions | undefined {
  const { secrets, database, fleet, period, clientSource } = provision
  if (secrets.length === 0) return undefined
  return { run, secrets, database, fleet, periodMS: period, clientSource, now: Date.now, log }
}
