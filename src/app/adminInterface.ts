/** Connects the admin server to the parts that its pages report and change. */
import { type AccessOptions, type AdminToken, checkAccess } from '../admin/access.js'
import { type BudgetGauges, createBudgetsRoutes } from '../admin/budgets.js'
import { countStreams } from '../admin/connections.js'
import { createDenyRoute } from '../admin/deny.js'
import { createHealthRoutes } from '../admin/health.js'
import type { GaugeCollectors, MetricsRecorder } from '../admin/metrics.js'
import { withOpenApi } from '../admin/openapi.js'
import { createPinsRoute } from '../admin/pins.js'
import { createPrincipalsRoutes } from '../admin/principals.js'
import { createRefusalsRoutes } from '../admin/refusals.js'
import type { RecordedRequest, Routes } from '../admin/routes.js'
import { createRulesRoutes } from '../admin/rules.js'
import { type AdminServer, startAdminServer } from '../admin/server.js'
import { createSessionsRoutes } from '../admin/sessions.js'
import { createSettingsRoutes } from '../admin/settingsInForce.js'
import { type AdminStatus, createStatusRoutes } from '../admin/status.js'
import type { AuditTrail } from '../audit/trail.js'
import { after, now } from '../clock.js'
import { DEFAULT_TOKEN_NAME } from '../config/adminTokens.js'
import { isLoopback } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import { type Fault, type Level, toLogFields } from '../errors.js'
import { createSessionNameHash } from '../identity/sessionNames.js'
import type { LdapGuard } from '../ldap/guard.js'
import type { Log } from '../log.js'
import type { Revocation } from '../revocation/revocation.js'
import { VERSION } from '../upstream/metadata.js'
import type { PrimaryHistory } from '../upstream/primaryHistory.js'
import type { Topology } from '../upstream/topology.js'
import type { Pins } from '../users/pins.js'
import type { Rule } from '../users/rules.js'
import type { Activity } from './activity.js'
import { AdminAuditor } from './adminAudit.js'
import type { CertificateWatch } from './certificateWatch.js'
import type { ConfigStatus } from './configStatus.js'
import { findUnservedDenials } from './ineffective.js'
import { StatusPage } from './statusPage.js'

export type AdminInterfaceOptions = {
  /** The running configuration, which a reload changes. */
  config(): Config
  maxConnections: number
  /** Whether the proxy is ready, and whether it is draining. */
  readiness(): { isReady: boolean; isDraining: boolean }
  topology: Pick<Topology, 'currentView' | 'currentPrimary' | 'members'>
  ldap: Pick<LdapGuard, 'getState'>
  revocation: Pick<Revocation, 'list' | 'deny' | 'allow'>
  pins: Pins | undefined
  /** The number of principals whose database user still has roles that were taken away. */
  countUnrevoked(): number
  audit: Pick<AuditTrail, 'record' | 'instance' | 'boot' | 'isFailing'>
  activity: Activity
  /** Milliseconds since 1970. */
  startedAt: number
  /** The gauges of session slots and of the budget of calls to STS. */
  gauges: GaugeCollectors
  configHash(): string
  configStatus: Pick<ConfigStatus, 'report'>
  primaryHistory: Pick<PrimaryHistory, 'status'>
  certificates: Pick<CertificateWatch, 'list'>
  /** Why $external cannot be read. */
  findDirectoryProblem(): { why: string; isStale: boolean } | undefined
  /** How far the clock of STS is ahead. */
  clockSkewMS(): number
  /** The rules in force. */
  rules(): readonly Rule[]
  /** Logins by the description of a rule. */
  countRuleLogins(): Readonly<Record<string, number>>
  logLevel(): Level
  setLogLevel(level: Level): void
  /** Sets the gauges of the audit trail. */
  updateAuditMetrics(): void
  metrics: MetricsRecorder
  log: Log
}

/** Refused requests are logged at most this often, with their number since the last line. Milliseconds. */
const REFUSAL_LOG_MS = 1_000

/** Resolves with undefined if `admin.port` is off. Throws `listener/address-unavailable`. */
export async function startAdminInterface(options: AdminInterfaceOptions): Promise<AdminServer | undefined> {
  const { config, maxConnections, audit, log } = options
  const { admin, audit: settings } = config()
  const { host, port } = admin
  if (port === 'off') return undefined
  const auditor = new AdminAuditor({ record: audit.record, after })
  const logRefused = createRefusalLog(log)
  const access = createAccess(config)
  const hide = settings.hashKey && createSessionNameHash(settings.hashKey)
  const onError = (fault: Fault) => log('error', 'admin request failed', toLogFields(fault))
  const page = createStatusPage(options, access, { hide, onError })
  await page.start()
  const server = await startAdminServer({
    host,
    port,
    after,
    maxConnections,
    access,
    routes: {
      ...withOpenApi(
        { ...createRoutes(options, auditor), ...createStateRoutes(options), ...createSettingsRoutes(config) },
        VERSION,
      ),
      ...page.routes,
    },
    onRequest(request) {
      auditor.recordRequest(request)
      if (request.isRefused) logRefused(request)
    },
    onError,
    hide,
  }).catch(thrown => {
    page.close()
    throw thrown
  })
  return {
    port: server.port,
    async close() {
      page.close()
      await server.close()
      auditor.flush()
    },
  }
}

function createAccess(config: () => Config): AccessOptions {
  return {
    tokens() {
      const { token, tokens } = config().admin
      const first: AdminToken[] = token ? [{ name: DEFAULT_TOKEN_NAME, may: 'write', token }] : []
      return [...first, ...tokens]
    },
    hosts: () => [config().admin.host, ...(config().admin.hosts ?? [])],
    isLocal: isLoopback(config().admin.host),
  }
}

function createRoutes(options: AdminInterfaceOptions, auditor: AdminAuditor): Routes {
  const { config, readiness, topology, ldap, revocation, pins, countUnrevoked, metrics, log } = options
  return {
    ...createHealthRoutes({
      ready: () => {
        const { isReady, isDraining } = readiness()
        return {
          ready: isReady,
          body: {
            draining: isDraining,
            ldap: ldap.getState(),
            upstream: topology.currentView() !== undefined,
            unrevokedRoles: countUnrevoked(),
          },
        }
      },
      metrics: () => {
        options.updateAuditMetrics()
        metrics.set('upstream_up', topology.currentView() ? 1 : 0)
        metrics.set('unrevoked_roles', countUnrevoked())
        metrics.setState('ldap_authorization', ldap.getState())
        return metrics.render()
      },
    }),
    '/deny': createDenyRoute({
      list: () => revocation.list(),
      deny: denial => revocation.deny(denial),
      allow: denial => revocation.allow(denial),
      findWarning: denial => findUnservedDenials(config(), [denial])[0],
      now: Date.now,
      onChange(change) {
        auditor.recordDenialChange(change)
        if (change.fault?.kind === 'denials/not-persisted') {
          log('error', 'denial not persisted', toLogFields(change.fault))
        }
      },
    }),
    '/pins': createPinsRoute({ pins, onCleared: pin => auditor.recordPinCleared(pin) }),
  }
}

/** The routes that show the state of the proxy, and those that change it without a file. */
function createStateRoutes(options: AdminInterfaceOptions): Routes {
  const { activity, gauges, rules, countRuleLogins, setLogLevel } = options
  return {
    ...createStatusRoutes({ status: () => describeStatus(options), setLogLevel }),
    ...createSessionsRoutes({
      list: page => activity.listSessions(page),
      close: id => activity.closeSession(id),
    }),
    ...createPrincipalsRoutes(page => activity.listPrincipals(page)),
    ...createRefusalsRoutes(() => activity.listRefusals()),
    ...createRulesRoutes({ rules, countLogins: countRuleLogins }),
    ...createBudgetsRoutes(() => readBudgets(gauges)),
  }
}

function readBudgets(gauges: GaugeCollectors): BudgetGauges {
  return {
    tokens: gauges.sts_bucket_tokens?.() ?? {},
    perSecond: gauges.sts_bucket_rate?.() ?? {},
    throttles: gauges.sts_bucket_throttles?.() ?? {},
    waiting: gauges.sts_bucket_waiting?.() ?? {},
    health: gauges.sts_host_health?.() ?? {},
  }
}

function createStatusPage(
  options: AdminInterfaceOptions,
  access: AccessOptions,
  { hide, onError }: { hide: ((text: string) => string) | undefined; onError(fault: Fault): void },
): StatusPage {
  const { audit, activity, gauges, configStatus, primaryHistory, certificates, metrics, maxConnections } = options
  return new StatusPage({
    instance: audit.instance,
    readStatus: () => describeStatus(options),
    readBudgets: () => readBudgets(gauges),
    configStatus,
    primaryHistory,
    certificates,
    findDirectoryProblem: options.findDirectoryProblem,
    clockSkewMS: options.clockSkewMS,
    activity,
    countRuleLogins: options.countRuleLogins,
    metrics,
    maxStreams: countStreams(maxConnections),
    isPermitted: request => checkAccess(request, 'read', access).refusal === undefined,
    hide,
    onError,
    after,
    now,
    wallClock: Date.now,
  })
}

function describeStatus(options: AdminInterfaceOptions): AdminStatus {
  const { readiness, topology, ldap, revocation, countUnrevoked, audit, gauges, configHash, logLevel, startedAt } =
    options
  const { isReady, isDraining } = readiness()
  const { taken = 0, free = 0 } = gauges.session_slots?.() ?? {}
  const { file, admin } = revocation.list()
  return {
    version: VERSION,
    boot: audit.boot,
    startedAt: new Date(startedAt).toISOString(),
    ready: isReady,
    draining: isDraining,
    ldap: ldap.getState(),
    upstream: {
      primary: topology.currentPrimary()?.address ?? null,
      members: topology.members().map(({ address, state }) => ({ address, state })),
    },
    sessions: { open: taken, free },
    denials: { file: file.length, admin: admin.length },
    unrevokedRoles: countUnrevoked(),
    audit: { failing: audit.isFailing },
    configHash: configHash(),
    logLevel: logLevel(),
  }
}

/** Someone who guesses tokens must not fill the log. */
function createRefusalLog(log: Log): (request: RecordedRequest) => void {
  let attempts = 0
  let loggedAt = Number.NEGATIVE_INFINITY
  return ({ path, caller: { address } }) => {
    attempts += 1
    if (now() - loggedAt < REFUSAL_LOG_MS) return
    log('warn', 'admin request refused', { path, address, attempts })
    attempts = 0
    loggedAt = now()
  }
}
