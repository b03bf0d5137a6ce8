/** An OpenID Connect issuer, as each EKS cluster has one: its key, and the tokens that it signs. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export type Claims = { sub: string; aud: string | readonly string[]; exp: number; iss?: string }

export type OidcIssuer = {
  issuer: string
  /** Its public keys, as an account registers them. */
  keys: ReadonlyMap<string, KeyObject>
  /** Signs a token. `exp` is in seconds since 1970; `header` is added to the default one. */
  token(claims: Claims, header?: object): string
}

/** Creates an issuer with its own key. */
export function createOidcIssuer(issuer: string): OidcIssuer {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return {
    issuer,
    keys: new Map([['key-1', publicKey]]),
    token(claims, header = {}) {
      const parts = [
        { alg: 'RS256', kid: 'key-1', ...header },
        { iss: issuer, iat: claims.exp - 3600, ...claims },
      ]
      const signed = parts.map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
      return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`
    },
  }
}
