/** What a client connection reports to the audit trail. */
import type { Fault } from '../errors.js'
import type { CloseReason } from './closing.js'
import type { ClientInfo } from './handshake.js'
import type { LoginRecord } from './login.js'
import type { UpstreamEndpoint } from './upstreamSession.js'

/** A client connection. `peer`: address:port. */
export type AuditedClient = { readonly id: number; readonly peer: string }

/** `first`: the login that opens the session. */
export type LoginKind = 'first' | 'reauthentication'

/** `code`: the error of Node.js. `fingerprint`: SHA-256 of the certificate; undefined if the client presented none. */
export type CertificateRefusal = { code: string; fingerprint: string | undefined }

export type ConnectionAudit = {
  /** Throws `audit/unavailable` if logins must be refused because nothing can be recorded. */
  assertAvailable(): void
  /**
   * Resolves once the operating system has taken the event. Throws `audit/unavailable` if it does not and logins must then
   * be refused.
   */
  recordLogin(
    client: AuditedClient,
    login: { record: LoginRecord; info: ClientInfo; upstream: UpstreamEndpoint; kind: LoginKind },
  ): Promise<void>
  recordLoginRefused(
    client: AuditedClient,
    login: { record: LoginRecord; info: ClientInfo | undefined; fault: Fault; kind: LoginKind },
  ): void
  recordSessionEnd(
    client: AuditedClient,
    end: CloseReason & {
      record: LoginRecord
      durationMS: number
      bytes: { fromClient: number; toClient: number }
    },
  ): void
  /** `record`: empty before the login. */
  recordCommandRefused(client: AuditedClient, refusal: { command: string; fault?: Fault; record: LoginRecord }): void
}
