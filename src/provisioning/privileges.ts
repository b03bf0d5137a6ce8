/**
 * What the user of `upstream.admin` needs, feature by feature, and as the command that a DBA runs. Nothing less works and
 * nothing more is used: a test takes each of them away and sees its feature fail.
 *
 * https://www.mongodb.com/docs/manual/reference/privilege-actions/
 */
import type { Document } from 'bson'

export type Resource = { cluster: true } | { db: string; collection: string }
export type Privilege = { resource: Resource; actions: readonly string[] }

const cluster: Resource = { cluster: true }
/** Every database; collections of the system are not meant by it. */
const anywhere: Resource = { db: '', collection: '' }

/** `database`: provision.database. */
const privileges = (database: string) => ({
  'LDAP guard': [{ resource: cluster, actions: ['getCmdLineOpts', 'getParameter'] }],
  directory: [{ resource: { db: 'admin', collection: 'system.users' }, actions: ['find'] }],
  provisioning: [
    {
      resource: { db: database, collection: '' },
      actions: ['viewUser', 'createUser', 'changePassword', 'changeCustomData', 'dropUser'],
    },
    // Any role may have to be given, and updateUser wants to be able to take any.
    { resource: anywhere, actions: ['grantRole', 'revokeRole'] },
  ],
  'provision.clientSource': [{ resource: { db: database, collection: '' }, actions: ['setAuthenticationRestriction'] }],
  'roles for one collection': [
    { resource: { db: 'admin', collection: 'system.roles' }, actions: ['find'] },
    { resource: anywhere, actions: ['createRole', 'dropRole'] },
  ],
})

export type Feature = keyof ReturnType<typeof privileges>

/** Every feature with what it needs, in the order of the table. */
export function listFeatures(database: string): [Feature, Privilege[]][] {
  return Object.entries(privileges(database)) as [Feature, Privilege[]][]
}

/** What these privileges (as connectionStatus shows them) lack of those that are needed, each in words. */
export function listMissingPrivileges(held: readonly Document[], needed: readonly Privilege[]): string[] {
  return needed.flatMap(({ resource, actions }) =>
    actions
      .filter(action => !held.some(one => one.actions?.includes(action) && covers(one.resource ?? {}, resource)))
      .map(action => `${action} on ${shown(resource)}`),
  )
}

/** An empty name covers all of its kind, but no collection of the system. */
function covers(held: Document, asked: Resource): boolean {
  if (held.anyResource) return true
  if ('cluster' in asked) return held.cluster === true
  if (held.db !== '' && held.db !== asked.db) return false
  return held.collection === asked.collection || (held.collection === '' && !asked.collection.startsWith('system.'))
}

/** All of them. */
export function listPrivileges(database: string): Privilege[] {
  return listFeatures(database).flatMap(([, list]) => list)
}

export const ADMIN_ROLE_NAME = 'iamProxy'

/** For README: what a DBA runs in mongosh, with the feature of each privilege. */
export function formatCreateRoleScript(database = 'mongo_iam_proxy'): string {
  const lines = listFeatures(database).flatMap(([feature, list]) => [
    `    // ${feature}`,
    ...list.map(({ resource, actions }) => `    { resource: ${shown(resource)}, actions: ${shown(actions)} },`),
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

/** As people write it in mongosh. */
function shown(value: Resource | readonly string[]): string {
  if (Array.isArray(value)) return `[${value.map(text => `'${text}'`).join(', ')}]`
  const fields = Object.entries(value).map(([key, one]) => `${key}: ${one === true ? one : `'${one}'`}`)
  return `{ ${fields.join(', ')} }`
}
