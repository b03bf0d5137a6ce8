/**
 * An IAM: accounts' users and roles, their access keys, the sessions that were opened, and the issuers of OpenID Connect
 * that are believed. Only state; who may do what is asked by the actions of STS.
 *
 *     const aws = iam({ random: randomBytes, now: Date.now })
 *     const alice = aws.createUser({ account: '123456789012', name: 'alice' })
 *     const key = aws.createAccessKey(alice)
 *     const orders = aws.createRole({ account: '123456789012', name: 'orders-api', trusts: [alice.arn] })
 *     const session = aws.assumeRole(orders, 'pod-7')
 *
 * It is deterministic where `random` is.
 */
import { SandboxError } from '../errors.js'
import { createAccessKeyId, createUniqueId, type Random } from './accessKey.js'
import {
  createProvider,
  type OidcProvider,
  type OidcProviderOptions,
  toProviderArn,
  type WebIdentityTrust,
} from './provider.js'
import type { Partition } from './region.js'

/** Whom keys are given to. `arn` is the IAM one, path included; a root has its account as name and id. */
export type Principal = {
  kind: 'user' | 'role' | 'root'
  partition: Partition
  account: string
  path: string
  name: string
  id: string
  arn: string
}
/**
 * `trusts`: ARNs that may assume it: of users, roles, role sessions, or a root for its whole account. `webIdentities`: whom
 * else, by the word of a provider.
 */
export type Role = Principal & {
  kind: 'role'
  trusts: readonly string[]
  webIdentities: readonly WebIdentityTrust[]
  maxSessionSeconds: number
}

/** What a client is configured with, in the shape that the AWS SDK takes. */
export type Credentials = { accessKeyId: string; secretAccessKey: string }
export type SessionCredentials = Credentials & { sessionToken: string; expiration: Date }

/**
 * Who signs with a key, in the words of GetCallerIdentity. `issuer` is the user, role or root behind it, `temporary` says
 * that the key is a session's.
 */
export type Caller = { arn: string; userId: string; account: string; issuer: Principal; temporary: boolean }
/** A key as STS looks it up. Sessions have a token and an expiration, in milliseconds since 1970. */
export type Key = Credentials & { caller: Caller; active: boolean; session?: { token: string; expiration: number } }

type Naming = { account: string; name: string; path?: string; partition?: Partition }
export type Iam = ReturnType<typeof createIam>

/** The longest-lived sessions of the sandbox: beyond that many the oldest are forgotten. */
const SESSIONS = 100_000
const HOUR = 3600

/** `now` is in milliseconds. Each function throws `invalid` for what AWS would not have created. */
export function createIam({ random, now }: { random: Random; now: () => number }) {
  const principals = new Map<string, Principal>()
  const providers = new Map<string, OidcProvider>()
  const longTerm = new Map<string, Key>()
  const sessions = new Map<string, Key>()

  function add<P extends Principal>(principal: P): P {
    const slot = toPrincipalKey(principal)
    if (principals.has(slot)) throw new SandboxError('invalid', `${principal.arn} exists`)
    principals.set(slot, principal)
    return principal
  }

  function principal<K extends 'user' | 'role'>(kind: K, naming: Naming): Principal & { kind: K } {
    const { account, name, path = '/', partition = 'aws' } = naming
    if (!/^\d{12}$/.test(account) || !/^[\w+=,.@-]{1,64}$/.test(name) || !/^\/([!-~]{1,510}\/)?$/.test(path)) {
      throw new SandboxError('invalid', `not a name in IAM: ${JSON.stringify({ account, name, path })}`)
    }
    const id = createUniqueId(kind === 'user' ? 'AIDA' : 'AROA', random)
    return { kind, partition, account, path, name, id, arn: `arn:${partition}:iam::${account}:${kind}${path}${name}` }
  }

  function open(caller: Caller, seconds: number): SessionCredentials {
    const credentials = { accessKeyId: createAccessKeyId('ASIA', caller.account, random), secretAccessKey: secret() }
    const session = { token: random(291).toString('base64'), expiration: now() + seconds * 1000 }
    sessions.set(credentials.accessKeyId, { ...credentials, caller, active: true, session })
    for (const oldest of sessions.keys()) {
      if (sessions.size <= SESSIONS) break
      sessions.delete(oldest)
    }
    return { ...credentials, sessionToken: session.token, expiration: new Date(session.expiration) }
  }

  const secret = () => random(30).toString('base64')

  return {
    createUser: (naming: Naming) => add(principal('user', naming)),

    createRole: (naming: Naming & { trusts?: readonly string[]; maxSessionSeconds?: number }): Role =>
      add({
        ...principal('role', naming),
        trusts: naming.trusts ?? [],
        webIdentities: [],
        maxSessionSeconds: naming.maxSessionSeconds ?? HOUR,
      }),

    /** From now on that subject may assume the role, too. */
    trustWebIdentity(role: Role, trust: WebIdentityTrust): void {
      role.webIdentities = [...role.webIdentities, trust]
    },

    /** Has an account believe an issuer. */
    createProvider(naming: OidcProviderOptions): OidcProvider {
      const provider = createProvider(naming)
      if (providers.has(provider.arn)) throw new SandboxError('invalid', `${provider.arn} exists`)
      providers.set(provider.arn, provider)
      return provider
    },

    provider: (account: string, issuer: string, partition: Partition = 'aws'): OidcProvider | undefined =>
      providers.get(toProviderArn(partition, account, issuer)),

    /** The account itself; asked again, the same. */
    root(account: string, partition: Partition = 'aws'): Principal {
      const arn = `arn:${partition}:iam::${account}:root`
      const root: Principal = { kind: 'root', partition, account, path: '', name: account, id: account, arn }
      return principals.get(toPrincipalKey(root)) ?? add(root)
    },

    /** A key of a user or a root that works until it is deactivated or its owner deleted. */
    createAccessKey(owner: Principal): Credentials {
      if (owner.kind === 'role') throw new SandboxError('invalid', 'roles have sessions, no keys of their own')
      const credentials = { accessKeyId: createAccessKeyId('AKIA', owner.account, random), secretAccessKey: secret() }
      longTerm.set(credentials.accessKeyId, { ...credentials, caller: toCaller(owner, false), active: true })
      return { ...credentials }
    },

    /** A session of a role, whoever asks: trust is the action's business. A path is not part of its ARN. */
    assumeRole(role: Role, sessionName: string, seconds = HOUR): SessionCredentials & { caller: Caller } {
      const { account, partition, name, id } = role
      const arn = `arn:${partition}:sts::${account}:assumed-role/${name}/${sessionName}`
      const caller = { arn, userId: `${id}:${sessionName}`, account, issuer: role, temporary: true }
      return { ...open(caller, seconds), caller }
    },

    /** A session of a user, who keeps name and id in it. */
    sessionOf: (user: Principal, seconds = 12 * HOUR): SessionCredentials => open(toCaller(user, true), seconds),

    /** A session for somebody whom a user vouches for. */
    federate(user: Principal, name: string, seconds = 12 * HOUR): SessionCredentials {
      const { account, partition } = user
      const arn = `arn:${partition}:sts::${account}:federated-user/${name}`
      return open({ arn, userId: `${account}:${name}`, account, issuer: user, temporary: true }, seconds)
    },

    deactivateKey(id: string): void {
      const key = longTerm.get(id)
      if (!key) throw new SandboxError('invalid', `no key ${id}`)
      key.active = false
    },

    deleteRole: (role: Role) => principals.delete(toPrincipalKey(role)),
    deleteUser: (user: Principal) => principals.delete(toPrincipalKey(user)),

    /** The key of that id, active or not. */
    key: (id: string): Key | undefined => longTerm.get(id) ?? sessions.get(id),

    /** True while the very user or role exists; a new one of the same name is another. */
    exists: (issuer: Principal): boolean => principals.get(toPrincipalKey(issuer)) === issuer,

    role(arn: string): Role | undefined {
      for (const found of principals.values()) if (found.arn === arn && isRole(found)) return found
      return undefined
    },
  }
}

/** Names are unique in their account, whatever their case and path. */
function toPrincipalKey({ kind, partition, account, name }: Principal): string {
  return `${kind} ${partition} ${account} ${name.toLowerCase()}`
}

function toCaller(issuer: Principal, temporary: boolean): Caller {
  return { arn: issuer.arn, userId: issuer.id, account: issuer.account, issuer, temporary }
}

function isRole(principal: Principal): principal is Role {
  return principal.kind === 'role'
}
