/**
 * IAM: the users and roles of accounts, their access keys, open sessions, and trusted OpenID Connect providers. This file
 * holds state only; the STS actions decide who may do what.
 *
 *     const iam = createIam({ random: randomBytes, now: Date.now })
 *     const alice = iam.createUser({ account: '123456789012', name: 'alice' })
 *     const key = iam.createAccessKey(alice)
 *     const orders = iam.createRole({ account: '123456789012', name: 'orders-api', trusts: [alice.arn] })
 *     const session = iam.assumeRole(orders, 'pod-7')
 *
 * The results are deterministic if `random` is.
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

/** The owner of keys or sessions. `arn` is the IAM ARN with the path. The name and id of a root are its account. */
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
 * `trusts`: the ARNs that may assume the role: of users, roles, role sessions, or of a root for its whole account.
 * `webIdentities`: the subjects of providers that may assume it.
 */
export type Role = Principal & {
  kind: 'role'
  trusts: readonly string[]
  webIdentities: readonly WebIdentityTrust[]
  maxSessionSeconds: number
}

/** Credentials in the form of the AWS SDK. */
export type Credentials = { accessKeyId: string; secretAccessKey: string }
export type SessionCredentials = Credentials & { sessionToken: string; expiration: Date }

/**
 * The identity behind a key, with the fields of GetCallerIdentity. `issuer` is the user, role or root that the key or the
 * session belongs to. `temporary`: the key is that of a session.
 */
export type Caller = { arn: string; userId: string; account: string; issuer: Principal; temporary: boolean }
/** A key as STS looks it up. `expiration` is in milliseconds since 1970. */
export type Key = Credentials & { caller: Caller; active: boolean; session?: { token: string; expiration: number } }

type PrincipalOptions = { account: string; name: string; path?: string; partition?: Partition }
export type IamOptions = { random: Random /** Milliseconds since 1970. */; now: () => number }

/** The sandbox keeps this many sessions. Beyond it the oldest are dropped. */
const MAX_SESSIONS = 100_000
const HOUR = 3600

export function createIam(options: IamOptions): Iam {
  return new Iam(options)
}

/** Its methods throw `invalid` for what AWS would reject. */
export class Iam {
  readonly #random: Random
  readonly #now: () => number
  readonly #principals = new Map<string, Principal>()
  readonly #providers = new Map<string, OidcProvider>()
  readonly #longTermKeys = new Map<string, Key>()
  readonly #sessions = new Map<string, Key>()

  constructor({ random, now }: IamOptions) {
    this.#random = random
    this.#now = now
  }

  createUser(options: PrincipalOptions): Principal & { kind: 'user' } {
    return this.#add(this.#describe('user', options))
  }

  createRole(options: PrincipalOptions & { trusts?: readonly string[]; maxSessionSeconds?: number }): Role {
    const { trusts = [], maxSessionSeconds = HOUR } = options
    return this.#add({ ...this.#describe('role', options), trusts, webIdentities: [], maxSessionSeconds })
  }

  /** Lets that subject assume the role as well. */
  trustWebIdentity(role: Role, trust: WebIdentityTrust): void {
    role.webIdentities = [...role.webIdentities, trust]
  }

  /** Makes an account trust a provider. */
  createProvider(options: OidcProviderOptions): OidcProvider {
    const provider = createProvider(options)
    if (this.#providers.has(provider.arn)) throw new SandboxError('invalid', `${provider.arn} exists`)
    this.#providers.set(provider.arn, provider)
    return provider
  }

  provider(account: string, issuer: string, partition: Partition = 'aws'): OidcProvider | undefined {
    return this.#providers.get(toProviderArn(partition, account, issuer))
  }

  /** The root of the account. Every call returns the same one. */
  root(account: string, partition: Partition = 'aws'): Principal {
    const arn = `arn:${partition}:iam::${account}:root`
    const root: Principal = { kind: 'root', partition, account, path: '', name: account, id: account, arn }
    return this.#principals.get(toPrincipalKey(root)) ?? this.#add(root)
  }

  /** A key of a user or a root. It works until it is deactivated or its owner is deleted. */
  createAccessKey(owner: Principal): Credentials {
    if (owner.kind === 'role') throw new SandboxError('invalid', 'a role has sessions and no keys of its own')
    const credentials = this.#createCredentials('AKIA', owner.account)
    this.#longTermKeys.set(credentials.accessKeyId, { ...credentials, caller: toCaller(owner, false), active: true })
    return credentials
  }

  /** Opens a session of a role without checking trust, which the STS action does. The ARN does not contain the path. */
  assumeRole(role: Role, sessionName: string, seconds = HOUR): SessionCredentials & { caller: Caller } {
    const { account, partition, name, id } = role
    const arn = `arn:${partition}:sts::${account}:assumed-role/${name}/${sessionName}`
    const caller = { arn, userId: `${id}:${sessionName}`, account, issuer: role, temporary: true }
    return { ...this.#openSession(caller, seconds), caller }
  }

  /** Opens a session of a user, with the user's own ARN and id. */
  sessionOf(user: Principal, seconds = 12 * HOUR): SessionCredentials {
    return this.#openSession(toCaller(user, true), seconds)
  }

  /** Opens a session of a federated user. */
  federate(user: Principal, name: string, seconds = 12 * HOUR): SessionCredentials {
    const { account, partition } = user
    const arn = `arn:${partition}:sts::${account}:federated-user/${name}`
    return this.#openSession({ arn, userId: `${account}:${name}`, account, issuer: user, temporary: true }, seconds)
  }

  deactivateKey(id: string): void {
    const key = this.#longTermKeys.get(id)
    if (!key) throw new SandboxError('invalid', `no key ${id}`)
    key.active = false
  }

  deleteRole(role: Role): boolean {
    return this.#principals.delete(toPrincipalKey(role))
  }

  deleteUser(user: Principal): boolean {
    return this.#principals.delete(toPrincipalKey(user))
  }

  /** The key of that id, active or not. */
  key(id: string): Key | undefined {
    return this.#longTermKeys.get(id) ?? this.#sessions.get(id)
  }

  /** True until this user or role is deleted. A new one of the same name is a different principal. */
  exists(issuer: Principal): boolean {
    return this.#principals.get(toPrincipalKey(issuer)) === issuer
  }

  role(arn: string): Role | undefined {
    for (const found of this.#principals.values()) if (found.arn === arn && isRole(found)) return found
    return undefined
  }

  #add<P extends Principal>(principal: P): P {
    const key = toPrincipalKey(principal)
    if (this.#principals.has(key)) throw new SandboxError('invalid', `${principal.arn} exists`)
    this.#principals.set(key, principal)
    return principal
  }

  #describe<K extends 'user' | 'role'>(kind: K, options: PrincipalOptions): Principal & { kind: K } {
    const { account, name, path = '/', partition = 'aws' } = options
    if (!/^\d{12}$/.test(account) || !/^[\w+=,.@-]{1,64}$/.test(name) || !/^\/([!-~]{1,510}\/)?$/.test(path)) {
      throw new SandboxError('invalid', `not a name in IAM: ${JSON.stringify({ account, name, path })}`)
    }
    const id = createUniqueId(kind === 'user' ? 'AIDA' : 'AROA', this.#random)
    return { kind, partition, account, path, name, id, arn: `arn:${partition}:iam::${account}:${kind}${path}${name}` }
  }

  #openSession(caller: Caller, seconds: number): SessionCredentials {
    const credentials = this.#createCredentials('ASIA', caller.account)
    const session = { token: this.#random(291).toString('base64'), expiration: this.#now() + seconds * 1000 }
    this.#sessions.set(credentials.accessKeyId, { ...credentials, caller, active: true, session })
    for (const oldest of this.#sessions.keys()) {
      if (this.#sessions.size <= MAX_SESSIONS) break
      this.#sessions.delete(oldest)
    }
    return { ...credentials, sessionToken: session.token, expiration: new Date(session.expiration) }
  }

  #createCredentials(prefix: 'AKIA' | 'ASIA', account: string): Credentials {
    const accessKeyId = createAccessKeyId(prefix, account, this.#random)
    return { accessKeyId, secretAccessKey: this.#random(30).toString('base64') }
  }
}

/** Names are unique in their account, regardless of case and path. */
function toPrincipalKey({ kind, partition, account, name }: Principal): string {
  return `${kind} ${partition} ${account} ${name.toLowerCase()}`
}

function toCaller(issuer: Principal, temporary: boolean): Caller {
  return { arn: issuer.arn, userId: issuer.id, account: issuer.account, issuer, temporary }
}

function isRole(principal: Principal): principal is Role {
  return principal.kind === 'role'
}
