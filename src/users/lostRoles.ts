/**
 * Which roles a principal loses when its roles change.
 *
 *     readWrite@app ─▶ read@app          loses readWrite@app
 *     readWrite@app ─▶ readWrite@app.c   loses readWrite@app
 *     read@app      ─▶ readWrite@app     loses nothing
 *     read@app      ─▶ read@other        loses read@app
 *
 * The built-in roles that contain each other are a table of rights. Any other role, such as one that a DBA has defined, is a
 * right of its own. In doubt a role counts as lost.
 *
 * https://www.mongodb.com/docs/manual/reference/built-in-roles/
 */
import type { Role } from './match.js'

/** `db: ANY` means all databases that the roles for any database cover. */
type Right = { name: string; db: string; collection?: string | undefined }

const ANY = '*'
/** The roles for any database do not cover these. */
const INTERNAL_DATABASES: readonly string[] = ['local', 'config']

/** Roles of every database, with the rights that they consist of. */
const RIGHTS_OF_DATABASE: Record<string, readonly string[]> = {
  read: ['read'],
  readWrite: ['read', 'write'],
  dbOwner: ['read', 'write', 'dbAdmin', 'userAdmin'],
}

const CLUSTER_ADMIN = ['clusterManager', 'clusterMonitor', 'hostManager', 'clusterAdmin']

/** Roles of the database admin. `any`: rights on all databases. `cluster`: rights that belong to no database. */
const RIGHTS_OF_ADMIN: Record<string, { any?: readonly string[]; cluster?: readonly string[] }> = {
  readAnyDatabase: { any: ['read'] },
  readWriteAnyDatabase: { any: ['read', 'write'] },
  dbAdminAnyDatabase: { any: ['dbAdmin'] },
  userAdminAnyDatabase: { any: ['userAdmin'] },
  clusterAdmin: { cluster: CLUSTER_ADMIN },
  root: { any: ['read', 'write', 'dbAdmin', 'userAdmin'], cluster: [...CLUSTER_ADMIN, 'backup', 'restore'] },
}

/** The roles of `before` whose rights are not all among those of `after`. */
export function findLostRoles(before: readonly Role[], after: readonly Role[]): Role[] {
  const remaining = after.flatMap(listRights)
  const remains = (right: Right) => remaining.some(held => covers(held, right))
  return before.filter(role => !isSystem(after) && !listRights(role).every(remains))
}

/** The role __system may do everything. */
function isSystem(roles: readonly Role[]): boolean {
  return roles.some(({ role, db }) => role === '__system' && db === 'admin')
}

function listRights({ role, db, collection }: Role): Right[] {
  const ofAdmin = db === 'admin' && Object.hasOwn(RIGHTS_OF_ADMIN, role) ? RIGHTS_OF_ADMIN[role] : undefined
  if (ofAdmin) {
    const { any = [], cluster = [] } = ofAdmin
    return [...any.map(name => ({ name, db: ANY })), ...cluster.map(name => ({ name, db }))]
  }
  const names = Object.hasOwn(RIGHTS_OF_DATABASE, role) ? RIGHTS_OF_DATABASE[role] : undefined
  // The name of any other role may equal that of a right: dbAdmin and backup are both.
  return (names ?? [role]).map(name => ({ name, db, collection }))
}

function covers(held: Right, needed: Right): boolean {
  if (held.name !== needed.name) return false
  const coversDatabase = held.db === needed.db || (held.db === ANY && !INTERNAL_DATABASES.includes(needed.db))
  return coversDatabase && (held.collection === undefined || held.collection === needed.collection)
}
