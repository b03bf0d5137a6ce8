/** What the status page shows, at one moment. Types alone. */
import type { AdminPrincipal } from '../admin/principals.js'
import type { AdminRefusal } from '../admin/refusals.js'
import type { AdminStatus } from '../admin/status.js'

/** Times are milliseconds since 1970. */
export type StatusSnapshot = {
  time: number
  status: AdminStatus & { instance: string }
  /** The worst first. */
  problems: readonly Problem[]
  config: { hash: string; appliedAt: number; rejectedAt?: number; isRejected: boolean }
  primary: { primary?: string; since: number; elections: number; changes: readonly PrimaryChange[] }
  certificates: readonly { file: string; role: string; setting: string; expiresAt: number; daysLeft: number }[]
  budgets: {
    buckets: readonly {
      bucket: string
      tokens: number | null
      perSecond: number | null
      throttles: number | null
      waiting: number
    }[]
    hosts: readonly { host: string; health: number }[]
  }
  /** The 20 with the most sessions. */
  principals: readonly AdminPrincipal[]
  /** At most 50. */
  rules: readonly { rule: string; logins: number }[]
  /** The newest 20. */
  refusals: readonly (AdminRefusal & { advice: Advice })[]
  series: StatusSeries
}

/** `withoutMS`: how long there was no primary. */
export type PrimaryChange = { at: number; primary?: string; withoutMS?: number }

/** One sentence about what is wrong. `runbook`: the address of what to do about it. */
export type Problem = { level: 'error' | 'warning'; text: string; runbook: string }

/** What to do about a refusal. `copy`: text for the clipboard, such as the YAML of a rule. */
export type Advice = { text: string; copy?: string }

export type Column = (number | null)[]

/**
 * Samples of the last 15 minutes, one each 5 s. All columns have the same length; values before the start are null.
 * `times` are seconds since 1970, rates are per second, latencies are milliseconds.
 */
export type StatusSeries = {
  times: number[]
  logins: Record<string, Column>
  latency: Record<'queue' | 'sts' | 'upstream', { median: Column; p99: Column }>
  stsCalls: Record<'identity' | 'refused' | 'throttled' | 'unavailable', Column>
  /** By bucket. */
  waiting: Record<string, Column>
  tokens: Record<string, Column>
  sessions: Column
}
