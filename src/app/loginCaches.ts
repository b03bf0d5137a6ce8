/** What one process remembers of logins: limits by address, refusals of STS, and, if that is wanted, its successes. */
import { randomBytes } from 'node:crypto'
import type { MetricsRecorder } from '../admin/metrics.js'
import { type Limits, limits } from '../budget/loginLimits.js'
import type { Turns } from '../budget/scheduler.js'
import { now } from '../clock.js'
import type { Config } from '../config/load.js'
import { type Label, labels } from '../identity/credentialFingerprint.js'
import { type Remembered, remembered } from '../identity/identityCache.js'
import { type Refusals, refusals } from '../identity/refusalCache.js'
import type { Log } from '../log.js'

export type LoginCaches = {
  holderOf: Label
  limit: Limits['enter']
  refused: Refusals['get']
  note: Refusals['note']
  recall: Remembered['recall']
  /** Rules, directory or deny list have changed: what was refused or let in because of them is decided anew. */
  forget(): void
}

/** Of each memory, and of refusals for one address: bounds that no honest fleet reaches. */
const ENTRIES = 20_000
const PER_SOURCE = 1_000

export function createLoginCaches(
  { login, sts }: Pick<Config, 'login' | 'sts'>,
  record: MetricsRecorder,
  log: Log,
  known: Turns['raise'],
): LoginCaches {
  const { shadow } = login
  const { enter, forgive } = limits({
    perAddress: login.perAddress,
    failures: login.failures,
    periodMS: login.failurePeriod,
    entries: ENTRIES,
    now,
    shadow,
    known,
    refused(limit, fault) {
      record.count(shadow ? 'limit_shadow_total' : 'limit_refusals_total', 1, { limit })
      if (shadow) log('info', 'shadow limit exceeded', { limit, ...fault.facts })
    },
  })
  const bad = refusals({ entries: ENTRIES, perSource: PER_SOURCE, now })
  const successes = remembered({ ms: sts.successCache, entries: ENTRIES, now })
  return {
    holderOf: labels(randomBytes(32)),
    limit: enter,
    refused(host, holder) {
      const refused = bad.get(host, holder)
      if (refused) record.count('cache_hits_total', 1, { cache: 'refusals' })
      return refused
    },
    note: bad.note,
    recall(bearer) {
      const recalled = successes.recall(bearer)
      if (recalled.identity) record.count('cache_hits_total', 1, { cache: 'identities' })
      return recalled
    },
    forget() {
      forgive()
      successes.flush()
    },
  }
}
