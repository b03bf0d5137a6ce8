/** What one process remembers of logins: limits by address, refusals of STS, and, if that is wanted, its successes. */
import { randomBytes } from 'node:crypto'
import type { MetricsRecorder } from '../admin/metrics.js'
import { createLoginLimits, type LoginLimits } from '../budget/loginLimits.js'
import type { Scheduler } from '../budget/scheduler.js'
import { now } from '../clock.js'
import type { Config } from '../config/load.js'
import { createCredentialFingerprinter, type FingerprintCredential } from '../identity/credentialFingerprint.js'
import { createIdentityCache, type IdentityCache } from '../identity/identityCache.js'
import { createRefusalCache, type RefusalCache } from '../identity/refusalCache.js'
import type { Log } from '../log.js'

export type LoginCaches = {
  holderOf: FingerprintCredential
  limit: LoginLimits['acquireSlot']
  refused: RefusalCache['get']
  note: RefusalCache['store']
  recall: IdentityCache['lookUp']
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
  onKnownCredential: Scheduler['promote'],
): LoginCaches {
  const { shadow } = login
  const { acquireSlot, clearFailures } = createLoginLimits({
    perAddress: login.perAddress,
    failures: login.failures,
    periodMS: login.failurePeriod,
    maxEntries: ENTRIES,
    now,
    shadow,
    onKnownCredential,
    onRejected(limit, fault) {
      record.count(shadow ? 'limit_shadow_total' : 'limit_refusals_total', 1, { limit })
      if (shadow) log('info', 'shadow limit exceeded', { limit, ...fault.facts })
    },
  })
  const bad = createRefusalCache({ maxEntries: ENTRIES, maxPerSource: PER_SOURCE, now })
  const successes = createIdentityCache({ ttlMS: sts.successCache, maxEntries: ENTRIES, now })
  return {
    holderOf: createCredentialFingerprinter(randomBytes(32)),
    limit: acquireSlot,
    refused(host, holder) {
      const refused = bad.get(host, holder)
      if (refused) record.count('cache_hits_total', 1, { cache: 'refusals' })
      return refused
    },
    note: bad.store,
    recall(bearer) {
      const recalled = successes.lookUp(bearer)
      if (recalled.identity) record.count('cache_hits_total', 1, { cache: 'identities' })
      return recalled
    },
    forget() {
      clearFailures()
      successes.clear()
    },
  }
}
