/**
 * What a message may repeat of a text that an operator wrote. Any text can be a secret in the wrong place: a password
 * after a missing blank, or a connection string where a host belongs. Messages repeat numbers, durations and absolute
 * paths; they describe every other text.
 */

const NUMBER_OR_DURATION = /^-?\d{1,15}(\.\d{1,15})?(ms|s|m|h)?$/

/** A number or a duration in quotes. Any other text by its length: `a text of 23 characters`. */
export function describeText(text: string): string {
  if (text === '') return 'an empty text'
  return NUMBER_OR_DURATION.test(text) ? `"${text}"` : `a text of ${countCharacters(text)}`
}

/** `23 characters` */
export function countCharacters(text: string): string {
  const count = [...text].length
  return count === 1 ? '1 character' : `${count} characters`
}

/** A connection string has a colon or an @, a sentence has blanks, and a password rarely begins with a slash. */
const SHOWABLE_PATH = /^\/[^:@\s\p{C}]*$/u

/** An absolute path as it is. Any other path by its length: `a path of 12 characters (not shown)`. */
export function describePath(path = ''): string {
  return SHOWABLE_PATH.test(path) ? path : `a path of ${countCharacters(path)} (not shown)`
}
