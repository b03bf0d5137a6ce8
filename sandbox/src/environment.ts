/**
 * What `startSandbox` starts: an AWS account with a few principals, a MongoDB with their database users, and the user
 * that the proxy itself needs.
 */
import { randomBytes } from 'node:crypto'
import { createAdministrator } from './administrator.js'
import { type Iam, createIam as iamOf } from './aws/iam.js'
import { type StsServer, startSts } from './aws/sts.js'
import { startReplicaSet } from './mongo/replicaSet.js'
import { type MongoOptions, type RoleDefinition, startMongoServer, type UserDefinition } from './mongo/server.js'

export type SandboxOptions = {
  /** MongoDB is a replica set of three members. A new primary is elected one second after the old one stepped down. */
  replicaSet?: boolean
  /** Adds two IAM users: one has a user in `$external`, the other has none yet. */
  directory?: boolean
  /** MongoDB reports LDAP authorization as an Enterprise server does. */
  ldapAuthorization?: boolean
  /** Calls per second that STS accepts from one account; it throttles the others. Default: unlimited. */
  stsQuota?: number | undefined
  /** Delay of each answer of STS in ms. */
  stsLatencyMS?: number | undefined
}

export type Principal = {
  arn: string
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  /** The database user. */
  user: string
  /** The roles of that user, `role@database`. */
  roles: readonly string[]
}

export type Mongo = {
  /** Logs in as root. */
  uri: string
  /** `host:port` of each server. */
  hosts: readonly string[]
  /** The name of the replica set; undefined for a standalone server. */
  replicaSet: string | undefined
}

export type Environment = {
  sts: StsServer
  mongo: Mongo
  administrator: string
  principals: readonly Principal[]
  /** IAM users without a rule. A user in `$external` decides about them. */
  directoryPrincipals: readonly Principal[]
  passwords: ReadonlyMap<string, string>
  close(): Promise<void>
}

const ACCOUNT = '123456789012'
/** The host that clients sign for. The sandbox's STS answers in its place. */
export const STS_HOST = 'sts.us-east-1.amazonaws.com'
const ELECTION_MS = 1_000

const PRINCIPALS = [
  { kind: 'user', name: 'alice', roles: ['readWrite@app'] },
  { kind: 'user', name: 'auditor', roles: ['read@app'] },
  { kind: 'role', name: 'orders-api', roles: ['read@app'] },
  { kind: 'role', name: 'operator', roles: ['readWriteAnyDatabase@admin', 'clusterMonitor@admin'] },
] as const
const DIRECTORY_PRINCIPALS = [
  { name: 'dora', roles: ['readWrite@app'] },
  { name: 'newcomer', roles: undefined },
] as const

/** Starts everything on free ports of 127.0.0.1. */
export async function startEnvironment(options: SandboxOptions): Promise<Environment> {
  const { stsQuota, stsLatencyMS } = options
  const iam = iamOf({ random: randomBytes, now: Date.now })
  const sts = await startSts({
    iam,
    ...(stsQuota !== undefined && { quotaPerSecond: stsQuota }),
    ...(stsLatencyMS !== undefined && { latencyMS: stsLatencyMS }),
  })
  const mongo = await startMongo(options)
  const passwords = new Map<string, string>()
  return {
    sts,
    mongo,
    administrator: createAdministrator(mongo, randomPassword()),
    principals: createPrincipals(iam, mongo, passwords),
    directoryPrincipals: options.directory ? createDirectoryPrincipals(iam, mongo) : [],
    passwords,
    close: async () => void (await Promise.all([sts.close(), mongo.close()])),
  }
}

type StartedMongo = Mongo & {
  createUser(user: UserDefinition): void
  createRole(role: RoleDefinition): void
  close(): Promise<void>
}

async function startMongo({ replicaSet, ldapAuthorization = false }: SandboxOptions): Promise<StartedMongo> {
  const root = { name: 'root', password: randomPassword() }
  const options: MongoOptions = { now: Date.now, random: randomBytes, root, ldapAuthorization }
  if (!replicaSet) {
    const server = await startMongoServer(options)
    return { ...server, hosts: [`127.0.0.1:${server.port}`], replicaSet: undefined }
  }
  const set = await startReplicaSet({ ...options, members: 3, electionMS: ELECTION_MS })
  return {
    uri: set.uri(),
    hosts: set.members().map(({ host }) => host),
    replicaSet: set.name,
    createUser: user => set.createUser(user),
    createRole: role => set.createRole(role),
    close: () => set.close(),
  }
}

function createPrincipals(iam: Iam, mongo: StartedMongo, passwords: Map<string, string>): Principal[] {
  return PRINCIPALS.map(({ kind, name, roles }): Principal => {
    const password = randomPassword()
    passwords.set(name, password)
    mongo.createUser({ user: name, db: 'admin', password, roles: roles.map(parseRole) })
    if (kind === 'user') {
      const user = iam.createUser({ account: ACCOUNT, name })
      return { arn: user.arn, ...iam.createAccessKey(user), user: name, roles }
    }
    const role = iam.createRole({ account: ACCOUNT, name, trusts: [`arn:aws:iam::${ACCOUNT}:root`] })
    const { accessKeyId, secretAccessKey, sessionToken } = iam.assumeRole(role, 'demo', 12 * 3600)
    return { arn: role.arn, accessKeyId, secretAccessKey, sessionToken, user: name, roles }
  })
}

function createDirectoryPrincipals(iam: Iam, mongo: StartedMongo): Principal[] {
  return DIRECTORY_PRINCIPALS.map(({ name, roles }) => {
    const user = iam.createUser({ account: ACCOUNT, name })
    if (roles) mongo.createUser({ user: user.arn, db: '$external', roles: roles.map(parseRole) })
    return { arn: user.arn, ...iam.createAccessKey(user), user: user.arn, roles: roles ?? [] }
  })
}

function parseRole(text: string): { role: string; db: string } {
  const [role = '', db = ''] = text.split('@')
  return { role, db }
}

function randomPassword(): string {
  return randomBytes(18).toString('base64url')
}
