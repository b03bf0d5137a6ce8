/** Connects the admin server to the parts that its pages report and change. */
import type { AccessOptions } from '../admin/access.js'
import type { MetricsRecorder } from '../admin/metrics.js'
import { type AdminServer, startAdminServer } from '../admin/server.js'
import { after, now } from '../clock.js'
import type { Config } from '../config/load.js'
import { toLogFields } from '../errors.js'
import type { LdapGuard } from '../ldap/guard.js'
import type { Log } from '../log.js'
import type { Revocation } from '../revocation/revocation.js'
import type { Topology } from '../upstream/topology.js'
import type { Pins } from '../users/pins.js'
import { findUnservedDenials } from './ineffective.js'

export type AdminInterfaceOptions = {
  /** The running configuration, which a reload changes. */
  config(): Config
  maxConnections: number
  /** Whether the proxy is ready, and whether it is draining. */
  readiness(): { isReady: boolean; isDraining: boolean }
  topology: Pick<Topology, 'currentView'>
  ldap: Pick<LdapGuard, 'getState'>
  revocation: Pick<Revocation, 'list' | 'deny' | 'allow'>
  pins: Pins | undefined
  /** The number of principals whose database user still has roles that were taken away. */
  countUnrevoked(): number
  /** Sets the gauges of the audit trail. */
  updateAuditMetrics(): void
  metrics: MetricsRecorder
  log: Log
}

/** Unauthorized requests are logged at most this often, with their number since the last line. Milliseconds. */
const UNAUTHORIZED_LOG_MS = 1_000

/** Resolves with undefined if `admin.port` is off. Throws `listener/address-unavailable`. */
export async function startAdminInterface(options: AdminInterfaceOptions): Promise<AdminServer | undefined> {
  const { config, readiness, topology, ldap, revocation, pins, countUnrevoked, metrics, log } = options
  const { host, port } = config().admin
  if (port === 'off') return undefined
  const access: AccessOptions = {
    token: () => config().admin.token,
    hosts: () => [config().admin.host, ...(config().admin.hosts ?? [])],
  }
  return startAdminServer({
    host,
    port,
    after,
    maxConnections: options.maxConnections,
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
    hosts: access.hosts,
    deny: {
      token: access.token,
      hosts: access.hosts,
      list: () => revocation.list(),
      deny: denial => revocation.deny(denial),
      allow: denial => revocation.allow(denial),
      findWarning: denial => findUnservedDenials(config(), [denial])[0],
      now: Date.now,
      onPersistenceFailure: fault => log('error', 'denial not persisted', toLogFields(fault)),
    },
    pins: { pins, token: access.token, hosts: access.hosts },
    onError: fault => log('error', 'admin request failed', toLogFields(fault)),
    onUnauthorized: createUnauthorizedLog(log),
  })
}

/** Someone who guesses tokens must not fill the log. */
function createUnauthorizedLog(log: Log): (path: string, address: string) => void {
  let attempts = 0
  let loggedAt = Number.NEGATIVE_INFINITY
  return (path, address) => {
    attempts += 1
    if (now() - loggedAt < UNAUTHORIZED_LOG_MS) return
    log('warn', 'admin request refused', { path, address, attempts })
    attempts = 0
    loggedAt = now()
  }
}
