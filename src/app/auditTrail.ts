/** Builds the audit trail of a process, and reports to log and metrics whether it can be written. */
import { hostname } from 'node:os'
import type { MetricsRecorder } from '../admin/metrics.js'
import type { AuditDestination } from '../audit/destination.js'
import { type AuditEventType, PROXY_ACTOR } from '../audit/events.js'
import { AuditTrail } from '../audit/trail.js'
import { AuditWriter } from '../audit/writer.js'
import { after } from '../clock.js'
import type { Config } from '../config/load.js'
import { Fault, toLogFields } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { createSessionNameHash, readSessionName } from '../identity/sessionNames.js'
import type { Log } from '../log.js'
import { randomBytes } from '../random.js'
import type { Marker } from '../upstream/metadata.js'

const BOOT_BYTES = 6

export type RunningAudit = {
  trail: AuditTrail
  /** Opens the file again, as log rotation needs it. */
  reopen(): void
  /** Sets the gauges, before a scrape. */
  updateMetrics(): void
  /** Names a client connection as the events do. */
  createMarker(connectionId: number, identity: Identity): Marker
}

/** Starts with the event `audit.opened`. */
export function startAuditTrail(
  config: Pick<Config, 'instance' | 'audit'>,
  destination: AuditDestination,
  metrics: MetricsRecorder,
  log: Log,
): RunningAudit {
  const writer = new AuditWriter({
    destination,
    after,
    defer: setImmediate,
    onFailureChange: why => {
      if (why === undefined) log('info', 'audit trail restored')
      else log('error', 'audit trail failing', { why })
    },
    onLost: () => metrics.count('audit_lost_events_total', 1),
  })
  const trail = createTrail(config, writer, type => metrics.count('audit_events_total', 1, { type }))
  const { hashKey } = config.audit
  const hide = hashKey && createSessionNameHash(hashKey)
  const recordOpened = (): void => trail.record('audit.opened', { actor: PROXY_ACTOR, destination: destination.name })
  recordOpened()
  return {
    trail,
    createMarker: (connectionId, identity) => ({
      connection: trail.nameConnection(connectionId),
      session: readSessionName(identity, hide),
    }),
    updateMetrics() {
      metrics.set('audit_up', writer.isFailing ? 0 : 1)
      metrics.set('audit_waiting_bytes', writer.waitingBytes)
    },
    reopen() {
      try {
        destination.reopen()
        recordOpened()
      } catch (thrown) {
        log('error', 'audit trail not reopened', toLogFields(Fault.from(thrown)))
      }
    },
  }
}

/** The trail of one run, with an id of its own. */
export function createTrail(
  { instance, audit }: Pick<Config, 'instance' | 'audit'>,
  writer: AuditWriter,
  onRecorded?: (type: AuditEventType) => void,
): AuditTrail {
  return new AuditTrail({
    instance: instance ?? hostname(),
    boot: randomBytes(BOOT_BYTES).toString('hex'),
    wallClock: Date.now,
    hide: audit.hashKey && createSessionNameHash(audit.hashKey),
    writer,
    ...(onRecorded && { onRecorded }),
  })
}
