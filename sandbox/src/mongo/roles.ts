/**
 * The built-in roles, and checks whether privileges allow an action.
 * https://www.mongodb.com/docs/manual/reference/built-in-roles/
 */
import type { Document } from 'bson'

/** `collection: ''` means all collections except system collections, `db: ''` all databases. */
export type Resource = { db: string; collection: string } | { cluster: true } | { anyResource: true }
export type Privilege = { resource: Resource; actions: ReadonlySet<string> }
export type RoleName = { role: string; db: string }

const words = (text: string): readonly string[] => text.split(' ')

const reads = words('changeStream collStats dbHash dbStats find killCursors listCollections listIndexes planCacheRead')
const writes = words(
  'convertToCapped createCollection createIndex createSearchIndexes dropCollection dropIndex dropSearchIndex insert ' +
    'listSearchIndexes remove renameCollectionSameDB update updateSearchIndex',
)
const administers = words(
  'analyze bypassDocumentValidation collMod collStats compact convertToCapped createCollection createIndex dbHash ' +
    'dbStats dropCollection dropDatabase dropIndex enableProfiler indexStats killCursors listCollections listIndexes ' +
    'planCacheIndexFilter planCacheRead planCacheWrite reIndex renameCollectionSameDB storageDetails validate',
)
const grants = words(
  'changeCustomData changePassword createRole createUser dropRole dropUser grantRole revokeRole ' +
    'setAuthenticationRestriction viewRole viewUser',
)
const watches = words(
  'checkFreeMonitoringStatus connPoolStats getClusterParameter getCmdLineOpts getDefaultRWConcern getLog getParameter ' +
    'getShardMap hostInfo inprog listDatabases listSessions listShards netstat replSetGetConfig replSetGetStatus ' +
    'serverStatus setFreeMonitoring shardingState top',
)
const manages = words(
  'addShard appendOplogNote applicationMessage cleanupOrphaned flushRouterConfig getDefaultRWConcern ' +
    'getClusterParameter listSessions listShards removeShard replSetConfigure replSetGetConfig replSetGetStatus ' +
    'replSetStateChange resync setClusterParameter setDefaultRWConcern setFeatureCompatibilityVersion ' +
    'setFreeMonitoring',
)
const hosts = words(
  'applicationMessage closeAllDatabases connPoolSync dropConnections flushRouterConfig fsync getDefaultRWConcern ' +
    'invalidateUserCache killAnyCursor killAnySession killCursors killop logRotate oidReset rotateCertificates ' +
    'setDefaultRWConcern setParameter shutdown touch unlock',
)
const shards = words(
  'analyzeShardKey clearJumboFlag enableSharding moveChunk refineCollectionShardKey reshardCollection splitChunk ' +
    'splitVector checkMetadataConsistency',
)

const cluster = (...actions: readonly (readonly string[])[]): Privilege => ({
  resource: { cluster: true },
  actions: new Set(actions.flat()),
})
const on = (db: string, collection: string, ...actions: readonly (readonly string[])[]): Privilege => ({
  resource: { db, collection },
  actions: new Set(actions.flat()),
})
const system = (...actions: readonly (readonly string[])[]): Privilege[] =>
  ['system.users', 'system.roles', 'system.version'].map(name => on('admin', name, ...actions))
const statistics = words('collStats dbStats getDatabaseVersion indexStats')
const monitoring = [
  cluster(watches, ['listDatabases']),
  on('', '', statistics),
  ...['config', 'local'].flatMap(db => [on(db, '', statistics, reads), on(db, 'system.js', reads)]),
  on('local', 'system.replset', ['find']),
  on('', 'system.profile', ['find']),
]

/** Roles of every database. */
const ofDatabase: Record<string, (db: string) => Privilege[]> = {
  read: db => [on(db, '', reads), on(db, 'system.js', reads)],
  readWrite: db => [on(db, '', reads, writes), on(db, 'system.js', reads, writes)],
  dbAdmin: db => [on(db, '', administers), on(db, 'system.profile', reads, administers)],
  userAdmin: db => [on(db, '', grants)],
  dbOwner: db => [
    on(db, '', reads, writes, administers, grants),
    on(db, 'system.js', reads, writes),
    on(db, 'system.profile', reads, administers),
  ],
  enableSharding: db => [on(db, '', words('analyzeShardKey enableSharding refineCollectionShardKey'))],
}

const listing = cluster(['listDatabases'])

/** Roles of the database `admin` only. */
const ofAdmin: Record<string, () => Privilege[]> = {
  readAnyDatabase: () => [on('', '', reads), listing],
  readWriteAnyDatabase: () => [on('', '', reads, writes), listing],
  dbAdminAnyDatabase: () => [on('', '', administers), listing],
  userAdminAnyDatabase: () => [
    on('', '', grants),
    cluster(words('authSchemaUpgrade invalidateUserCache listDatabases viewUser')),
    ...system(words('collStats dbHash dbStats find killCursors planCacheRead')),
  ],
  clusterMonitor: () => monitoring,
  clusterManager: () => [cluster(manages), on('', '', shards)],
  hostManager: () => [cluster(hosts), on('', '', words('killCursors'))],
  clusterAdmin: () => [
    ...monitoring,
    cluster(manages, hosts),
    on('', '', shards, words('dropDatabase killCursors enableSharding')),
  ],
  backup: () => [
    on('', '', words('collStats dbStats find listCollections listIndexes')),
    cluster(words('appendOplogNote getParameter listDatabases serverStatus setUserWriteBlockMode')),
    ...system(['find']),
  ],
  restore: () => [
    on('', '', words('bypassDocumentValidation collMod convertToCapped createCollection createIndex dropCollection')),
    on('', '', words('dropIndex insert listCollections')),
    on('', '', grants),
    cluster(words('getParameter')),
    ...system(words('find insert remove update')),
  ],
  root: () => [
    on('', '', reads, writes, administers, grants, shards, words('indexStats')),
    cluster(watches, manages, hosts, words('listDatabases invalidateUserCache authSchemaUpgrade viewUser')),
    ...system(reads, words('collStats')),
    on('', 'system.profile', reads, administers),
    on('', 'system.js', reads, writes),
  ],
  __system: () => [{ resource: { anyResource: true }, actions: EVERYTHING }],
}

/** Contains every action. */
const EVERYTHING: ReadonlySet<string> = Object.assign(new Set(['anyAction']), { has: () => true })

/** The privileges of a built-in role; undefined if the database has no such role. */
export function findBuiltInRole({ role, db }: RoleName): Privilege[] | undefined {
  if (Object.hasOwn(ofDatabase, role)) return ofDatabase[role]?.(db)
  return db === 'admin' && Object.hasOwn(ofAdmin, role) ? ofAdmin[role]?.() : undefined
}

/** The names of all built-in roles of a database. */
export function listBuiltInRoles(db: string): string[] {
  return [...Object.keys(ofDatabase), ...(db === 'admin' ? Object.keys(ofAdmin) : [])]
}

export function isAllowed(privileges: readonly Privilege[], action: string, resource: Resource): boolean {
  return privileges.some(privilege => privilege.actions.has(action) && covers(privilege.resource, resource))
}

/** Whether any privilege allows the action somewhere in this database. */
export function isAllowedInDatabase(privileges: readonly Privilege[], action: string, db: string): boolean {
  return privileges.some(
    ({ resource, actions }) =>
      actions.has(action) && ('anyResource' in resource || ('db' in resource && (!resource.db || resource.db === db))),
  )
}

function covers(held: Resource, requested: Resource): boolean {
  if ('anyResource' in held) return true
  if ('cluster' in held || 'cluster' in requested) return 'cluster' in held && 'cluster' in requested
  if ('anyResource' in requested) return false
  if (held.db !== '' && held.db !== requested.db) return false
  return (
    held.collection === requested.collection || (held.collection === '' && !requested.collection.startsWith('system.'))
  )
}

/** The form in which privileges are stored and returned. */
export function toPrivilegeDocument({ resource, actions }: Privilege): Document {
  return { resource, actions: [...actions].sort() }
}

export function parsePrivilege({ resource, actions }: Document): Privilege {
  return { resource, actions: new Set(actions) }
}
