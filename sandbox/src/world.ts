/** The world of the demo: an AWS account with a few principals, a MongoDB with a user for each, and a little data. */
import { randomBytes } from 'node:crypto'
import { administrator } from './administrator.js'
import { iam as iamOf } from './aws/iam.js'
import { type StsServer, stsServer } from './aws/sts.js'
import { type MongoServer, mongoServer } from './mongo/server.js'

const ACCOUNT = '123456789012'
/** What clients are offered, and sign for; the sandbox's STS answers in its place. */
export const STS_HOST = 'sts.us-east-1.amazonaws.com'

/** Who there is: `kind`, name, and what their database user may do. */
const cast = [
  { kind: 'user', name: 'alice', roles: ['readWrite@app'] },
  { kind: 'user', name: 'auditor', roles: ['read@app'] },
  { kind: 'role', name: 'orders-api', roles: ['read@app'] },
  { kind: 'role', name: 'operator', roles: ['readWriteAnyDatabase@admin', 'clusterMonitor@admin'] },
] as const

export type Principal = {
  arn: string
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  user: string
  roles: readonly string[]
}

export type SandboxOptions = {
  ldapAuthorization: boolean
  stsQuota?: number | undefined
  stsLatencyMS?: number | undefined
}

export type World = {
  sts: StsServer
  mongo: MongoServer
  /** `user:password` for upstream.admin. */
  administrator: string
  principals: Principal[]
  /** The password of each principal's database user, by its name. */
  passwords: ReadonlyMap<string, string>
  close(): Promise<void>
}

/** Makes it, on free ports of 127.0.0.1. */
export async function startWorld({ ldapAuthorization, stsQuota, stsLatencyMS }: SandboxOptions): Promise<World> {
  const iam = iamOf({ random: randomBytes, now: Date.now })
  const sts = await stsServer({
    iam,
    ...(stsQuota !== undefined && { quotaPerSecond: stsQuota }),
    ...(stsLatencyMS !== undefined && { latencyMS: stsLatencyMS }),
  })
  const mongo = await mongoServer({
    now: Date.now,
    random: randomBytes,
    root: { name: 'root', password: password() },
    ldapAuthorization,
  })
  const passwords = new Map<string, string>()
  const principals = cast.map(({ kind, name, roles }): Principal => {
    const secret = password()
    passwords.set(name, secret)
    mongo.createUser({ user: name, db: 'admin', password: secret, roles: roles.map(readRole) })
    if (kind === 'user') {
      const user = iam.createUser({ account: ACCOUNT, name })
      return { arn: user.arn, ...iam.createAccessKey(user), user: name, roles }
    }
    const role = iam.createRole({ account: ACCOUNT, name, trusts: [`arn:aws:iam::${ACCOUNT}:root`] })
    const { accessKeyId, secretAccessKey, sessionToken } = iam.assumeRole(role, 'demo', 12 * 3600)
    return { arn: role.arn, accessKeyId, secretAccessKey, sessionToken, user: name, roles }
  })
  return {
    sts,
    mongo,
    administrator: administrator(mongo, password()),
    principals,
    passwords,
    close: async () => void (await Promise.all([sts.close(), mongo.close()])),
  }
}

function readRole(text: string): { role: string; db: string } {
  const [role = '', db = ''] = text.split('@')
  return { role, db }
}

function password(): string {
  return randomBytes(18).toString('base64url')
}
