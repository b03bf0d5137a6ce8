/** Turns requests to the admin interface, and the changes that they make, into events of the audit trail. */
import type { Caller } from '../admin/access.js'
import type { DenialChange } from '../admin/deny.js'
import { RequestWindow } from '../admin/requestWindow.js'
import type { RecordedRequest } from '../admin/routes.js'
import type { Actor, Outcome, RecordAuditEvent } from '../audit/events.js'
import type { After } from '../clock.js'
import { formatDenial } from '../revocation/denials.js'

export type AdminAuditorOptions = { record: RecordAuditEvent; after: After }

export class AdminAuditor {
  readonly #record: RecordAuditEvent
  readonly #window: RequestWindow<RecordedRequest>

  constructor({ record, after }: AdminAuditorOptions) {
    this.#record = record
    this.#window = new RequestWindow({ after, onReport: (request, count) => this.#recordRequest(request, count) })
  }

  /** Anyone can send requests without a valid token, so these are bounded. */
  recordRequest(request: RecordedRequest): void {
    const { isRefused, caller } = request
    if (!isRefused && caller.token !== undefined) this.#recordRequest(request, 1)
    else this.#window.add(`${isRefused ? 'refused' : 'read'} ${caller.address}`, request)
  }

  recordDenialChange({ type, denial, caller, closed, fault }: DenialChange): void {
    const { why, until } = denial
    this.#record(type, {
      outcome: fault ? 'failed' : 'success',
      ...describeCaller(caller),
      denial: formatDenial(denial),
      reason: why,
      until: until?.toISOString(),
      fault: fault?.kind,
      ...(closed && { count: closed }),
    })
  }

  recordPinCleared({ arn, principalId, caller }: { arn: string; principalId: string; caller: Caller }): void {
    this.#record('pin.cleared', { ...describeCaller(caller), arn, principalId })
  }

  /** Records the requests that wait for the end of their second. */
  flush(): void {
    this.#window.flush()
  }

  #recordRequest({ method, path, caller, status, isRefused, reason, target }: RecordedRequest, count: number): void {
    const outcome = status < 400 ? 'success' : isRefused ? 'refused' : 'failed'
    this.#record('admin.request', {
      outcome: outcome satisfies Outcome,
      ...describeCaller(caller),
      method,
      path,
      code: status,
      count,
      reason,
      target,
    })
  }
}

function describeCaller({ token, address, port }: Caller): { actor: Actor; address?: string; port?: number } {
  return {
    actor: token === undefined ? { kind: 'client', id: null } : { kind: 'admin', id: token },
    ...(address !== undefined && { address }),
    ...(port !== undefined && { port }),
  }
}
