/**
 * The composition root: builds the parts of the proxy, connects them, and starts and stops them in order.
 *
 *     listener ─▶ Connection ─┬─ hello ─▶ HelloResponder ─▶ Topology
 *                             └─ login ─▶ Logins ─▶ STS, rules, directory, provisioner ─▶ upstream
 *     admin server ─▶ readiness, metrics, denials, pins
 *
 * Parts that call each other in both directions meet in the fields of `ProxyServer`. Its constructor builds every part but
 * the two servers; parts call each other only after it has returned.
 */
import { resolveSrv, resolveTxt } from 'node:dns/promises'
import { version as node } from 'node:process'
import { createMetricsRecorder, type MetricsRecorder } from '../admin/metrics.js'
import type { AdminServer } from '../admin/server.js'
import type { AuditDestination } from '../audit/destination.js'
import { PROXY_ACTOR } from '../audit/events.js'
import type { ConnectionMetrics } from '../client/connection.js'
import type { Listener } from '../client/listener.js'
import { after, now, sleep } from '../clock.js'
import type { Config } from '../config/load.js'
import type { Fault, Level } from '../errors.js'
import { type Log, silentLog } from '../log.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import type { MemberStatus } from '../upstream/memberStatus.js'
import { VERSION } from '../upstream/metadata.js'
import { PrimaryHistory } from '../upstream/primaryHistory.js'
import { Topology } from '../upstream/topology.js'
import type { Rule } from '../users/rules.js'
import { Activity } from './activity.js'
import { startAdminInterface } from './adminInterface.js'
import { type RunningAudit, startAuditTrail } from './auditTrail.js'
import { Capacity } from './capacity.js'
import { readServerCertificates } from './certificates.js'
import { CertificateWatch } from './certificateWatch.js'
import { ChangeAuditor } from './changeAudit.js'
import { listenerSettings, startClientListener } from './clientListener.js'
import { ConfigStatus } from './configStatus.js'
import { ConnectionAuditor } from './connectionAudit.js'
import { createConnectionMetrics } from './connectionMetrics.js'
import { HelloResponder } from './helloAnswer.js'
import { LdapChecks } from './ldapChecks.js'
import { Logins } from './logins.js'
import type { LoadedConfig } from './policy.js'
import { createReloader } from './reload.js'
import { RuleLogins } from './ruleLogins.js'
import type { Tracing } from './tracing.js'

export type RunningProxy = {
  port: number
  /** The port of the admin interface; undefined if it is off. */
  adminPort: number | undefined
  /** Applies a changed configuration, or logs why it was rejected and keeps the running one. Returns whether it was applied. */
  reload(next: LoadedConfig | Fault): boolean
  /** Resolves when the upstream, STS and the directory have been asked what the first login needs. */
  initialized: Promise<void>
  /**
   * Drains: reports not ready and accepts clients for `delay` milliseconds (by default `drain.delay`), then lets running
   * operations finish within `drain.timeout`.
   */
  stop(delay?: number, signal?: string): Promise<void>
  /** Closes every connection at once. */
  kill(): Promise<void>
  /** Opens the file of the audit trail again. */
  reopenAudit(): void
}

const NO_CONNECTIONS = { connecting: 0, unauthenticated: 0, authenticating: 0, authenticated: 0 }

/**
 * Starts a proxy, whose audit trail goes to `audit`. `setLogLevel` is called when `log.level` changes. `tracing` is closed with
 * the proxy. Throws `config/invalid` if a file of the proxy cannot be read, and `listener/address-unavailable`.
 */
export async function startProxy(
  loaded: LoadedConfig,
  log: Log,
  audit: AuditDestination,
  setLogLevel: (level: Level) => void = () => {},
  tracing?: Tracing | undefined,
): Promise<RunningProxy> {
  for (const warning of loaded.config.warnings) log('warn', 'configuration warning', { warning })
  const server = new ProxyServer(loaded, log, audit, setLogLevel, tracing)
  return server.start()
}

class ProxyServer {
  readonly #initial: LoadedConfig
  readonly #log: Log
  readonly #setLogLevel: (level: Level) => void
  readonly #metrics: MetricsRecorder
  readonly #connectionMetrics: ConnectionMetrics
  readonly #adminClient: AdminClient | undefined
  readonly #primaryHistory: PrimaryHistory
  readonly #certificates: CertificateWatch
  readonly #topology: Topology
  readonly #ldap: LdapChecks
  readonly #hello: HelloResponder
  readonly #logins: Logins
  readonly #capacity: Capacity
  readonly #audit: RunningAudit
  readonly #connectionAudit: ConnectionAuditor
  readonly #changeAudit: ChangeAuditor
  readonly #activity: Activity
  readonly #startedAt = Date.now()
  readonly #tracing: Tracing | undefined
  readonly #ruleLogins = new RuleLogins()
  readonly #configStatus: ConfigStatus
  /** The running configuration. */
  #config: Config
  #rules: readonly Rule[]
  #logLevel: Level
  #stopSignal = 'none'
  #listener: Listener | undefined
  #adminServer: AdminServer | undefined
  #hasBeenReady = false
  #isDraining = false
  /** Ends the waits of a drain. */
  readonly #skipDrain = new AbortController()
  #closed: Promise<void> | undefined

  constructor(
    loaded: LoadedConfig,
    log: Log,
    audit: AuditDestination,
    setLogLevel: (level: Level) => void,
    tracing: Tracing | undefined,
  ) {
    const { config, policy } = loaded
    this.#tracing = tracing
    this.#initial = loaded
    this.#config = config
    this.#rules = policy.rules.all
    this.#logLevel = config.log.level
    this.#log = log
    this.#setLogLevel = setLogLevel
    this.#metrics = createMetricsRecorder({}, { includeProcess: true })
    this.#metrics.setInfo('build_info', { version: VERSION, node })
    this.#configStatus = new ConfigStatus(loaded.source.hash, this.#metrics, Date.now)
    this.#followRules(loaded)
    this.#audit = startAuditTrail(config, audit, this.#metrics, log)
    this.#changeAudit = new ChangeAuditor(this.#audit.trail)
    this.#connectionAudit = new ConnectionAuditor({
      trail: this.#audit.trail,
      refusesWithoutAudit: () => this.#config.audit.onFailure === 'refuse',
      configHash: () => this.#configStatus.hash,
      after,
    })
    this.#activity = new Activity({
      audit: this.#connectionAudit,
      boot: this.#audit.trail.boot,
      wallClock: Date.now,
    })
    this.#capacity = new Capacity(loaded, this.#metrics, log)
    this.#connectionMetrics = createConnectionMetrics(this.#metrics, this.#ruleLogins)
    this.#adminClient = config.upstream.admin && createAdminClient(config.upstream.admin)
    this.#certificates = new CertificateWatch({ log, after, wallClock: Date.now })
    this.#primaryHistory = this.#createPrimaryHistory(policy)
    this.#topology = new Topology({
      upstream: policy.upstream,
      single: policy.isSingle,
      resolver: { resolveSrv, resolveTxt },
      log,
      random: Math.random,
      after,
      onServerRestart: () => void this.#ldap.guard.recheck(),
      onUpdate: () => {
        this.#primaryHistory.update(this.#topology?.currentPrimary())
        this.#logins?.onTopologyUpdate()
      },
      onTermClosed: reason => this.#listener?.closeMonitors(reason),
    })
    this.#ldap = new LdapChecks({
      config: () => this.#config,
      topology: this.#topology,
      adminClient: this.#adminClient,
      record: this.#audit.trail.record,
      log,
    })
    this.#hello = new HelloResponder({ config, topology: this.#topology, log })
    this.#logins = new Logins({
      loaded,
      topology: this.#topology,
      adminClient: this.#adminClient,
      ldap: this.#ldap.guard,
      sessionSlots: this.#capacity.sessionSlots,
      createMarker: this.#audit.createMarker,
      stsCalls: this.#capacity.stsCalls,
      assertLdapOffOver: (channel, hello, signal) => this.#ldap.assertOffOver(channel, hello, signal),
      isTraced: tracing !== undefined,
      metrics: this.#metrics,
      record: this.#audit.trail.record,
      onDirectoryEntries: (before, after) => this.#changeAudit.recordDirectory(before, after),
      log,
    })
    this.#metrics.addGauges({
      connections: () => this.#listener?.countByStage() ?? NO_CONNECTIONS,
      rule_logins_total: () => this.#ruleLogins.counts(),
      reload_timestamp_seconds: () => this.#configStatus.timestamps(),
      tls_certificate_expiry_seconds: () => this.#certificates.secondsLeft(),
      upstream_member_up: () => countUp(this.#topology.members()),
      upstream_primary: () => ({ '': this.#topology.currentPrimary() ? 1 : 0 }),
      ...this.#capacity.gauges(),
      ...this.#logins.gauges(),
    })
  }

  async start(): Promise<RunningProxy> {
    this.#changeAudit.recordLoaded(this.#initial)
    try {
      this.#adminServer = await this.#startAdminInterface()
      this.#listener = await this.#startListener()
    } catch (thrown) {
      await this.#close()
      throw thrown
    }
    this.#watchCertificates(this.#initial)
    const { port } = this.#listener
    const adminPort = this.#adminServer?.port
    const initialized = Promise.all([this.#ldap.guard.start(), this.#logins.start()]).then(() => {})
    const reload = createReloader(this.#initial, {
      apply: next => this.#apply(next),
      log: this.#log,
      audit: this.#changeAudit,
      onOutcome: outcome => this.#configStatus.recordReload(outcome),
      onWeakened: count => this.#metrics.count('weakened_protections_total', count),
    })
    const { config, policy } = this.#initial
    this.#log('info', 'ready', { host: config.listen.host, port, upstream: policy.upstream.name, adminPort })
    this.#audit.trail.record('process.start', {
      actor: PROXY_ACTOR,
      version: VERSION,
      configHash: this.#configStatus.hash,
    })
    return {
      port,
      adminPort,
      initialized,
      reload,
      stop: (delay, signal) => this.#stop(delay, signal),
      kill: () => this.#kill(),
      reopenAudit: () => this.#audit.reopen(),
    }
  }

  #createPrimaryHistory({ upstream, isSingle }: LoadedConfig['policy']): PrimaryHistory {
    return new PrimaryHistory({
      upstream: upstream.name,
      log: isSingle ? silentLog : this.#log, // a single member is used whatever its role
      onElection: () => this.#metrics.count('upstream_elections_total', 1),
      after,
      now,
      wallClock: Date.now,
    })
  }

  #startAdminInterface(): Promise<AdminServer | undefined> {
    return startAdminInterface({
      config: () => this.#config,
      maxConnections: this.#capacity.adminConnections,
      readiness: () => ({ isReady: this.#isReady(), isDraining: this.#isDraining }),
      topology: this.#topology,
      ldap: this.#ldap.guard,
      revocation: this.#logins.revocation,
      pins: this.#logins.pins,
      countUnrevoked: () => this.#logins.unrevokedCount,
      audit: this.#audit.trail,
      activity: this.#activity,
      startedAt: this.#startedAt,
      gauges: { ...this.#capacity.gauges(), ...this.#logins.gauges() },
      configHash: () => this.#configStatus.hash,
      configStatus: this.#configStatus,
      primaryHistory: this.#primaryHistory,
      certificates: this.#certificates,
      findDirectoryProblem: () => this.#logins.findDirectoryProblem(),
      clockSkewMS: () => this.#logins.clockSkewMS(),
      rules: () => this.#rules,
      countRuleLogins: () => this.#ruleLogins.counts(),
      logLevel: () => this.#logLevel,
      setLogLevel: level => this.#changeLogLevel(level),
      updateAuditMetrics: () => this.#audit.updateMetrics(),
      metrics: this.#metrics,
      log: this.#log,
    })
  }

  /**
   * An unknown LDAP state keeps the proxy from becoming ready at the start only. Later it would take a proxy with open
   * sessions out of the load balancer.
   */
  #isReady(): boolean {
    this.#hasBeenReady ||= this.#ldap.guard.getState() === 'off'
    return this.#hasBeenReady && !this.#isDraining
  }

  #startListener(): Promise<Listener> {
    return startClientListener({
      config: () => this.#config,
      capacity: this.#capacity,
      logins: this.#logins,
      hello: this.#hello,
      ldap: this.#ldap,
      activity: this.#activity,
      audit: this.#connectionAudit,
      boot: this.#audit.trail.boot,
      tracing: this.#tracing,
      metrics: this.#connectionMetrics,
      log: this.#log,
    })
  }

  #apply(next: LoadedConfig): void {
    const { config, source } = next
    const fitted = this.#capacity.fit(config)
    this.#listener?.reconfigure(listenerSettings(config, fitted.limits)) // may throw, so it comes before any change
    this.#capacity.apply(config, fitted)
    this.#hello.useCertificate(config.tls?.cert)
    this.#config = config
    this.#configStatus.setHash(source.hash)
    this.#followRules(next)
    this.#rules = next.policy.rules.all
    this.#changeLogLevel(config.log.level)
    this.#logins.apply(next)
    this.#watchCertificates(next)
  }

  #followRules({ config, policy }: LoadedConfig): void {
    this.#ruleLogins.setRules(policy.rules.all, { hasDirectory: config.directory.enabled })
  }

  #changeLogLevel(level: Level): void {
    this.#logLevel = level
    this.#setLogLevel(level)
  }

  #watchCertificates({ config, policy }: LoadedConfig): void {
    this.#certificates.watch([...readServerCertificates(config), ...policy.upstreamCertificates])
  }

  async #stop(delay = this.#config.drain.delay, stopSignal = 'none'): Promise<void> {
    this.#stopSignal = stopSignal
    const { signal } = this.#skipDrain
    this.#isDraining = true
    await sleep(delay, signal)
    this.#listener?.stopAccepting()
    this.#logins.drain()
    await Promise.race([this.#listener?.drain(), sleep(this.#config.drain.timeout, signal)])
    await this.#kill()
  }

  async #kill(): Promise<void> {
    this.#isDraining = true
    this.#skipDrain.abort()
    this.#listener?.destroy()
    await this.#close()
  }

  /** Closes the parts in the reverse order of their start. */
  #close(): Promise<void> {
    this.#closed ??= this.#closeParts()
    return this.#closed
  }

  async #closeParts(): Promise<void> {
    await this.#adminServer?.close()
    await this.#logins.close()
    this.#ldap.guard.close()
    await this.#adminClient?.close()
    this.#certificates.close()
    this.#primaryHistory.close()
    this.#topology.close()
    this.#connectionAudit.flush()
    this.#changeAudit.flush()
    this.#audit.trail.record('process.stop', { actor: PROXY_ACTOR, signal: this.#stopSignal })
    await Promise.all([this.#audit.trail.close(), this.#tracing?.close()])
    this.#log('info', 'stopped')
  }
}

function countUp(members: readonly MemberStatus[]): Record<string, number> {
  return Object.fromEntries(members.map(({ address, state }) => [address, state === 'unreachable' ? 0 : 1]))
}
