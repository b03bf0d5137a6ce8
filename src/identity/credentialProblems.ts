/**
 * Typical damage to credentials in environment files, shells and connection strings.
 *
 * AWS does not document the characters of a session token. Only characters that no header can carry are refused before STS
 * is called. Everything else is a hint in case STS refuses the token. No function returns a part of a credential.
 */

const MAX_TOKEN_LENGTH = 8192
/** Session tokens are longer in practice. */
const MIN_TOKEN_LENGTH = 100

const URI_HINT = 'in a connection string, write + as %2B, / as %2F and = as %3D'

/** Why this text cannot be a session token; undefined if it can be one. */
export function findInvalidTokenPart(token: string): string | undefined {
  if (token === '') return 'is empty'
  if (token.length > MAX_TOKEN_LENGTH) return `is longer than ${MAX_TOKEN_LENGTH} characters`
  const [outer] = /^\s|\s$/.exec(token) ?? []
  const [blank] = /\s/.exec(token) ?? []
  if (outer !== undefined && !(outer === ' ' && isOuterBlankOfToken(token)))
    return `begins or ends with ${nameOfBlank(outer)}; remove it`
  if (blank === ' ') return `contains a blank, which was probably a +; ${URI_HINT}`
  if (blank !== undefined) return `contains ${nameOfBlank(blank)}; write the token on one line`
  return /^[\x21-\x7e]+$/.test(token) ? undefined : 'contains a character that is not printable ASCII'
}

/** Whether a blank at an end was probably a +: other ones were, too, or the token has the length of base64 with it. */
function isOuterBlankOfToken(token: string): boolean {
  return /\S +\S/.test(token) || (token.trim() !== '' && token.length % 4 === 0)
}

/** Why STS may not know this session token. */
export function findTokenProblem(token: string): string | undefined {
  if (/^["'`]|["'`]$/.test(token)) return 'begins or ends with a quotation mark; remove it'
  if (/%[0-9A-Fa-f]{2}/.test(token)) return 'is percent-encoded; outside of a connection string, it must not be encoded'
  if (/[^A-Za-z0-9+/=_-]/.test(token)) return 'contains a character that session tokens do not have'
  if (/=[^=]/.test(token)) return 'continues after its end'
  if (token.length % 4 !== 0 || token.length < MIN_TOKEN_LENGTH)
    return `has ${token.length} characters; its end is probably missing`
  return undefined
}

/** Why the access key id in this Authorization header is invalid; undefined if it is valid or cannot be found. */
export function findAccessKeyProblem(authorization: string): string | undefined {
  const [, key = ''] = /Credential=(.*?)\/\d{8}\//s.exec(authorization) ?? []
  if (key === '' || /^\w{16,128}$/.test(key)) return undefined
  if (/^\s|\s$/.test(key)) return `begins or ends with ${nameOfBlank(/^\s|\s$/.exec(key)?.[0])}; remove it`
  if (/\s/.test(key)) return 'contains a blank'
  if (/^["'`]|["'`]$/.test(key)) return 'begins or ends with a quotation mark; remove it'
  if (/%[0-9A-Fa-f]{2}/.test(key)) return 'is percent-encoded; outside of a connection string, it must not be encoded'
  if (/^\w+$/.test(key)) return `has ${key.length} characters, and access key ids have 16 to 128`
  return 'contains a character other than letters and digits'
}

function nameOfBlank(blank: string | undefined): string {
  if (blank === ' ') return 'a blank'
  return blank === '\t' ? 'a tab' : 'a line break'
}
