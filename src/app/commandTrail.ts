/** The audit trail of one command of the operator. */
import { createMetricsRecorder } from '../admin/metrics.js'
import { openAuditDestination } from '../audit/destination.js'
import type { AuditTrail } from '../audit/trail.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import { silentLog } from '../log.js'
import { startAuditTrail } from './auditTrail.js'

const WITHOUT_CONFIG: Pick<Config, 'instance' | 'audit'> = {
  instance: undefined,
  audit: { to: 'stderr', onFailure: 'serve', sessionName: 'full', hashKey: undefined },
}

/**
 * Opens the trail at `audit.to`, and at stderr without a configuration. Stdout belongs to the output of the command, so
 * stderr takes its place. Throws `config/invalid` if the file cannot be opened, or if nothing can be written and
 * `audit.onFailure` is refuse.
 */
export async function openCommandTrail(
  config: Pick<Config, 'instance' | 'audit'> = WITHOUT_CONFIG,
): Promise<AuditTrail> {
  const { to, onFailure } = config.audit
  const destination = openAuditDestination(to === 'stdout' ? 'stderr' : to)
  const { trail } = startAuditTrail(config, destination, createMetricsRecorder({}), silentLog)
  if ((await trail.whenWritten()) || onFailure === 'serve') return trail
  await trail.close()
  const problem = 'audit.to: cannot be written, and audit.onFailure is refuse'
  throw new Fault('config/invalid', problem, { problems: [problem] })
}
