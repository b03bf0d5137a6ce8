/**
 * Notices an upstream that is full: its primary still answers the proxy's monitors, but closes new connections.
 * MongoDB does that at `net.maxIncomingConnections`. Every other signal says that the upstream is well.
 */
import type { MetricsRecorder } from '../admin/metrics.js'
import { Fault } from '../errors.js'
import type { Log } from '../log.js'
import { connectionFailureOf } from '../upstream/connectionError.js'

export type UpstreamRefusalsOptions = {
  /** The member that is the primary and answers; undefined if there is none. */
  currentPrimary(): { address: string } | undefined
  metrics: Pick<MetricsRecorder, 'count'>
  log: Log
  /** Monotonic milliseconds. */
  now(): number
}

/** Minimum interval between log lines. Milliseconds. */
const LOG_MS = 60_000
/** A member that is not there refuses the connection. One that is full accepts and closes it. */
const NOT_THERE = new Set<unknown>(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'])

export class UpstreamRefusals {
  readonly #options: UpstreamRefusalsOptions
  #loggedAt = Number.NEGATIVE_INFINITY

  constructor(options: UpstreamRefusalsOptions) {
    this.#options = options
  }

  /** Call this with what a dial to the primary has thrown. */
  record(thrown: unknown): void {
    const { currentPrimary, metrics, log, now } = this.#options
    const primary = currentPrimary()
    if (!primary || !isClosedConnection(thrown)) return
    metrics.count('upstream_refused_connections_total', 1)
    if (now() - this.#loggedAt < LOG_MS) return
    this.#loggedAt = now()
    log('error', 'upstream refuses connections', { upstream: primary.address })
  }
}

function isClosedConnection(thrown: unknown): boolean {
  if (connectionFailureOf(thrown) !== 'closed') return false
  return !NOT_THERE.has(Fault.from(thrown).data('upstream/unreachable')?.code)
}
