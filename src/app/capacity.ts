/**
 * The limits of connections and sessions in effect: as configured, or lower if the process has too few file descriptors. Holds
 * the session slots, and reports to the log and the metrics.
 */
import type { GaugeCollectors, MetricsRecorder } from '../admin/metrics.js'
import { SessionSlots } from '../client/sessionSlots.js'
import { now } from '../clock.js'
import { type ConnectionLimits, divideConnections, scaleShare } from '../config/connectionLimits.js'
import type { Config } from '../config/load.js'
import type { Log } from '../log.js'
import { DescriptorBudget, type FittedLimits } from './descriptorBudget.js'
import { readDescriptorLimit } from './descriptorLimit.js'
import type { LoadedConfig } from './policy.js'

/** Minimum interval between log lines about connections that could not be accepted. Milliseconds. */
const ACCEPT_LOG_MS = 60_000
/** The last descriptors of the process, which are not for clients. */
const SPARE_DESCRIPTORS = 8
/** Number of principals that the metrics list. */
const LARGEST_HOLDERS = 10

/** The budget of this configuration in a process that may open `limit` descriptors; undefined if that is unknown. */
export function createDescriptorBudget(
  { config, policy }: Pick<LoadedConfig, 'config' | 'policy'>,
  limit: number | undefined,
): DescriptorBudget {
  const needs = {
    stsHosts: config.sts.hosts.length,
    hasAdminInterface: config.admin.port !== 'off',
    isSingle: policy.isSingle,
  }
  return new DescriptorBudget(limit, needs, divideConnections(config.listen))
}

export class Capacity {
  readonly sessionSlots: SessionSlots
  readonly #budget: DescriptorBudget
  readonly #metrics: MetricsRecorder
  readonly #log: Log
  #descriptorLimit: number | undefined
  #configured: ConnectionLimits
  #limits: ConnectionLimits
  #warning: string | undefined
  #acceptFailureLoggedAt = Number.NEGATIVE_INFINITY

  constructor({ config, policy }: LoadedConfig, metrics: MetricsRecorder, log: Log) {
    this.#metrics = metrics
    this.#log = log
    this.#descriptorLimit = readDescriptorLimit()
    this.#configured = divideConnections(config.listen)
    this.#limits = this.#configured
    this.#budget = createDescriptorBudget({ config, policy }, this.#descriptorLimit)
    this.sessionSlots = new SessionSlots({
      limits: () => ({ sessions: this.#limits.sessions, perPrincipal: maxSessions => this.#shareOf(maxSessions) }),
      onNearLimit: near => log('warn', 'session limit near', near),
      now,
    })
    this.apply(config, this.#budget.fit(this.#descriptorLimit, this.#configured))
  }

  /** The limits in effect. */
  get limits(): ConnectionLimits {
    return this.#limits
  }

  /** Concurrent calls to each STS host. */
  get stsCalls(): number {
    return this.#budget.stsCalls
  }

  /** Connections to the admin interface. */
  get adminConnections(): number {
    return this.#budget.adminConnections
  }

  /** Descriptors with this number and above are not for clients. */
  get maxDescriptor(): number {
    return (this.#descriptorLimit ?? Number.POSITIVE_INFINITY) - SPARE_DESCRIPTORS
  }

  /** The limits of a configuration, or lower ones if the file descriptors do not suffice. */
  fit({ listen }: Config): FittedLimits {
    this.#descriptorLimit = readDescriptorLimit() ?? this.#descriptorLimit
    return this.#budget.fit(this.#descriptorLimit, divideConnections(listen))
  }

  /** Puts limits into effect. Logs a warning if they are lower than configured, unless the last warning was the same. */
  apply({ listen }: Config, { limits, warning }: FittedLimits): void {
    this.#configured = divideConnections(listen)
    this.#limits = limits
    if (warning !== undefined && warning !== this.#warning) {
      const { connections, sessions } = limits
      this.#log('warn', 'limits lowered', { warning, connections, sessions, descriptors: this.#descriptorLimit })
    }
    this.#warning = warning
  }

  /** Counts a connection that could not be accepted. */
  recordFailedAccept(why: string): void {
    this.#metrics.count('failed_accepts_total', 1)
    if (now() - this.#acceptFailureLoggedAt < ACCEPT_LOG_MS) return
    this.#acceptFailureLoggedAt = now()
    this.#log('warn', 'accept failed', { why })
  }

  gauges(): GaugeCollectors {
    return {
      session_slots: () => this.sessionSlots.countByState(),
      principal_sessions: () => this.sessionSlots.largestHolders(LARGEST_HOLDERS),
    }
  }

  /** The session slots that one principal may hold. `maxSessions`: the limit of its rule. */
  #shareOf(maxSessions: number | undefined): number {
    return maxSessions === undefined
      ? this.#limits.perPrincipal
      : scaleShare(maxSessions, this.#configured, this.#limits)
  }
}
