/**
 * JSON Web Tokens as issuers of OpenID Connect make them. RS256 is the one algorithm: whatever else a header names, `none`
 * among it, is no token here.
 *
 *     base64url({"alg":"RS256","kid":…}) . base64url({"iss","sub","aud","exp",…}) . base64url(signature)
 */
import { type KeyObject, verify } from 'node:crypto'

export type Token = {
  /** Which key of its issuer signed it, so it says. */
  keyId: string
  issuer: string
  subject: string
  audiences: readonly string[]
  /** Milliseconds since 1970. */
  expiration: number
  signed: string
  signature: Buffer
}

/** What a token says, nothing of it proven; undefined where it is none. */
export function readToken(text: string): Token | undefined {
  const [, header, claims, signature] = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/.exec(text) ?? []
  if (header === undefined || claims === undefined || signature === undefined) return undefined
  const { alg, kid } = readPart(header)
  const { iss, sub, aud, exp } = readPart(claims)
  const audiences: unknown[] = Array.isArray(aud) ? aud : [aud]
  if (alg !== 'RS256' || !isText(kid) || !isText(iss) || !isText(sub) || !audiences.every(isText)) return undefined
  if (typeof exp !== 'number') return undefined
  return {
    keyId: kid,
    issuer: iss,
    subject: sub,
    audiences,
    expiration: exp * 1000,
    signed: `${header}.${claims}`,
    signature: Buffer.from(signature, 'base64url'),
  }
}

/** Whether the holder of this public RSA key signed the token. */
export function isSignedBy({ signed, signature }: Token, key: KeyObject): boolean {
  return verify('sha256', Buffer.from(signed), key, signature)
}

function readPart(part: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
