/** The kinds of the settings for provisioned users, and the master secrets in their file. */
import { kind, listOf, textOf } from './definition.js'

/** A slash is not allowed: it separates this name from the next part in the names of roles. */
export const fleet = kind(textOf('expected a name of letters, digits, - and _', /^[\w-]{1,64}$/), {})

const RESERVED_DATABASES = ['admin', 'local', 'config', '$external']

/** A database for the proxy alone, so that its privileges there can be granted without those on other databases. */
export const ownDatabase = kind(
  textOf('expected the name of a database', /^[^/\\. "$*<>:|?\0]{1,63}$/)
    .refine(name => !RESERVED_DATABASES.includes(name), {
      error: 'expected a database for the proxy alone, not one of the server',
    })
    .meta({ not: { enum: RESERVED_DATABASES } }),
  {},
)

/** Policy compilation checks that each text is a network. */
export const networks = kind(
  listOf(textOf('expected a network like 10.0.0.0/8'), 'expected a list of networks')
    .refine(list => list.length > 0, { error: 'expected at least one network' })
    .refine(list => list.length <= 256, { error: 'expected at most 256 networks' })
    .meta({ minItems: 1, maxItems: 256 }),
  {},
)

/** HMAC-SHA-256 is as strong as its key, and this key opens every provisioned user. */
const MIN_SECRET_BYTES = 32

/** The master secrets of a file, one per line; the first one is for new passwords. Or what is wrong with them. */
export function parseSecrets(text: string): { secrets: string[]; problem?: string } {
  const lines = text.split(/\r?\n/).filter(line => line.trim() !== '')
  const short = lines.findIndex(line => Buffer.byteLength(line) < MIN_SECRET_BYTES)
  if (short >= 0) {
    const problem = `secret ${short + 1} is shorter than ${MIN_SECRET_BYTES} bytes: create one with openssl rand -base64 32`
    return { secrets: [], problem }
  }
  const repeated = lines.findIndex((line, index) => lines.indexOf(line) < index)
  return repeated < 0 ? { secrets: lines } : { secrets: [], problem: `secret ${repeated + 1} is listed twice` }
}
