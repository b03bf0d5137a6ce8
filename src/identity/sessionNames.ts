/**
 * Replaces the names of role sessions and federated users by a keyed hash, wherever they are in a text.
 *
 *     arn:aws:sts::123456789012:assumed-role/app/alice@example.com  ─▶  arn:aws:sts::123456789012:assumed-role/app/hash-…
 *     arn:aws:sts::123456789012:federated-user/alice                ─▶  arn:aws:sts::123456789012:federated-user/hash-…
 *     AROA…:alice@example.com, 123456789012:alice                   ─▶  AROA…:hash-…, 123456789012:hash-…
 *
 * The names are often e-mail addresses. Replicas with one key write the same hash, so events of one person belong
 * together, and a known name can be found. Whole texts are searched, because names also occur in messages and denials.
 */
import { createHmac } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Secret } from '../log.js'
import type { Identity } from './reply.js'

/** A session name: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html. A final dot may end a sentence. */
const NAME = '([\\w+=,.@-]+?)(?=[,.]?(?:[^\\w+=,.@-]|$))'
const NAMES = [
  new RegExp(`((?:assumed-role/[^/\\s"]+|federated-user)/)${NAME}`, 'g'),
  new RegExp(`((?:AROA[A-Z0-9]{12,124}|(?<![\\w:])\\d{12}):)${NAME}`, 'g'),
]
const MAX_CACHED = 10_000

/** Returns a function that replaces the names in a text. A hash that it has written before stays as it is. */
export function createSessionNameHash(key: Secret): (text: string) => string {
  const hashes = new LRUCache<string, string>({ max: MAX_CACHED })
  const hash = (name: string): string => {
    if (name.startsWith(PREFIX)) return name
    const known = hashes.get(name)
    if (known !== undefined) return known
    const digest = createHmac('sha256', key.reveal()).update(name).digest('hex').slice(0, 32)
    hashes.set(name, PREFIX + digest)
    return PREFIX + digest
  }
  return text =>
    NAMES.reduce((result, pattern) => result.replace(pattern, (_, before, name) => before + hash(name)), text)
}

const PREFIX = 'hash-'

/** The name of a role session or federated user; undefined for other principals. `hide`: hashes the name in a text. */
export function readSessionName(
  { kind, arn }: Pick<Identity, 'kind' | 'arn'>,
  hide: ((text: string) => string) | undefined,
): string | undefined {
  if (kind !== 'assumed-role' && kind !== 'federated-user') return undefined
  return (hide ? hide(arn) : arn).split('/').at(-1)
}
