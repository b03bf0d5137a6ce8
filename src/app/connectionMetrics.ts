/** What connections report, as metrics. */
import type { MetricsRecorder } from '../admin/metrics.js'
import type { ConnectionMetrics } from '../client/connection.js'

export function createConnectionMetrics(record: MetricsRecorder): ConnectionMetrics {
  return {
    recordFault(kind) {
      record.count('faults_total', 1, { kind })
      if (kind === 'listener/connection-limit') record.count('shed_total', 1)
    },
    recordLogin(outcome, { ms }) {
      record.count('logins_total', 1, { outcome })
      if (ms.login !== undefined) record.observe('login_seconds', ms.login / 1000)
      for (const stage of ['queue', 'sts', 'upstream'] as const) {
        if (ms[stage] !== undefined) record.observe('login_stage_seconds', ms[stage] / 1000, { stage })
      }
    },
    recordRefusedCommand: () => record.count('refused_commands_total', 1),
    recordRelayedBytes({ toUpstream, toClient }) {
      record.count('relay_bytes_total', toUpstream, { direction: 'toUpstream' })
      record.count('relay_bytes_total', toClient, { direction: 'toClient' })
    },
  }
}
