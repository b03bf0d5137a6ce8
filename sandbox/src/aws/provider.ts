/** Issuers of OpenID Connect that an account believes, as EKS makes one for each cluster. */
import type { KeyObject } from 'node:crypto'
import { SandboxError } from '../errors.js'
import type { Partition } from './region.js'

/** Believed for these audiences, with its public keys by their ids. */
export type OidcProvider = {
  arn: string
  issuer: string
  audiences: readonly string[]
  keys: ReadonlyMap<string, KeyObject>
}
export type OidcProviderOptions = Omit<OidcProvider, 'arn'> & { account: string; partition?: Partition }

/** Whom a role trusts: the subject of a provider (by its ARN), in a token for this audience. */
export type WebIdentityTrust = { provider: string; subject: string; audience: string }

/** A provider of that account. Throws `invalid` where the issuer is not an https URL. */
export function createProvider({
  account,
  partition = 'aws',
  issuer,
  audiences,
  keys,
}: OidcProviderOptions): OidcProvider {
  if (!/^https:\/\/[!-~]{1,247}$/.test(issuer)) throw new SandboxError('invalid', `not an issuer: ${issuer}`)
  return { arn: toProviderArn(partition, account, issuer), issuer, audiences, keys }
}

export function toProviderArn(partition: Partition, account: string, issuer: string): string {
  return `arn:${partition}:iam::${account}:oidc-provider/${issuer.replace('https://', '')}`
}
