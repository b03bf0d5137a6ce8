/** The kinds of the settings of provisioned users, and the master secrets in their file. */
import { z } from 'zod'
import { kind, textOf } from './definition.js'

/** No slash: it stands in the names of roles, before the next part. */
export const fleet = kind(textOf('wanted a name of letters, digits, - and _', /^[\w-]{1,64}$/), {})

const RESERVED = ['admin', 'local', 'config', '$external']

/** Its users are the proxy's alone, so that what may be done there can be granted without the other databases. */
export const ownDatabase = kind(
  textOf('wanted the name of a database', /^[^/\\. "$*<>:|?\0]{1,63}$/).refine(name => !RESERVED.includes(name), {
    error: 'wanted a database of its own, not one of the server',
  }),
  {},
)

/** A list in the file, comma separated elsewhere. */
export const networks = kind(
  z.preprocess(
    value => (typeof value === 'string' ? value.split(',').map(part => part.trim()) : value),
    z
      .array(textOf('wanted a network like 10.0.0.0/8'), { error: 'wanted a list of networks' })
      .min(1, { error: 'wanted at least one network' })
      .max(256, { error: 'wanted at most 256 networks' }),
  ),
  {},
)

/** HMAC-SHA-256 is as strong as its key, and this one opens every provisioned user. */
const LEAST_BYTES = 32

/** The master secrets in a file, one a line, the first for what is new; or what is wrong with them. */
export function readSecrets(text: string): { lines: string[]; problem?: string } {
  const lines = text.split(/\r?\n/).filter(line => line.trim() !== '')
  const short = lines.findIndex(line => Buffer.byteLength(line) < LEAST_BYTES)
  if (short >= 0) {
    return { lines: [], problem: `secret ${short + 1} has less than ${LEAST_BYTES} bytes: openssl rand -base64 32` }
  }
  const twice = lines.findIndex((line, at) => lines.indexOf(line) < at)
  return twice < 0 ? { lines } : { lines: [], problem: `secret ${twice + 1} stands there twice` }
}
