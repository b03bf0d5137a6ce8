/**
 * JSON Web Tokens of OpenID Connect issuers (RFC 7519). RS256 is the only algorithm: a token that names another one,
 * such as `none` or a MAC keyed with the public key, is no token here.
 */
import type { KeyObject } from 'node:crypto'
import { compactVerify, decodeJwt, decodeProtectedHeader } from 'jose'

const ALGORITHM = 'RS256'

export type Token = {
  /** The id of the key that signed the token, by its own claim. */
  keyId: string
  issuer: string
  subject: string
  audiences: readonly string[]
  /** Milliseconds since 1970. */
  expiration: number
  /** The compact serialization. */
  text: string
}

/** The decoders of jose skip whitespace, which no issuer writes. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/

/** The claims of a token, unverified; undefined if the text is no token. */
export function readToken(text: string): Token | undefined {
  if (!COMPACT.test(text)) return undefined
  try {
    const { alg, kid } = decodeProtectedHeader(text)
    const { iss, sub, aud, exp } = decodeJwt(text)
    const audiences: unknown[] = Array.isArray(aud) ? aud : [aud]
    if (alg !== ALGORITHM || !isText(kid) || !isText(iss) || !isText(sub) || !audiences.every(isText)) return undefined
    if (typeof exp !== 'number') return undefined
    return { keyId: kid, issuer: iss, subject: sub, audiences, expiration: exp * 1000, text }
  } catch {
    return undefined
  }
}

/** Whether this public RSA key verifies the signature. */
export async function isSignedBy({ text }: Token, key: KeyObject): Promise<boolean> {
  return compactVerify(text, key, { algorithms: [ALGORITHM] }).then(
    () => true,
    () => false,
  )
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
