/**
 * Calls STS within the budget of each account, with retries, metrics and host selection.
 *
 *     login ─▶ permit of the scheduler ─▶ StsClient ─▶ outcome ─┬─▶ token buckets   (a throttle lowers the rate)
 *                     ▲                                         ├─▶ host selector   (health of the host)
 *                     └──────── retry, one permit each ◀────────┴─▶ metrics, clock skew
 */
import { LRUCache } from 'lru-cache'
import type { GaugeCollectors, MetricsRecorder } from '../admin/metrics.js'
import { createTokenBuckets, type Rate, type TokenBuckets } from '../budget/buckets.js'
import { createDurationWindow, type DurationWindow } from '../budget/durationWindow.js'
import { createHostSelector, type HostSelector } from '../budget/hostHealth.js'
import { createScheduler, type Scheduler } from '../budget/scheduler.js'
import { bucketKey } from '../client/login.js'
import { after, now, sleep } from '../clock.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import { createClockSync } from '../identity/clockSync.js'
import {
  inactiveKeyOutcome,
  type StsFailure,
  type StsOutcome,
  type Unavailable,
  unavailable,
} from '../identity/outcome.js'
import type { Proof } from '../identity/proof.js'
import { type AcquirePermit, type RetryOptions, withRetry } from '../identity/retry.js'
import { createStsClient, type StsClient } from '../identity/sts.js'
import type { Log } from '../log.js'
import { rejectOnAbort } from '../upstream/deadline.js'
import { PROXY_NAME, VERSION } from '../upstream/metadata.js'

/** Bounds that no real deployment reaches: buckets, and subnets that the host selector remembers. */
const MAX_BUCKETS = 10_000
const MAX_SUBNETS = 10_000
/** Maximum number of buckets with series of their own in the metrics. */
const MAX_NAMED_BUCKETS = 100
/** Shares of the login timeout: one attempt, and all attempts with their pauses. Milliseconds. */
const ATTEMPT_MS = 1_500
const CALL_MS = 3_000
/** An imitated answer takes the median duration of this many answers of its host, or this long before the first one. */
const MEASURED_ANSWERS = 31
const FIRST_ANSWER_MS = 100
/** How long a throttle of a bucket is imitated, unless AWS answers a call: longer than all attempts. Milliseconds. */
const THROTTLED_MS = CALL_MS + 1_000
/** A change of the clock skew that is logged. Milliseconds. */
const LOGGED_SKEW_MS = 60_000
/** Minimum interval between log lines about throttles. Anyone can invent keys of any account. Milliseconds. */
const THROTTLE_LOG_MS = 60_000

type Budget = Pick<Config['sts'], 'quota' | 'share'>
type GatewayConfig = Pick<Config, 'sts' | 'login'>

/** A client for the configured hosts, without budget and retries. `timeoutMS` is per call, `maxSockets` per host. */
export function createConfiguredStsClient(
  {
    hosts,
    insecure,
    proxy,
    proxyCredentials,
  }: Pick<Config['sts'], 'hosts' | 'insecure' | 'proxy' | 'proxyCredentials'>,
  timeoutMS: number,
  maxSockets?: number,
): StsClient {
  return createStsClient({
    hosts: hosts.map(host => ({ ...host, insecure })),
    proxy: proxy === undefined ? undefined : { url: proxy, credentials: proxyCredentials },
    timeoutMS,
    userAgent: `${PROXY_NAME}/${VERSION}`,
    now: Date.now,
    ...(maxSockets !== undefined && { maxSockets }),
  })
}

export class StsGateway {
  readonly #client: StsClient
  readonly #buckets: TokenBuckets
  readonly #scheduler: Scheduler
  readonly #hosts: HostSelector
  readonly #firstHost: string | undefined
  /** How long the latest answers took, by host. */
  readonly #durations: ReadonlyMap<string, DurationWindow>
  /** Why the last call without credentials failed, by host. */
  readonly #probeFailures = new Map<string, Unavailable | undefined>()
  /** The last throttles of buckets that no answer has followed. */
  readonly #unansweredThrottles = new LRUCache<string, { at: number; outcome: StsFailure }>({ max: MAX_BUCKETS })
  readonly #metrics: MetricsRecorder
  readonly #log: Log
  /** Throttles by bucket. Only accounts that have logged in get a name here, because anyone can invent access keys. */
  readonly #throttles = new Map<string, number>()
  #loggedSkewMS = 0
  #throttleLoggedAt = Number.NEGATIVE_INFINITY
  #queueMS: number

  /** Waits for a permit to call STS. Throws `budget/exhausted` and the reason of the signal. */
  readonly acquirePermit: Scheduler['acquire']
  /** Calls GetCallerIdentity. Each attempt needs a permit. Throws `budget/exhausted` and the reason of the signal. */
  readonly getCallerIdentity: ReturnType<typeof withRetry>
  readonly #imitateCall: ReturnType<typeof withRetry>
  /** Resolves once this host was asked for the time within the last second. Throws `sts/unavailable`. */
  readonly syncClock: (host: string) => Promise<void>

  /** `maxCalls`: concurrent calls, to each host and in all. */
  constructor({ sts, login }: GatewayConfig, maxCalls: number, metrics: MetricsRecorder, log: Log) {
    this.#metrics = metrics
    this.#log = log
    this.#queueMS = login.queueTimeout
    this.#client = createConfiguredStsClient(sts, ATTEMPT_MS, maxCalls)
    this.#buckets = createTokenBuckets({ ...rateOf(sts), maxKeys: MAX_BUCKETS, now })
    const { acquireTokens } = this.#buckets
    this.#scheduler = createScheduler({ acquireTokens, maxCalls, now, after })
    this.acquirePermit = this.#scheduler.acquire
    const hosts = sts.hosts.map(({ host }) => host)
    this.#firstHost = hosts[0]
    const window = { size: MEASURED_ANSWERS, initialMS: FIRST_ANSWER_MS }
    this.#durations = new Map(hosts.map(host => [host, createDurationWindow(window)]))
    this.#hosts = createHostSelector({
      hosts,
      countPending: this.#scheduler.countPending,
      random: Math.random,
      now,
      maxSubnets: MAX_SUBNETS,
      onHealthChange: (host, isHealthy, why) =>
        isHealthy
          ? log('info', 'sts host restored', { sts: host })
          : log('warn', 'sts host ejected', { sts: host, why }),
    })
    const retryOptions: RetryOptions = {
      attemptMS: ATTEMPT_MS,
      deadlineMS: CALL_MS,
      queueMS: () => this.#queueMS,
      now,
      random: Math.random,
      sleep,
      shouldRetry: (proof, outcome) => this.#shouldRetry(proof, outcome),
    }
    this.getCallerIdentity = withRetry((proof, ms, signal) => this.#callOnce(proof, ms, signal), retryOptions)
    this.#imitateCall = withRetry((proof, _, signal) => this.#imitateOnce(proof, signal), retryOptions)
    this.syncClock = createClockSync({ probe: host => this.probe(host, ATTEMPT_MS), now })
  }

  /** How far the clock of STS is ahead of the clock of the proxy. Milliseconds. */
  clockSkewMS(): number {
    return this.#client.clockSkewMS()
  }

  /** Calls a host without credentials, which also measures the clock skew. Returns why it failed, if it did. */
  async probe(host: string, timeoutMS = CALL_MS): Promise<string | undefined> {
    const startedAt = now()
    const failure = await this.#client
      .probe(host, AbortSignal.timeout(timeoutMS))
      .catch(thrown => unavailable(String(thrown), 'retry'))
    this.#probeFailures.set(host, failure)
    if (failure === undefined) this.#recordDuration(host, startedAt)
    this.#recordSkew()
    return failure?.why
  }

  /**
   * The outcome of an inactive key, without a call for it, after the time of one, with its permits and retries. Throws
   * `budget/exhausted` and the reason of the signal.
   */
  async imitateInactiveKey(
    proof: Proof,
    address: string,
    acquirePermit: AcquirePermit,
    signal: AbortSignal,
  ): Promise<StsFailure> {
    const outcome = await this.#imitateCall(proof, acquirePermit, signal)
    if (outcome.is === 'identity') throw new Fault('internal')
    if (outcome.is === 'unavailable' && outcome.next === 'first-host') this.#hosts.preferFirstHost(address)
    return outcome
  }

  /** Raises the priority of the waiting logins of a credential that has become known in this subnet. */
  promote(subnet: string, fingerprint: string): void {
    this.#scheduler.promote(subnet, fingerprint)
  }

  /** The host to offer to a client of this address. */
  selectHost(address: string): string {
    return this.#hosts.selectHost(address)
  }

  /** Records the outcome of a login. A missing answer was recorded at once, whether or not a retry followed. */
  recordOutcome(host: string, outcome: StsOutcome, address: string): void {
    if (!isUnanswered(outcome)) this.#hosts.recordOutcome(host, outcome, address)
  }

  /** Applies the live settings. Logins that are already waiting keep their deadlines. */
  reconfigure({ sts, login }: GatewayConfig): void {
    this.#buckets.setRate(rateOf(sts))
    this.#queueMS = login.queueTimeout
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  /** The gauges that are measured when metrics are read. */
  gauges(): GaugeCollectors {
    return {
      sts_host_health: () => this.#hosts.health(),
      sts_bucket_tokens: () => this.#byBucket(bucket => this.#buckets.level(bucket).tokens),
      sts_bucket_rate: () => this.#byBucket(bucket => this.#buckets.level(bucket).perSecond),
      sts_bucket_throttles: () => Object.fromEntries(this.#throttles),
      sts_bucket_waiting: () => this.#waitingByBucket(),
    }
  }

  async #callOnce(proof: Proof, timeoutMS: number, signal: AbortSignal): Promise<StsOutcome> {
    const startedAt = now()
    const outcome = await this.#client.getCallerIdentity(proof, timeoutMS, signal)
    if (outcome.is === 'identity' || outcome.is === 'refused') this.#recordDuration(proof.challenge.host, startedAt)
    const bucket = bucketKey(proof)
    if (outcome.is === 'throttled') this.#unansweredThrottles.set(bucket, { at: now(), outcome })
    else if (outcome.is !== 'unavailable') this.#unansweredThrottles.delete(bucket)
    const throttles = this.#throttles.get(bucket)
    if (outcome.is === 'identity' && throttles === undefined && this.#throttles.size < MAX_NAMED_BUCKETS) {
      this.#throttles.set(bucket, 0)
    }
    if (outcome.is === 'throttled') {
      this.#buckets.recordThrottle(bucket)
      this.#logThrottle(bucket)
      if (throttles !== undefined) this.#throttles.set(bucket, throttles + 1)
    }
    this.#metrics.count('sts_calls_total', 1, { outcome: outcome.is })
    this.#recordSkew()
    return outcome
  }

  /**
   * An inactive key gets no answer while STS is down or throttles its account, and a client must not notice a difference. So
   * the host is asked at most once a second for all such keys, without credentials, which costs no account anything.
   */
  async #imitateOnce(proof: Proof, signal: AbortSignal): Promise<StsFailure> {
    const { host } = proof.challenge
    const isUp = rejectOnAbort(signal, this.syncClock(host)).then(
      () => true,
      () => false,
    )
    await Promise.all([isUp, sleep(this.#durations.get(host)?.median() ?? FIRST_ANSWER_MS, signal)])
    signal.throwIfAborted()
    if (!(await isUp)) return this.#probeFailures.get(host) ?? unavailable('no answer', 'retry')
    const throttle = this.#unansweredThrottles.get(bucketKey(proof))
    if (throttle && now() - throttle.at < THROTTLED_MS) return throttle.outcome
    return inactiveKeyOutcome(host === this.#firstHost)
  }

  /** Records a missing answer at once, so that a host that is down is ejected before its first logins have failed. */
  #shouldRetry({ challenge: { host } }: Proof, outcome: StsOutcome): boolean {
    if (!isUnanswered(outcome)) return true
    this.#hosts.recordOutcome(host, outcome, '')
    const health = this.#hosts.health()
    const areAllEjected = Object.values(health).every(value => value === 0)
    return health[host] !== 0 || areAllEjected
  }

  #logThrottle(bucket: string): void {
    if (now() - this.#throttleLoggedAt < THROTTLE_LOG_MS) return
    this.#throttleLoggedAt = now()
    const [account, sts] = bucket.split(' ')
    const perSecond = Math.round(this.#buckets.level(bucket).perSecond * 10) / 10
    this.#log('warn', 'sts throttled', { sts, account, perSecond })
  }

  #recordDuration(host: string, startedAt: number): void {
    this.#durations.get(host)?.record(now() - startedAt)
  }

  #recordSkew(): void {
    const skewMS = this.clockSkewMS()
    this.#metrics.set('clock_skew_seconds', skewMS / 1000)
    if (Math.abs(skewMS - this.#loggedSkewMS) < LOGGED_SKEW_MS) return
    this.#loggedSkewMS = skewMS
    this.#log('warn', 'clock skew detected', { skewSeconds: Math.round(skewMS / 1000) })
  }

  #byBucket(measure: (bucket: string) => number): Record<string, number> {
    return Object.fromEntries([...this.#throttles.keys()].map(bucket => [bucket, measure(bucket)]))
  }

  /** Buckets without a name are summed up as `other`. */
  #waitingByBucket(): Record<string, number> {
    const waiting: Record<string, number> = { ...this.#byBucket(() => 0), other: 0 }
    for (const [bucket, count] of this.#scheduler.waitingByBucket()) {
      const name = this.#throttles.has(bucket) ? bucket : 'other'
      waiting[name] = (waiting[name] ?? 0) + count
    }
    return waiting
  }
}

/**
 * The burst is half of the share that is left to others: calls can arrive closer together than they were sent, and AWS
 * counts arrivals.
 */
function rateOf({ quota, share }: Budget): Rate {
  return { perSecond: quota * share, burst: (quota * (1 - share)) / 2 }
}

/** No usable answer, and no hint that another host should be used. */
const isUnanswered = (outcome: StsOutcome) => outcome.is === 'unavailable' && outcome.next === 'retry'
