/**
 * Keys that are no setting. Such a key is never shown: without a blank after the colon, YAML reads `password:hunter2` as
 * a key, and `uri:mongodb://root:hunter2@mongo/` as well.
 */
import { describeText } from '../redaction.js'
import { STS_HOST_KEYS } from './hosts.js'
import { findMissingBlank, MISSING_BLANK } from './missingBlank.js'
import { didYouMean } from './nearest.js'
import { allSettings } from './settings.js'
import { RULE_KEYS } from './users.js'

/** Keys of rules and of STS hosts. */
export const ENTRY_KEYS: readonly string[] = [...RULE_KEYS, ...STS_HOST_KEYS]

/** Every key that has a meaning somewhere in the file, and the one that is always a mistake. */
export const ALL_KEYS: readonly string[] = [
  ...new Set([...allSettings.flatMap(({ keys }) => keys), ...ENTRY_KEYS, 'password']),
]

/** What is wrong with a key that is no setting, and the name that it begins with, if that is known. */
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
