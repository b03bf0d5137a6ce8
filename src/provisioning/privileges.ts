/**
 * The privileges that the user of `upstream.admin` needs, by feature, and the command that grants them. The list is
 * minimal: a test removes each privilege and sees its feature fail.
 *
 * https://www.mongodb.com/docs/manual/reference/privilege-actions/
 */
import type { Document } from 'bson'

export type Resource = { cluster: true } | { db: string; collection: string }
export type Privilege = { resource: Resource; actions: readonly string[] }

const cluster: Resource = { cluster: true }
/** Every database, but no system collections. */
const anyDatabase: Resource = { db: '', collection: '' }

/** `database`: provision.database. */
const privileges = (database: string) => ({
  'LDAP guard': [{ resource: cluster, actions: ['getCmdLineOpts', 'getParameter'] }],
  directory: [{ resource: { db: 'admin', collection: 'system.users' }, actions: ['find'] }],
  provisioning: [
    {
      resource: { db: database, collection: '' },
      actions: ['viewUser', 'createUser', 'changePassword', 'changeCustomData', 'dropUser'],
    },
    // A rule may name any role. Replacing roles with updateUser requires revokeRole as well.
    { resource: anyDatabase, actions: ['grantRole', 'revokeRole'] },
  ],
  'provision.clientSource': [{ resource: { db: database, collection: '' }, actions: ['setAuthenticationRestriction'] }],
  'roles for one collection': [
    { resource: { db: 'admin', collection: 'system.roles' }, actions: ['find'] },
    { resource: anyDatabase, actions: ['createRole', 'dropRole'] },
  ],
})

export type Feature = keyof ReturnType<typeof privileges>

/** Every feature with its privileges, in the order of the table. */
export function listFeatures(database: string): [Feature, Privilege[]][] {
  return Object.entries(privileges(database)) as [Feature, Privilege[]][]
}

/** The needed privileges that are not among those held (in the form of connectionStatus), each in words. */
export function listMissingPrivileges(held: readonly Document[], needed: readonly Privilege[]): string[] {
  return needed.flatMap(({ resource, actions }) =>
    actions
      .filter(action => !held.some(one => one.actions?.includes(action) && covers(one.resource ?? {}, resource)))
      .map(action => `${action} on ${format(resource)}`),
  )
}

/** An empty name in a resource covers all databases or collections, except system collections. */
function covers(held: Document, needed: Resource): boolean {
  if (held.anyResource) return true
  if ('cluster' in needed) return held.cluster === true
  if (held.db !== '' && held.db !== needed.db) return false
  return held.collection === needed.collection || (held.collection === '' && !needed.collection.startsWith('system.'))
}

/** The privileges of all features. */
export function listPrivileges(database: string): Privilege[] {
  return listFeatures(database).flatMap(([, list]) => list)
}

export const ADMIN_ROLE_NAME = 'iamProxy'

/** The mongosh script for a DBA, with the feature of each privilege. The documentation contains it. */
export function formatCreateRoleScript(database = 'mongo_iam_proxy'): string {
  const lines = listFeatures(database).flatMap(([feature, list]) => [
    `    // ${feature}`,
    ...list.map(({ resource, actions }) => `    { resource: ${format(resource)}, actions: ${format(actions)} },`),
  ])
  return [
    "db.getSiblingDB('admin').createRole({",
    `  role: '${ADMIN_ROLE_NAME}',`,
    '  roles: [],',
    '  privileges: [',
    ...lines,
    '  ],',
    '})',
    "db.getSiblingDB('admin').createUser({ user: 'iam-proxy', pwd: passwordPrompt(), roles: ['iamProxy'] })",
    '',
  ].join('\n')
}

/** The value as a literal of mongosh. */
function format(value: Resource | readonly string[]): string {
  if (Array.isArray(value)) return `[${value.map(text => `'${text}'`).join(', ')}]`
  const fields = Object.entries(value).map(([key, field]) => `${key}: ${field === true ? field : `'${field}'`}`)
  return `{ ${fields.join(', ')} }`
}
