/**
 * Fingerprints identify a credential in caches, which therefore hold no session tokens. They are keyed with a random key of
 * the process, so a fingerprint reveals nothing about its credential.
 */
import { createHmac } from 'node:crypto'
import type { Secret } from '../log.js'

/** What a client sends with its signature. Every service that the client logs in to knows both. */
export type Credential = { accessKeyId: string; token: Secret | undefined }

export type FingerprintCredential = (credential: Credential) => string

/** `key`: 32 random bytes, created at the start of the process. */
export function createCredentialFingerprinter(key: Buffer): FingerprintCredential {
  return ({ accessKeyId, token }) =>
    createHmac('sha256', key)
      // Key ids and tokens contain no space, so the input is unambiguous. Without a token there is no space.
      .update(token === undefined ? accessKeyId : `${accessKeyId} ${token.reveal()}`)
      .digest('base64')
}
