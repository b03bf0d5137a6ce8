/** Roles and database users as rules spell them: `readWrite@app`, `read@app.orders`, `alice@admin` (R22). */
import { COLLECTION_ROLE_NAMES } from './collectionRole.js'
import type { DatabaseUser, Role } from './match.js'

/** What MongoDB has in no name of a database; `$external` is a database of its own kind, without passwords. */
const DATABASE = /^[^/\\. "$*<>:|?\0@]{1,63}$/
/** The name of a role of one's own may have nearly anything in it; no control characters, and not our separator. */
const ROLE = /^[^@\p{C}]{1,128}$/u
/** Collections of the system are not what a role is cut down to. */
const COLLECTION = /^(?!system\.)[^$\0]{1,190}$/

/** The roles that may be cut down to a collection: the others mean more than collections. */
const CUT: ReadonlySet<string> = new Set(COLLECTION_ROLE_NAMES)

/** The role, or the sentence about what is wrong with it. */
export function parseRole(text: string): Role | string {
  const at = text.indexOf('@')
  if (at < 0) return `the role ${quote(text)} names no database; write ${quote(`${text}@database`)}`
  const role = text.slice(0, at)
  const place = text.slice(at + 1)
  const dot = place.indexOf('.')
  const db = dot < 0 ? place : place.slice(0, dot)
  if (!ROLE.test(role)) return `the role ${quote(text)} has no name; write role@database`
  if (!DATABASE.test(db)) return `the role ${quote(text)} is of a database ${quote(db)}, which cannot be`
  if (dot < 0) return { role, db }
  const collection = place.slice(dot + 1)
  if (!CUT.has(role)) return `the role ${quote(text)} names a collection, which only read and readWrite can have`
  if (!COLLECTION.test(collection)) return `the role ${quote(text)} is of a collection that cannot be`
  return { role, db, collection }
}

/** The role as rules spell it. */
export function formatRole({ role, db, collection }: Role): string {
  return `${role}@${db}${collection === undefined ? '' : `.${collection}`}`
}

/** The database user, of admin unless told, or the sentence about what is wrong with it. */
export function parseDatabaseUser(text: string): DatabaseUser | string {
  const at = text.lastIndexOf('@')
  const name = at < 0 ? text : text.slice(0, at)
  const db = at < 0 ? 'admin' : text.slice(at + 1)
  if (name === '' || name.includes('\0')) return `the user ${quote(text)} has no name; write name@database`
  if (db === '$external') return `the user ${quote(text)} has no password to log in with; name one of another database`
  if (DATABASE.test(db)) return { name, db }
  return `the user ${quote(text)} is of a database ${quote(db)}, which cannot be; write name@database`
}

/** Text of the file in a sentence: bounded, on one line. */
export function quote(text: string): string {
  const line = text.length > 200 ? `${text.slice(0, 200)}…` : text
  return `"${line.replace(/\p{C}/gu, '?')}"`
}
