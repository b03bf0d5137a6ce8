/** STS as the proxy asks it: within the budget, counted, and again where that may help. */
import type { GaugeCollectors, MetricsRecorder } from '../admin/metrics.js'
import { createTokenBuckets } from '../budget/buckets.js'
import { createHostSelector, type HostSelector } from '../budget/hostHealth.js'
import { createScheduler, type Scheduler } from '../budget/scheduler.js'
import { bucketKey } from '../client/login.js'
import { after, now, sleep } from '../clock.js'
import type { Config } from '../config/load.js'
import { createClockSync } from '../identity/clockSync.js'
import type { CallSts, StsOutcome } from '../identity/outcome.js'
import type { Proof } from '../identity/proof.js'
import { type RetryOptions, withRetry } from '../identity/retry.js'
import { createStsClient, type StsClient } from '../identity/sts.js'
import type { Log } from '../log.js'
import { PROXY_NAME, VERSION } from '../upstream/metadata.js'

export type StsGateway = Pick<StsClient, 'probe' | 'clockSkewMS' | 'close'> &
  Pick<Scheduler, 'acquire' | 'promote'> & {
    /** Asks a host what time it is. Throws `sts/unavailable`. */
    askTime: ReturnType<typeof createClockSync>
    /** Asks who signed, each attempt in its turn. */
    ask: ReturnType<typeof withRetry>
    /** The host to offer a client of this address. */
    selectHost: HostSelector['selectHost']
    /** What asking a host came to, for a client of this address. */
    recordOutcome: HostSelector['recordOutcome']
    measures: GaugeCollectors
    /** From now on. */
    adopt(budget: Pick<Config['sts'], 'quota' | 'share'>): void
  }

/** Accounts that are remembered at most: a bound that no honest fleet reaches. */
const REMEMBERED = 10_000
/** Buckets that are shown at most. */
const SHOWN = 100
/** Calls at a time, for each host. */
const CALLS = 256
/** How long a login waits for its turn; one attempt; and all of them together with their pauses. Milliseconds (R14). */
const QUEUE_MS = 4_000
const ATTEMPT_MS = 1_500
export const STS_MS = 3_000
/** How much our clock may go away from that of STS before it is told. Milliseconds. */
const DRIFT_MS = 60_000

/** STS as the settings have it, asked once a question. `timeoutMS`: for one answer. */
export function createConfiguredStsClient(
  { hosts, insecure }: Pick<Config['sts'], 'hosts' | 'insecure'>,
  timeoutMS: number,
): StsClient {
  const userAgent = `${PROXY_NAME}/${VERSION}`
  return createStsClient({ hosts: hosts.map(host => ({ ...host, insecure })), timeoutMS, userAgent, now: Date.now })
}

/** No answer of use, and none that says more than that. */
const isSilent = (outcome: StsOutcome) => outcome.is === 'unavailable' && outcome.next === 'retry'

export function createStsGateway(
  { hosts, insecure, ...first }: Config['sts'],
  record: MetricsRecorder,
  log: Log,
): StsGateway {
  const sts = createConfiguredStsClient({ hosts, insecure }, ATTEMPT_MS)
  // The other half of what is left: calls may arrive closer together than they were made, and AWS counts the arrivals.
  const rateOf = ({ quota, share }: Pick<Config['sts'], 'quota' | 'share'>) => ({
    perSecond: quota * share,
    burst: (quota * (1 - share)) / 2,
  })
  const budget = createTokenBuckets({ ...rateOf(first), maxKeys: REMEMBERED, now })
  const line = createScheduler({ acquireTokens: budget.acquireTokens, maxCalls: CALLS, now, after })
  const { selectHost, recordOutcome, health } = createHostSelector({
    hosts: hosts.map(({ host }) => host),
    countPending: line.countPending,
    random: Math.random,
    now,
    maxSubnets: REMEMBERED,
    onHealthChange: (host, up) =>
      log(up ? 'info' : 'warn', up ? 'sts host restored' : 'sts host ejected', { sts: host }),
  })
  /** Throttles of the buckets whose accounts proved themselves: only these have names in metrics, as keys are made up. */
  const shown = new Map<string, number>()
  let drift = 0 // as it was told last
  const compare = (): void => {
    const skew = sts.clockSkewMS()
    record.set('clock_skew_seconds', skew / 1000)
    if (Math.abs(skew - drift) < DRIFT_MS) return
    drift = skew
    log('warn', 'clock skew detected', { behindStsSeconds: Math.round(skew / 1000), corrected: true })
  }
  const probe = async (host: string, signal: AbortSignal): Promise<string | undefined> => {
    const why = await sts.probe(host, signal)
    compare()
    return why
  }
  const once: CallSts = async (proof, ms, signal) => {
    const outcome = await sts.getCallerIdentity(proof, ms, signal)
    const bucket = bucketKey(proof)
    if (outcome.is === 'identity' && !shown.has(bucket) && shown.size < SHOWN) shown.set(bucket, 0)
    if (outcome.is === 'throttled') {
      budget.recordThrottle(bucket)
      if (shown.has(bucket)) shown.set(bucket, (shown.get(bucket) ?? 0) + 1)
    }
    record.count('sts_calls_total', 1, { outcome: outcome.is })
    compare()
    return outcome
  }
  const ofBuckets = (measure: (bucket: string) => number) =>
    Object.fromEntries([...shown.keys()].map(bucket => [bucket, measure(bucket)]))
  const patience: RetryOptions = {
    attemptMS: ATTEMPT_MS,
    deadlineMS: STS_MS,
    queueMS: QUEUE_MS,
    now,
    random: Math.random,
    sleep,
    // Counted at once, so that a host that is down is left alone before its first logins have given up.
    shouldRetry({ challenge: { host } }: Proof, outcome: StsOutcome) {
      if (!isSilent(outcome)) return true
      recordOutcome(host, outcome, '')
      const all = health()
      return all[host] !== 0 || Object.values(all).every(each => each === 0)
    },
  }
  return {
    clockSkewMS: sts.clockSkewMS,
    close: sts.close,
    probe,
    askTime: createClockSync({ probe: host => probe(host, AbortSignal.timeout(ATTEMPT_MS)).catch(String), now }),
    acquire: line.acquire,
    promote: line.promote,
    selectHost,
    recordOutcome(host, outcome, address) {
      if (!isSilent(outcome)) recordOutcome(host, outcome, address)
    },
    measures: {
      sts_host_health: health,
      sts_bucket_tokens: () => ofBuckets(bucket => budget.level(bucket).tokens),
      sts_bucket_rate: () => ofBuckets(bucket => budget.level(bucket).perSecond),
      sts_bucket_throttles: () => Object.fromEntries(shown),
      sts_bucket_waiting() {
        const all: Record<string, number> = { ...ofBuckets(() => 0), other: 0 }
        for (const [bucket, count] of line.waitingByBucket()) {
          const name = shown.has(bucket) ? bucket : 'other'
          all[name] = (all[name] ?? 0) + count
        }
        return all
      },
    },
    ask: withRetry(once, patience),
    adopt: change => budget.setRate(rateOf(change)),
  }
}
