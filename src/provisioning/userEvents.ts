/**
 * The audit events of changed database users and roles. A failed command is an event too: if its reply was lost, MongoDB
 * may have applied it.
 */
import { PROXY_ACTOR, type RecordAuditEvent } from '../audit/events.js'
import { Fault } from '../errors.js'
import type { RoleName } from '../users/collectionRole.js'
import { formatRole } from '../users/roles.js'

export type UserChange = {
  arn: string
  /** The database of the user. */
  database: string
  /** Roles after the change; of a dropped user, the roles that it had. */
  roles: readonly RoleName[]
  rolesBefore?: readonly RoleName[] | undefined
  reason?: string | undefined
}

/** Runs a command that changes a user. Records nothing if it resolves to false, because then it changed nothing. */
export function recordUserChange(
  record: RecordAuditEvent,
  type: 'user.created' | 'user.updated' | 'user.dropped',
  { arn, database, roles, rolesBefore, reason }: UserChange,
  run: () => Promise<boolean>,
): Promise<boolean> {
  const event = {
    actor: PROXY_ACTOR,
    arn,
    user: `${arn}@${database}`,
    roles: roles.map(formatRole),
    ...(rolesBefore && { rolesBefore: rolesBefore.map(formatRole) }),
  }
  return runAndRecord(run, failure => record(type, { ...event, ...(reason && { reason }), ...failure }))
}

/** The same for a role of this fleet. */
export function recordRoleChange(
  record: RecordAuditEvent,
  type: 'role.created' | 'role.dropped',
  role: RoleName,
  run: () => Promise<boolean>,
): Promise<boolean> {
  return runAndRecord(run, failure => record(type, { actor: PROXY_ACTOR, role: formatRole(role), ...failure }))
}

type Failure = { outcome: 'failed'; reason: string; code?: number | undefined }

async function runAndRecord(
  run: () => Promise<boolean>,
  record: (failure: Failure | undefined) => void,
): Promise<boolean> {
  try {
    const hasChanged = await run()
    if (hasChanged) record(undefined)
    return hasChanged
  } catch (thrown) {
    const fault = Fault.from(thrown)
    const code = Number(fault.data('provision/failed')?.code)
    record({ outcome: 'failed', reason: fault.message, ...(Number.isInteger(code) && { code }) })
    throw thrown
  }
}
