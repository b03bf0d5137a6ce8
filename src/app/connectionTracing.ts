/** Traces the logins that client connections report to the audit trail, once they have ended. */
import type { AuditedClient, ConnectionAudit } from '../client/audit.js'
import { describeLogin, type SpanDescription, type TracedLogin } from './loginSpans.js'

export type ConnectionTracingOptions = {
  /** Never throws. */
  trace(login: SpanDescription): void
  /** Identifies this run of the proxy, as in the audit trail. */
  boot: string
  /** Monotonic milliseconds. */
  now(): number
  /** Milliseconds since 1970. */
  wallClock(): number
}

/** Returns an audit trail that forwards to `audit`. */
export function traceLogins(audit: ConnectionAudit, options: ConnectionTracingOptions): ConnectionAudit {
  const { trace, boot, now, wallClock } = options
  const traceLogin = (client: AuditedClient, login: Omit<TracedLogin, 'client' | 'connection'>): void => {
    const { timeline } = login.record
    if (!timeline) return // it was refused before it began
    login.record.timeline = undefined // the record lives as long as its connection
    const offset = wallClock() - now()
    const connection = `${boot}-${client.id}`
    trace(describeLogin({ ...login, client, connection }, timeline, time => time + offset))
  }
  return {
    assertAvailable: () => audit.assertAvailable(),
    async recordLogin(client, login) {
      await audit.recordLogin(client, login)
      traceLogin(client, login)
    },
    recordLoginRefused(client, refusal) {
      audit.recordLoginRefused(client, refusal)
      traceLogin(client, refusal)
    },
    recordSessionEnd: (client, end) => audit.recordSessionEnd(client, end),
    recordCommandRefused: (client, refusal) => audit.recordCommandRefused(client, refusal),
  }
}
