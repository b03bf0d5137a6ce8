/** Turns the difference between two reads of the directory into audit events: one event per user of `$external`. */
import { type AuditEvent, DATABASE_ACTOR } from '../audit/events.js'
import type { DirectoryEntry, DirectoryUsers } from '../users/directoryUsers.js'
import { formatRole } from '../users/roles.js'

export type DirectoryEvent = AuditEvent<'directory'>
type Entries = DirectoryUsers['entries']

/** `before` is undefined at the first read, whose users are `loaded`. A user that became invalid has a reason. */
export function describeDirectoryChanges(before: Entries | undefined, after: Entries): DirectoryEvent[] {
  const names = new Set([...(before?.keys() ?? []), ...after.keys()])
  return [...names].flatMap(name => {
    const [was, is] = [before?.get(name), after.get(name)]
    const entry = is ?? was
    if (!entry || JSON.stringify(was) === JSON.stringify(is)) return []
    const change = is ? (was ? 'changed' : before ? 'added' : 'loaded') : 'removed'
    const event: DirectoryEvent = {
      actor: DATABASE_ACTOR,
      change,
      directoryUser: name,
      roles: is ? listRoles(is) : [],
      ...(was && { rolesBefore: listRoles(was) }),
      ...(entry.arn !== undefined && { arn: entry.arn }),
      ...(was && was.restrictions !== is?.restrictions && { previous: describeRestrictions(was) }),
      ...(is && (is.restrictions !== was?.restrictions || !was) && { current: describeRestrictions(is) }),
      ...(is?.problem !== undefined && { reason: is.problem }),
    }
    return [event]
  })
}

const listRoles = ({ roles }: DirectoryEntry) => roles?.map(formatRole) ?? null

const describeRestrictions = ({ restrictions }: DirectoryEntry) => restrictions || 'no restrictions'
