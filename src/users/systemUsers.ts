/**
 * Reads the `$external` users from admin.system.users, with read concern majority and without their credentials.
 *
 * Pages start after the last name of the page before, so no cursor stays open: the driver runs each command in a session
 * of its own, and a cursor belongs to the session that opened it.
 */
import { calculateObjectSize, type Document } from 'bson'
import { Fault } from '../errors.js'
import { hasSystemUsers } from '../upstream/edition.js'
import { assertOk } from '../upstream/reply.js'
import { buildPrincipalFilter, createUnreadableFault } from './directoryUsers.js'

/** Both functions throw `users/unreadable`, `upstream/authentication-failed`, and what `runCommand` throws. */
export type ExternalUsers = {
  readAll(): Promise<Document[]>
  /** The users that are this principal (its canonical ARN), in every spelling. */
  readPrincipal(canonical: string): Promise<Document[]>
}

const PAGE_USERS = 1_000
const MAX_USERS = 100_000
/** A page of at least this size may have been cut short by the maximum size of a reply. */
const FULL_PAGE_BYTES = 8_000_000
const MAX_BYTES = 64_000_000

/** `runCommand` runs a command on the database admin and returns the reply, `ok: 0` or not. */
export function createExternalUsers(runCommand: (command: Document) => Promise<Document>): ExternalUsers {
  const find = async (filter: Document): Promise<Document[]> => {
    const command = {
      find: 'system.users',
      filter,
      sort: { user: 1 },
      limit: PAGE_USERS,
      batchSize: PAGE_USERS,
      singleBatch: true,
      projection: { credentials: 0, customData: 0 },
      readConcern: { level: 'majority' },
    }
    const { cursor } = assertOk(await runCommand(command), 'upstream.admin')
    const batch: unknown = cursor?.firstBatch
    if (!Array.isArray(batch)) throw createUnreadableFault('the reply to find has no firstBatch')
    return batch
  }
  return {
    async readAll() {
      await assertHasSystemUsers(runCommand)
      const users: Document[] = []
      let totalBytes = 0
      for (;;) {
        const lastName: unknown = users.at(-1)?.user
        const page = await find({ db: '$external', ...(lastName !== undefined && { user: { $gt: lastName } }) })
        users.push(...page)
        if (users.length > MAX_USERS) throw createUnreadableFault(`$external has more than ${MAX_USERS} users`)
        const pageBytes = calculateObjectSize(page)
        totalBytes += pageBytes
        if (totalBytes > MAX_BYTES)
          throw createUnreadableFault(`the users of $external have more than ${MAX_BYTES} bytes`)
        const isFull = page.length >= PAGE_USERS || pageBytes >= FULL_PAGE_BYTES
        if (page.length === 0 || !isFull) return users
      }
    },
    readPrincipal: canonical => find(buildPrincipalFilter(canonical)),
  }
}

async function assertHasSystemUsers(runCommand: (command: Document) => Promise<Document>): Promise<void> {
  const buildInfo = await runCommand({ buildInfo: 1 })
  if (!hasSystemUsers(buildInfo))
    throw createUnreadableFault('the upstream is FerretDB 2, which has no $external users')
}

/** Describes why the users could not be read, for the log. Includes what the server said. */
export function describeReadFailure(thrown: unknown): string {
  const fault = Fault.from(thrown)
  const unreadable = fault.data('users/unreadable')
  if (unreadable) return unreadable.why
  const { code, codeName, errmsg } = fault.data('upstream/authentication-failed', 'upstream/unreachable') ?? {}
  if (code === 13) return 'the user of upstream.admin lacks find on admin.system.users'
  const reply = [code, codeName, errmsg].filter(part => part !== undefined).join(' ')
  return reply === '' ? fault.message : `${fault.message} (${reply})`
}
