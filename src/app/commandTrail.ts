/** The audit trail of one command of the operator. */
import { type AuditDestination, openAuditDestination } from '../audit/destination.js'
import { PROXY_ACTOR } from '../audit/events.js'
import type { AuditTrail } from '../audit/trail.js'
import { AuditWriter } from '../audit/writer.js'
import { after } from '../clock.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import { createTrail } from './auditTrail.js'

const WITHOUT_CONFIG: Pick<Config, 'instance' | 'audit'> = {
  instance: undefined,
  audit: { to: 'stderr', onFailure: 'serve', sessionName: 'full', hashKey: undefined },
}

export type CommandTrailOptions = {
  open?: ((to: string) => AuditDestination) | undefined
  /** Called with the reason when the destination begins to fail. */
  onFailure?: (why: string) => void
}

/**
 * Creates the trail at `audit.to`, without an event. Stdout belongs to the output of the command, so stderr takes its place.
 * Throws `config/invalid` if the file cannot be opened.
 */
export function createCommandTrail(
  config: Pick<Config, 'instance' | 'audit'>,
  { open = openAuditDestination, onFailure }: CommandTrailOptions = {},
): { trail: AuditTrail; destination: AuditDestination } {
  const { to } = config.audit
  const destination = open(to === 'stdout' ? 'stderr' : to)
  const writer = new AuditWriter({
    destination,
    after,
    defer: setImmediate,
    onFailureChange: why => {
      if (why !== undefined) onFailure?.(why)
    },
    onLost() {},
  })
  return { trail: createTrail(config, writer), destination }
}

/**
 * Opens the trail at `audit.to`, and at stderr without a configuration, with the event `audit.opened`. Throws `config/invalid` if
 * the file cannot be opened, or if nothing can be written and `audit.onFailure` is refuse.
 */
export async function openCommandTrail(
  config: Pick<Config, 'instance' | 'audit'> = WITHOUT_CONFIG,
): Promise<AuditTrail> {
  const { trail, destination } = createCommandTrail(config)
  trail.record('audit.opened', { actor: PROXY_ACTOR, destination: destination.name })
  if ((await trail.whenWritten()) || config.audit.onFailure === 'serve') return trail
  await trail.close()
  const problem = 'audit.to: cannot be written, and audit.onFailure is refuse'
  throw new Fault('config/invalid', problem, { problems: [problem] })
}
