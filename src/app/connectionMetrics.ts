/** Counts what client connections report. */
import type { MetricsRecorder } from '../admin/metrics.js'
import type { ConnectionMetrics } from '../client/connection.js'
import type { RuleLogins } from './ruleLogins.js'

export function createConnectionMetrics(metrics: MetricsRecorder, ruleLogins: RuleLogins): ConnectionMetrics {
  return {
    recordFault(kind) {
      metrics.count('faults_total', 1, { kind })
      if (kind === 'listener/connection-limit') metrics.count('shed_total', 1)
    },
    recordLogin(outcome, { ms, by }) {
      if (outcome === 'success' && by) ruleLogins.record(by)
      metrics.count('logins_total', 1, { outcome })
      if (ms.login !== undefined) metrics.observe('login_seconds', ms.login / 1000)
      for (const stage of ['queue', 'sts', 'upstream'] as const) {
        if (ms[stage] !== undefined) metrics.observe('login_stage_seconds', ms[stage] / 1000, { stage })
      }
    },
    recordRefusedCommand: () => metrics.count('refused_commands_total', 1),
    recordRelayedBytes({ toUpstream, toClient }) {
      metrics.count('relay_bytes_total', toUpstream, { direction: 'toUpstream' })
      metrics.count('relay_bytes_total', toClient, { direction: 'toClient' })
    },
  }
}
