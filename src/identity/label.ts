/**
 * Labels: the names under which memories keep what they know of a credential. A memory holds no token, and without the
 * key, which dies with the process, nobody can tell from a label whose it is.
 */
import { createHmac } from 'node:crypto'
import type { Secret } from '../log.js'

/** What a client shows beside its signature. Neither is a secret to those it was shown to. */
export type Credential = { accessKeyId: string; token: Secret | undefined }

/** The label of a credential within a scope, such as an address; another scope gives another label. */
export type Label = (credential: Credential, ...scope: string[]) => string

/** `key`: 32 random bytes of this process. */
export function labels(key: Buffer): Label {
  return ({ accessKeyId, token }, ...scope) => {
    const all = JSON.stringify([...scope, accessKeyId, token?.reveal() ?? null])
    return createHmac('sha256', key).update(all).digest('base64')
  }
}
