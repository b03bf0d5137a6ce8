/**
 * Divides the file descriptors of the process. Without enough of them, idle clients would stop logins and /healthz.
 *
 *     limit ─▶ process, files, upstream monitors ─▶ STS and the admin interface ─▶ clients: two per session, one per other
 *
 * A login needs a third one, for STS, which is set aside per host. Where the configured connections do not fit, the proxy
 * serves fewer and says so. It never refuses to start, since a smaller proxy is better than none.
 */
import { MAX_ADMIN_CONNECTIONS } from '../admin/connections.js'
import { type ConnectionLimits, scaleDown } from '../config/connectionLimits.js'
import { MAX_STS_SOCKETS } from '../identity/sts.js'

export type DescriptorNeeds = {
  stsHosts: number
  hasAdminInterface: boolean
  /** The upstream is one server, not a replica set. */
  isSingle: boolean
}

export type FittedLimits = {
  limits: ConnectionLimits
  /** A sentence for the operator if a limit is lower than configured. */
  warning: string | undefined
}

/** Node.js itself, the configuration and other files, name resolution. */
const PROCESS = 40
/** Two sockets for each monitored member, and the pools of the administrative commands. */
const SINGLE_SERVER = 16
const REPLICA_SET = 48
/** What STS and the admin interface get at least. */
const MIN_STS_CALLS = 2
const MIN_ADMIN_CONNECTIONS = 4
/** One connection that logs in, and one that is a session. */
const MIN_CONNECTIONS = 2

/** The parts that are set aside when the proxy starts, and what is left for clients. */
export class DescriptorBudget {
  /** Concurrent calls to each STS host. */
  readonly stsCalls: number
  readonly adminConnections: number
  readonly #needs: DescriptorNeeds

  /** `limit`: the descriptors that the process may open; undefined if that is unknown. */
  constructor(limit: number | undefined, needs: DescriptorNeeds, configured: ConnectionLimits) {
    const share = limit === undefined ? 1 : shareToSetAside(limit - fixedNeed(needs), needs, configured)
    this.#needs = needs
    this.stsCalls = Math.max(MIN_STS_CALLS, Math.floor(MAX_STS_SOCKETS * share))
    this.adminConnections = Math.max(MIN_ADMIN_CONNECTIONS, Math.floor(MAX_ADMIN_CONNECTIONS * share))
  }

  /** The configured limits, or the largest ones for which the descriptors suffice. */
  fit(limit: number | undefined, configured: ConnectionLimits): FittedLimits {
    const limits = limit === undefined ? configured : this.#largestFor(limit, configured)
    const isLower = limits !== configured || this.stsCalls < MAX_STS_SOCKETS
    return { limits, warning: isLower && limit !== undefined ? this.#warn(limit, limits, configured) : undefined }
  }

  #largestFor(limit: number, configured: ConnectionLimits): ConnectionLimits {
    const setAside = this.stsCalls * this.#needs.stsHosts + (this.#needs.hasAdminInterface ? this.adminConnections : 0)
    const left = limit - fixedNeed(this.#needs) - setAside
    if (clientNeed(configured) <= left) return configured
    let connections = Math.ceil((left * configured.connections) / clientNeed(configured))
    while (connections > MIN_CONNECTIONS && clientNeed(scaleDown(configured, connections)) > left) connections -= 1
    return scaleDown(configured, Math.max(MIN_CONNECTIONS, Math.min(connections, configured.connections)))
  }

  #warn(limit: number, { connections, sessions }: ConnectionLimits, configured: ConnectionLimits): string {
    const needed = fixedNeed(this.#needs) + clientNeed(configured) + optionalNeed(this.#needs)
    return `listen.connections is ${configured.connections}, for which the proxy needs ${needed} file descriptors, and this process may open ${limit} (ulimit -n). It serves ${connections} connections, of which ${sessions} may be sessions, and makes ${this.stsCalls} calls to each STS host at once. Raise ulimit -n to ${needed}, or lower listen.connections`
  }
}

const clientNeed = ({ connections, sessions }: ConnectionLimits): number => connections + sessions

const fixedNeed = ({ isSingle }: DescriptorNeeds): number => PROCESS + (isSingle ? SINGLE_SERVER : REPLICA_SET)

const optionalNeed = ({ stsHosts, hasAdminInterface }: DescriptorNeeds): number =>
  MAX_STS_SOCKETS * stsHosts + (hasAdminInterface ? MAX_ADMIN_CONNECTIONS : 0)

/** The part of their need that STS and the admin interface get. Clients get at least half of the descriptors. */
function shareToSetAside(available: number, needs: DescriptorNeeds, configured: ConnectionLimits): number {
  const setAside = Math.max(available / 2, available - clientNeed(configured))
  return Math.min(1, Math.max(0, setAside / optionalNeed(needs)))
}
