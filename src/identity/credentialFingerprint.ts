/**
 * Labels: the names under which memories keep what they know of a credential. A memory holds no token, and without the
 * key, which dies with the process, nobody can tell from a label whose it is.
 */
import { createHmac } from 'node:crypto'
import type { Secret } from '../log.js'

/** What a client shows beside its signature. Neither is a secret to those it was shown to. */
export type Credential = { accessKeyId: string; token: Secret | undefined }

/** The label of a credential. */
export type FingerprintCredential = (credential: Credential) => string

/** `key`: 32 random bytes of this process. */
export function createCredentialFingerprinter(key: Buffer): FingerprintCredential {
  return ({ accessKeyId, token }) =>
    createHmac('sha256', key)
      // Neither a key id nor a token has a space; without a token none follows.
      .update(token === undefined ? accessKeyId : `${accessKeyId} ${token.reveal()}`)
      .digest('base64')
}
