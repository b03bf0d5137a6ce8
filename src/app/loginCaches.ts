/** What one process remembers of logins: limits per subnet, refusals of STS, and (if enabled) successful logins. */
import { randomBytes } from 'node:crypto'
import type { MetricsRecorder } from '../admin/metrics.js'
import { type ContestedLogins, createContestedLogins } from '../budget/contestedLogins.js'
import { createLoginLimits, type LimitName, type LoginLimits } from '../budget/loginLimits.js'
import { createPrincipalRefusals, type PrincipalRefusals } from '../client/principalRefusals.js'
import type { SessionSlots } from '../client/sessionSlots.js'
import { after, now } from '../clock.js'
import type { Config } from '../config/load.js'
import { toLogFields } from '../errors.js'
import { createCredentialFingerprinter, type FingerprintCredential } from '../identity/credentialFingerprint.js'
import { createIdentityCache, type IdentityCache } from '../identity/identityCache.js'
import { createRefusalCache, type RefusalCache } from '../identity/refusalCache.js'
import type { Log } from '../log.js'

export type LoginCachesOptions = {
  config: Pick<Config, 'login'> & { readonly sts: Pick<Config['sts'], 'successCache'> }
  sessionSlots: Pick<SessionSlots, 'assertFreeFor'>
  metrics: MetricsRecorder
  log: Log
  /** Called when a credential becomes known in a subnet by a successful login. */
  onKnownCredential(subnet: string, fingerprint: string): void
}

export type LoginCaches = {
  fingerprint: FingerprintCredential
  /** Throws `login/*` if the subnet or the credential has reached a limit. */
  reserveSlot: LoginLimits['acquireSlot']
  /** Throws `login/signature-limit` for a login of a contested credential that is not served. */
  acquireContested: ContestedLogins['acquire']
  findRefusal: RefusalCache['get']
  recordOutcome: RefusalCache['store']
  findIdentity: IdentityCache['lookUp']
  principalRefusals: PrincipalRefusals
  /** Forgets the failures and successes that depended on the rules, the directory or the deny list. */
  invalidate(): void
}

/** Bounds that no real deployment reaches: entries per cache, and refusals per subnet. */
const MAX_ENTRIES = 20_000
const MAX_REFUSALS_PER_SUBNET = 1_000

export function createLoginCaches(options: LoginCachesOptions): LoginCaches {
  const { config, sessionSlots, metrics, log, onKnownCredential } = options
  const { login, sts } = config
  const countRejection = (limit: LimitName): void =>
    metrics.count(login.shadow ? 'limit_shadow_total' : 'limit_refusals_total', 1, { limit })
  const limits = createLoginLimits({
    perAddress: login.perAddress,
    failures: login.failures,
    periodMS: login.failurePeriod,
    maxEntries: MAX_ENTRIES,
    now,
    shadow: login.shadow,
    onKnownCredential,
    onRejected(limit, fault) {
      countRejection(limit)
      if (login.shadow) log('info', 'shadow limit exceeded', { ...toLogFields(fault), limit })
    },
  })
  const contested = createContestedLogins({
    random: Math.random,
    now,
    after,
    onRejected: () => countRejection('signatures'),
  })
  const refusals = createRefusalCache({ maxEntries: MAX_ENTRIES, maxPerSource: MAX_REFUSALS_PER_SUBNET, now })
  const identities = createIdentityCache({ ttlMS: sts.successCache, maxEntries: MAX_ENTRIES, now })
  const principalRefusals = createPrincipalRefusals({ slots: sessionSlots, maxEntries: MAX_ENTRIES, now })
  return {
    fingerprint: createCredentialFingerprinter(randomBytes(32)),
    reserveSlot: limits.acquireSlot,
    acquireContested: contested.acquire,
    findRefusal(host, fingerprint) {
      const refusal = refusals.get(host, fingerprint)
      if (refusal) metrics.count('cache_hits_total', 1, { cache: 'refusals' })
      return refusal
    },
    recordOutcome: refusals.store,
    findIdentity(credential) {
      const found = identities.lookUp(credential)
      if (found.identity) metrics.count('cache_hits_total', 1, { cache: 'identities' })
      return found
    },
    principalRefusals,
    invalidate() {
      principalRefusals.clear()
      limits.clearFailures()
      identities.clear()
    },
  }
}
