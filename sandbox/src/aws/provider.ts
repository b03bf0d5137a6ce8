/** OpenID Connect providers that an account trusts. EKS creates one per cluster. */
import type { KeyObject } from 'node:crypto'
import { SandboxError } from '../errors.js'
import type { Partition } from './region.js'

/** `keys`: public keys by key id. */
export type OidcProvider = {
  arn: string
  issuer: string
  audiences: readonly string[]
  keys: ReadonlyMap<string, KeyObject>
}
export type OidcProviderOptions = Omit<OidcProvider, 'arn'> & { account: string; partition?: Partition }

/** A role trusts this subject of the provider (an ARN), in tokens for this audience. */
export type WebIdentityTrust = { provider: string; subject: string; audience: string }

/** Throws `invalid` if the issuer is not an https URL. */
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
