import { randomBytes } from 'node:crypto'
import type { Document } from 'bson'
import t from 'tap'
import { errorCodeOf, startMongo } from '../../../test/support/mongo.js'

type Privilege = [action: string, db: string, collection?: string]

/** Commands about users and roles, with the privileges that the manual documents for each. */
const rows: [what: string, db: string, command: Document, needs: Privilege[]][] = [
  ['a user without roles', 'app', { createUser: 'x', pwd: 'x', roles: [] }, [['createUser', 'app']]],
  ['an external user', '$external', { createUser: 'x', roles: [] }, [['createUser', '$external']]],
  [
    'a user with roles and restrictions',
    'app',
    {
      createUser: 'x',
      pwd: 'x',
      roles: ['read', { role: 'read', db: 'other' }],
      customData: { a: 1 },
      authenticationRestrictions: [{ clientSource: ['127.0.0.1'] }],
    },
    [
      ['createUser', 'app'],
      ['grantRole', 'app'],
      ['grantRole', 'other'],
      ['setAuthenticationRestriction', 'app'],
    ],
  ],
  ['a password', 'app', { updateUser: 'u', pwd: 'x' }, [['changePassword', 'app']]],
  ['custom data', 'app', { updateUser: 'u', customData: {} }, [['changeCustomData', 'app']]],
  [
    'restrictions',
    'app',
    { updateUser: 'u', authenticationRestrictions: [] },
    [['setAuthenticationRestriction', 'app']],
  ],
  [
    'all roles anew, which takes whatever it was',
    'app',
    { updateUser: 'u', roles: ['readWrite'] },
    [
      ['grantRole', 'app'],
      ['revokeRole', ''],
    ],
  ],
  ['one role more', 'app', { grantRolesToUser: 'u', roles: ['readWrite'] }, [['grantRole', 'app']]],
  [
    'a role of elsewhere',
    'app',
    { grantRolesToUser: 'u', roles: [{ role: 'read', db: 'other' }] },
    [['grantRole', 'other']],
  ],
  ['one role less', 'app', { revokeRolesFromUser: 'u', roles: ['read'] }, [['revokeRole', 'app']]],
  ['no user', 'app', { dropUser: 'u' }, [['dropUser', 'app']]],
  ['a look at one', 'app', { usersInfo: 'u', showAuthenticationRestrictions: true }, [['viewUser', 'app']]],
  ['a look at a database', 'app', { usersInfo: 1 }, [['viewUser', 'app']]],
  [
    'a role with privileges',
    'app',
    { createRole: 'r', roles: ['read'], privileges: [{ resource: { db: 'app', collection: 'c' }, actions: ['find'] }] },
    [
      ['createRole', 'app'],
      ['grantRole', 'app'],
    ],
  ],
  [
    'a role for the cluster',
    'admin',
    { createRole: 'r', roles: [], privileges: [{ resource: { cluster: true }, actions: ['inprog'] }] },
    [
      ['createRole', 'admin'],
      ['grantRole', 'admin'],
    ],
  ],
  ['another list of roles in a role', 'app', { updateRole: 'made', roles: [] }, [['revokeRole', '']]],
  ['no role', 'app', { dropRole: 'made' }, [['dropRole', 'app']]],
  ['a look at a role', 'app', { rolesInfo: 'made' }, [['viewRole', 'app']]],
  ['the stored users', 'admin', { find: 'system.users' }, [['find', 'admin', 'system.users']]],
  ['the stored roles', 'admin', { find: 'system.roles' }, [['find', 'admin', 'system.roles']]],
]

t.test('each command about users and roles requires exactly these privileges', async t => {
  for (const [what, db, command, needs] of rows) {
    const { client, as } = await startMongo(t)
    await client.db('app').command({ createUser: 'u', pwd: 'x', roles: ['read'] })
    await client.db('app').command({ createRole: 'made', roles: [], privileges: [] })
    const may = async (held: Privilege[]) => {
      const user = randomBytes(4).toString('hex')
      const privileges = held.map(([action, db, collection = '']) => ({
        resource: { db, collection },
        actions: [action],
      }))
      await client.db('admin').command({ createRole: user, roles: [], privileges })
      await client.db('admin').command({ createUser: user, pwd: 'pw', roles: [user] })
      return errorCodeOf((await as(user, 'pw')).db(db).command(command))
    }
    for (const missing of needs) {
      const rest = needs.filter(need => need !== missing)
      t.equal(await may(rest), 13, `${what} without ${missing[0]}`)
    }
    t.equal(await may(needs), undefined, what)
  }
})

t.test('viewing users of all databases requires the cluster privilege of userAdminAnyDatabase', async t => {
  const { as, server } = await startMongo(t)
  for (const [role, code] of [
    ['userAdmin', 13],
    ['userAdminAnyDatabase', undefined],
  ] as const) {
    server.createUser({ user: role, password: 'pw', roles: [role] })
    const admin = (await as(role, 'pw')).db('admin')
    t.equal(await errorCodeOf(admin.command({ usersInfo: { forAllDBs: true } })), code, role)
  }
})

t.test("users see themselves and their roles; changing one's own password is a separate action", async t => {
  const { client, as } = await startMongo(t)
  const own = { resource: { db: 'app', collection: '' }, actions: ['changeOwnPassword', 'changeOwnCustomData'] }
  await client.db('app').command({ createRole: 'self', roles: [], privileges: [own] })
  await client.db('app').command({ createUser: 'u', pwd: 'pw', roles: ['self'] })
  await client.db('app').command({ createUser: 'v', pwd: 'pw', roles: [] })
  const [u, v] = await Promise.all(['u', 'v'].map(async name => (await as(name, 'pw', 'app')).db('app')))
  if (!u || !v) throw new Error('two are there')
  t.equal(await errorCodeOf(u.command({ usersInfo: 'u' })), undefined)
  t.equal(await errorCodeOf(u.command({ usersInfo: 'v' })), 13)
  t.equal(await errorCodeOf(u.command({ rolesInfo: 'self' })), undefined)
  t.equal(await errorCodeOf(u.command({ rolesInfo: 'read' })), 13)
  t.equal(await errorCodeOf(v.command({ updateUser: 'v', pwd: 'other' })), 13)
  t.equal(await errorCodeOf(u.command({ updateUser: 'v', pwd: 'other' })), 13)
  t.equal(await errorCodeOf(u.command({ updateUser: 'u', pwd: 'other', customData: { a: 1 } })), undefined)
})
