/**
 * Unknown keys. Messages never show them: without a blank after the colon, YAML reads `password:hunter2` and
 * `uri:mongodb://root:hunter2@mongo/` as keys.
 */
import { describeText } from '../redaction.js'
import { ADMIN_TOKEN_KEYS } from './adminTokens.js'
import { STS_HOST_KEYS } from './hosts.js'
import { findMissingBlank, MISSING_BLANK } from './missingBlank.js'
import { didYouMean } from './nearest.js'
import { allSettings } from './settings.js'
import { RULE_KEYS } from './users.js'

/** Keys of rules, of STS hosts and of admin tokens. */
export const ENTRY_KEYS: readonly string[] = [...RULE_KEYS, ...STS_HOST_KEYS, ...ADMIN_TOKEN_KEYS]

/** Every key that is valid somewhere in the file, and `password`, which is never valid. */
export const ALL_KEYS: readonly string[] = [
  ...new Set([...allSettings.flatMap(({ keys }) => keys), ...ENTRY_KEYS, 'password']),
]

/** Describes an unknown key. `name` is the known name that the key begins with, if there is one. */
export function unknownKey(key: string, names: readonly string[]): { name?: string; message: string } {
  if (key === 'password' || findMissingBlank(key, ['password']) !== undefined) {
    return { name: 'password', message: 'passwords are not allowed in this file; use passwordFile or passwordEnv' }
  }
  const name = findMissingBlank(key, names)
  if (name !== undefined) return { name, message: MISSING_BLANK }
  const elsewhere = findMissingBlank(key, ALL_KEYS)
  if (elsewhere !== undefined) return { message: `there is no such setting; ${MISSING_BLANK} of ${elsewhere}` }
  const [start = ''] = key.split(':', 1)
  return { message: `there is no such setting, ${describeText(key)}${didYouMean(start, names)}` }
}
