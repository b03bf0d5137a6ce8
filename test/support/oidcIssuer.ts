/** An issuer of OpenID Connect, as each cluster of EKS has one: its key, and the tokens that it signs. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export type Claims = { sub: string; aud: string | readonly string[]; exp: number; iss?: string }

export type OidcIssuer = {
  issuer: string
  /** Its public keys, as an account is told of them. */
  keys: ReadonlyMap<string, KeyObject>
  /** A token; `exp` in seconds since 1970. `header` is added to its own. */
  token(claims: Claims, header?: object): string
}

/** Makes one, with a key of its own. */
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
