/**
 * The documents of the `$external` users, as the majority of the upstream has them, without their credentials.
 *
 * Each command of the driver has a session of its own, and a cursor belongs to the session that opened it; so pages are
 * asked for by name, in their order, and no cursor stays open.
 */
import { calculateObjectSize, type Document } from 'bson'
import { Fault } from '../errors.js'
import { assertOk } from '../upstream/reply.js'
import { buildPrincipalFilter, createUnreadableFault } from './directoryUsers.js'

/** Both throw `users/unreadable`, `upstream/authentication-failed`, and what `ask` throws. */
export type ExternalUsers = {
  readAll(): Promise<Document[]>
  /** Those that are this principal, by its canonical ARN, in every spelling. */
  readPrincipal(canonical: string): Promise<Document[]>
}

/** Users in one page, and in all. */
const PAGE = 1_000
const MOST = 100_000
/** A page of so many bytes may have been cut by the size of a reply; and those of all pages. */
const FULL = 8_000_000
const MOST_BYTES = 64_000_000

/** `ask` runs a command on the database admin and gives the reply, `ok: 0` or not. */
export function createExternalUsers(ask: (command: Document) => Promise<Document>): ExternalUsers {
  const find = async (filter: Document): Promise<Document[]> => {
    const command = {
      find: 'system.users',
      filter,
      sort: { user: 1 },
      limit: PAGE,
      batchSize: PAGE,
      singleBatch: true,
      projection: { credentials: 0, customData: 0 },
      readConcern: { level: 'majority' },
    }
    const { cursor } = assertOk(await ask(command), 'upstream.admin')
    const batch: unknown = cursor?.firstBatch
    if (!Array.isArray(batch)) throw createUnreadableFault('the upstream answered find without a batch')
    return batch
  }
  return {
    async readAll() {
      const all: Document[] = []
      let total = 0
      for (;;) {
        const last: unknown = all.at(-1)?.user
        const page = await find({ db: '$external', ...(last !== undefined && { user: { $gt: last } }) })
        all.push(...page)
        if (all.length > MOST) throw createUnreadableFault(`there are more than ${MOST} users in $external`)
        const bytes = calculateObjectSize(page)
        total += bytes
        if (total > MOST_BYTES) throw createUnreadableFault(`the users in $external are more than ${MOST_BYTES} bytes`)
        const cut = page.length >= PAGE || bytes >= FULL
        if (page.length === 0 || !cut) return all
      }
    },
    readPrincipal: canonical => find(buildPrincipalFilter(canonical)),
  }
}

/** For the log; the facts of the server's refusal are the most telling. */
export function describeReadFailure(thrown: unknown): string {
  const { kind, message, facts } = Fault.from(thrown)
  if (kind === 'users/unreadable') return String(facts.why)
  if (Number(facts.code) === 13) return 'the user of upstream.admin may not find in admin.system.users'
  const told = [facts.code, facts.codeName, facts.errmsg].filter(fact => fact !== undefined).join(' ')
  return told === '' ? message : `${message} (${told})`
}
