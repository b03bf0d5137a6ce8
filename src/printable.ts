/**
 * Texts of clients, servers and AWS, made safe for a terminal and for tools that read logs.
 *
 * Control characters, format characters (bidirectional controls, zero-width characters), the line
 * separators U+2028 and U+2029 and lone surrogates can hide, reorder or forge what a reader sees.
 */

/** Maximum length of such a text in a field of the log or in a line for a terminal, in characters. */
export const MAX_TEXT = 500

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu
/** Most texts are printable ASCII, and this test is cheaper than the one above. */
const NOT_PRINTABLE_ASCII = /[^\x20-\x7e]/

/** Writes each unprintable character as an escape sequence of JSON, such as `\u001b`. */
export function escapeUnprintable(text: string): string {
  return NOT_PRINTABLE_ASCII.test(text) ? text.replace(UNPRINTABLE, escapeCharacter) : text
}

/** Like `escapeUnprintable`, for a text of several lines. */
export function escapeLines(text: string): string {
  return text.split('\n').map(escapeUnprintable).join('\n')
}

/** Also escapes printable characters outside ASCII. A letter of another alphabet can look like one of an ARN. */
export function escapeNonAscii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, escapeCharacter)
}

function escapeCharacter(character: string): string {
  return [...Array(character.length).keys()]
    .map(index => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`)
    .join('')
}

/** The first `max` characters of a text, of which the last is `…` if something is missing. */
export function truncate(text: string, max: number): string {
  if (text.length <= max) return text
  const end = max - 1
  const isPairSplit = /[\ud800-\udbff]/.test(text.charAt(end - 1)) && /[\udc00-\udfff]/.test(text.charAt(end))
  return `${text.slice(0, isPairSplit ? end - 1 : end)}…`
}

/** Maximum number of entries of an array or object, and maximum depth. */
const MAX_ENTRIES = 100
const MAX_DEPTH = 5

/**
 * Bounds a value for JSON, however deep: a text has at most `max` characters, a list or object `MAX_ENTRIES` entries. The end
 * of what was truncated is `…`. A value within these bounds is returned as it is.
 */
export function boundValue(value: unknown, max: number): unknown {
  return isBounded(value, max, 0) ? value : truncateValue(value, max, 0)
}

/** Copies nothing, because nearly every value is within the bounds. */
function isBounded(value: unknown, max: number, depth: number): boolean {
  if (typeof value === 'string') return value.length <= max
  if (typeof value !== 'object' || value === null) return true
  if (depth > MAX_DEPTH || 'toJSON' in value) return false
  if (Array.isArray(value)) {
    return value.length <= MAX_ENTRIES && value.every(entry => isBounded(entry, max, depth + 1))
  }
  let entries = 0
  for (const key in value) {
    entries += 1
    if (entries > MAX_ENTRIES || key.length > MAX_TEXT) return false
    if (!isBounded((value as Record<string, unknown>)[key], max, depth + 1)) return false
  }
  return true
}

function truncateValue(value: unknown, max: number, depth: number): unknown {
  if (typeof value === 'string') return truncate(value, max)
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_DEPTH) return '…'
  if ('toJSON' in value && typeof value.toJSON === 'function') return truncateValue(value.toJSON(), max, depth + 1)
  if (Array.isArray(value)) {
    const shown = value.slice(0, MAX_ENTRIES).map(entry => truncateValue(entry, max, depth + 1))
    return value.length > MAX_ENTRIES ? [...shown, '…'] : shown
  }
  const entries = Object.entries(value)
  const shown = entries
    .slice(0, MAX_ENTRIES)
    .map(([key, entry]) => [truncate(key, MAX_TEXT), truncateValue(entry, max, depth + 1)])
  return Object.fromEntries(entries.length > MAX_ENTRIES ? [...shown, ['…', entries.length - MAX_ENTRIES]] : shown)
}
