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
import { calculateObjectSize, type Document } from 'bson'
import { createMetricsRecorder, type MetricsRecorder } from '../admin/metrics.js'
import type { AdminServer } from '../admin/server.js'
import type { AuditDestination } from '../audit/destination.js'
import { PROXY_ACTOR } from '../audit/events.js'
import { createAcceptQueue } from '../client/acceptQueue.js'
import type { ConnectionAudit } from '../client/audit.js'
import { Connection, type ConnectionMetrics, type ConnectionOptions } from '../client/connection.js'
import { type Listener, type ListenerOptions, listen } from '../client/listener.js'
import { createLogSampler } from '../client/logSampler.js'
import { after, now, sleep } from '../clock.js'
import type { ConnectionLimits } from '../config/connectionLimits.js'
import type { Config } from '../config/load.js'
import type { Fault, FaultKind, Level } from '../errors.js'
import { LdapGuard } from '../ldap/guard.js'
import { createLdapProbe } from '../ldap/probe.js'
import { type Log, silentLog } from '../log.js'
import { randomBytes } from '../random.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import type { Channel } from '../upstream/channel.js'
import type { MemberStatus } from '../upstream/memberStatus.js'
import { VERSION } from '../upstream/metadata.js'
import { PrimaryHistory } from '../upstream/primaryHistory.js'
import { Topology } from '../upstream/topology.js'
import { readTopologyVersion } from '../upstream/topologyVersion.js'
import type { Rule } from '../users/rules.js'
import { Activity } from './activity.js'
import { startAdminInterface } from './adminInterface.js'
import { type RunningAudit, startAuditTrail } from './auditTrail.js'
import { Capacity } from './capacity.js'
import { readServerCertificates } from './certificates.js'
import { CertificateWatch } from './certificateWatch.js'
import { ChangeAuditor } from './changeAudit.js'
import { ConfigStatus } from './configStatus.js'
import { ConnectionAuditor } from './connectionAudit.js'
import { createConnectionMetrics } from './connectionMetrics.js'
import { traceLogins } from './connectionTracing.js'
import { HelloResponder } from './helloAnswer.js'
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

/** Log lines per second about unauthenticated connections, for each kind of fault. */
const MAX_LINES_PER_SECOND = 20
/** Unauthenticated clients may request buildInfo, so a hostile upstream must not make it large. Bytes. */
const MAX_BUILD_INFO_BYTES = 16_384

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
  readonly #ldap: LdapGuard
  readonly #hello: HelloResponder
  readonly #logins: Logins
  readonly #shouldLog: (kind: FaultKind) => boolean
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
  #buildInfo: Document | undefined
  #lastRequestID = 0
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
      onServerRestart: () => void this.#ldap.recheck(),
      onUpdate: () => {
        this.#primaryHistory.update(this.#topology?.currentPrimary())
        this.#logins?.onTopologyUpdate()
      },
      onTermClosed: reason => this.#listener?.closeMonitors(reason),
    })
    this.#ldap = this.#createLdapGuard()
    this.#hello = new HelloResponder({ config, topology: this.#topology, log })
    this.#logins = new Logins({
      loaded,
      topology: this.#topology,
      adminClient: this.#adminClient,
      ldap: this.#ldap,
      sessionSlots: this.#capacity.sessionSlots,
      createMarker: this.#audit.createMarker,
      stsCalls: this.#capacity.stsCalls,
      assertLdapOffOver: (channel, hello, signal) => this.#assertLdapOffOver(channel, hello, signal),
      isTraced: tracing !== undefined,
      metrics: this.#metrics,
      record: this.#audit.trail.record,
      onDirectoryEntries: (before, after) => this.#changeAudit.recordDirectory(before, after),
      log,
    })
    this.#shouldLog = createLogSampler({
      maxPerSecond: MAX_LINES_PER_SECOND,
      onSuppressed: kind => {
        const warning = `more than ${MAX_LINES_PER_SECOND} lines per second of ${kind}: further ones are counted in faults_total only`
        log('warn', 'log lines suppressed', { warning })
      },
      now,
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
      this.#listener = await this.#listen()
    } catch (thrown) {
      await this.#close()
      throw thrown
    }
    this.#watchCertificates(this.#initial)
    const { port } = this.#listener
    const adminPort = this.#adminServer?.port
    const initialized = Promise.all([this.#ldap.start(), this.#logins.start()]).then(() => {})
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

  #createLdapGuard(): LdapGuard {
    const probe = createLdapProbe(this.#topology, this.#adminClient)
    const config = () => this.#config
    return new LdapGuard({
      probe: async signal => {
        const replies = await probe(signal)
        if (isPresentable(replies.buildInfo)) this.#buildInfo = replies.buildInfo
        return replies
      },
      intervalMS: this.#config.ldap.every,
      get assume() {
        return config().ldap.assume
      },
      log: this.#log,
      record: this.#audit.trail.record,
      after,
    })
  }

  /** A process that the monitors have not seen yet may have LDAP on, whatever the process before it answered. */
  #assertLdapOffOver(channel: Channel, hello: Document, signal: AbortSignal): Promise<void> {
    if (isAnotherProcess(this.#topology.currentView()?.hello, hello)) void this.#ldap.recheck()
    return this.#ldap.assertOffOver(command => channel.request({ ...command, $db: 'admin' }, signal))
  }

  #startAdminInterface(): Promise<AdminServer | undefined> {
    return startAdminInterface({
      config: () => this.#config,
      maxConnections: this.#capacity.adminConnections,
      readiness: () => ({ isReady: this.#isReady(), isDraining: this.#isDraining }),
      topology: this.#topology,
      ldap: this.#ldap,
      revocation: this.#logins.revocation,
      pins: this.#logins.pins,
      countUnrevoked: () => this.#logins.unrevokedCount,
      audit: this.#audit.trail,
      activity: this.#activity,
      startedAt: this.#startedAt,
      gauges: { ...this.#capacity.gauges(), ...this.#logins.gauges() },
      configHash: () => this.#configStatus.hash,
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
    this.#hasBeenReady ||= this.#ldap.getState() === 'off'
    return this.#hasBeenReady && !this.#isDraining
  }

  #listen(): Promise<Listener> {
    const { host, port, backlog } = this.#config.listen
    const options = this.#connectionOptions()
    return listen({
      host,
      port,
      backlog,
      ...listenerSettings(this.#config, this.#capacity.limits),
      after,
      wallClock: Date.now,
      acceptQueue: createAcceptQueue({ defer: setImmediate, now }),
      log: this.#log,
      shouldLog: this.#shouldLog,
      maxDescriptor: () => this.#capacity.maxDescriptor,
      onAcceptFailed: why => this.#capacity.recordFailedAccept(why),
      onRejected: ({ kind }) => this.#connectionMetrics.recordFault(kind),
      onCertificateRefused: (client, refusal) => this.#connectionAudit.recordCertificateRefused(client, refusal),
      createConnection: (socket, client) => this.#activity.track(client, new Connection(socket, client, options)),
    })
  }

  #connectionOptions(): ConnectionOptions {
    const { authenticator } = this.#logins
    return {
      log: this.#log,
      shouldLog: this.#shouldLog,
      handshakeContext: address => ({
        stsHost: () => this.#logins.selectStsHost(address),
        random: randomBytes,
        buildInfo: () => this.#buildInfo,
        assertSessionSlotFree: () => this.#capacity.sessionSlots.assertFree(),
      }),
      answerHello: (request, connectionId, signal, client) => this.#hello.answer(request, connectionId, signal, client),
      authenticator,
      audit: this.#createConnectionAudit(),
      reauthenticationMode: () => this.#config.listen.reauthenticate,
      metrics: this.#connectionMetrics,
      nextRequestID: () => this.#nextRequestID(),
      now,
      after,
    }
  }

  #createConnectionAudit(): ConnectionAudit {
    const tracing = this.#tracing
    if (!tracing) return this.#activity
    const { boot } = this.#audit.trail
    return traceLogins(this.#activity, { trace: span => tracing.trace(span), boot, now, wallClock: Date.now })
  }

  #nextRequestID(): number {
    this.#lastRequestID = (this.#lastRequestID + 1) & 0x7fffffff
    return this.#lastRequestID
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
    this.#ldap.close()
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

/** The settings of the listener that a reload changes. */
function listenerSettings(
  { listen, tls }: Config,
  { connections, reserve }: ConnectionLimits,
): Pick<ListenerOptions, 'connections' | 'reserve' | 'perAddress' | 'tls'> {
  return { connections, reserve, perAddress: listen.perAddress, ...(tls && { tls: { ...tls, key: tls.key.reveal() } }) }
}

function countUp(members: readonly MemberStatus[]): Record<string, number> {
  return Object.fromEntries(members.map(({ address, state }) => [address, state === 'unreachable' ? 0 : 1]))
}

/** True if both name their process and the processes differ. */
function isAnotherProcess(known: Document | undefined, current: Document): boolean {
  const [before, after] = [known && readTopologyVersion(known), readTopologyVersion(current)]
  return before !== undefined && after !== undefined && !before.processId.equals(after.processId)
}

function isPresentable(buildInfo: Document | undefined): buildInfo is Document {
  if (buildInfo === undefined || Number(buildInfo.ok) !== 1) return false
  return calculateObjectSize(buildInfo) <= MAX_BUILD_INFO_BYTES
}
