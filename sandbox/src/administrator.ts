/** The user of `upstream.admin` in the sandbox: it has what the README says and nothing more, so that nothing runs as root. */
import { ADMIN_ROLE_NAME, listPrivileges } from '../../src/provisioning/privileges.js'
import type { NewRole, NewUser } from '../../src/sandbox/mongo/server.js'

const USER = 'iam-proxy'

/** Makes it. Gives what stands before the host in a connection string; the database is admin. */
export function administrator(
  mongo: { createRole(role: NewRole): void; createUser(user: NewUser): void },
  password: string,
): string {
  mongo.createRole({ role: ADMIN_ROLE_NAME, privileges: listPrivileges('mongo_iam_proxy') })
  mongo.createUser({ user: USER, password, roles: [ADMIN_ROLE_NAME] })
  return `${USER}:${encodeURIComponent(password)}`
}
