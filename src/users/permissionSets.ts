/**
 * The roles that IAM Identity Center creates for its permission sets, and the role patterns that would match some of them.
 *
 *     AWSReservedSSO_<permission set, 1 to 32 characters>_<16 hex digits>
 *
 * A permission set may be named `Admin_ReadOnly`, so a pattern that means the role of `Admin` can match others as well.
 */

const PREFIX = 'AWSReservedSSO_'
const MAX_NAME_LENGTH = 32
const SUFFIX_LENGTH = 16

/** What may stand at one place of a role name. */
type Place = (character: string) => boolean

const exactly =
  (wanted: string): Place =>
  character =>
    character === wanted
const ofName: Place = character => /[\w+=,.@-]/.test(character)
const ofSuffix: Place = character => /[0-9a-f]/.test(character)

const placesOf = (nameLength: number): Place[] => [
  ...[...PREFIX].map(exactly),
  ...Array<Place>(nameLength).fill(ofName),
  exactly('_'),
  ...Array<Place>(SUFFIX_LENGTH).fill(ofSuffix),
]

const FORMS = Array.from({ length: MAX_NAME_LENGTH }, (_, index) => placesOf(index + 1))

/** Whether a pattern of role names, with `*` for any characters, matches a role of some permission set. */
export function matchesPermissionSets(pattern: string): boolean {
  const [start = '', ...rest] = pattern.split('*')
  const end = rest.pop()
  return FORMS.some(places => end !== undefined && matches(places, start, rest, end))
}

/** Each literal is placed as early as possible, which leaves the most room for the next one. */
function matches(places: readonly Place[], start: string, literals: readonly string[], end: string): boolean {
  const fits = (literal: string, at: number) => [...literal].every((character, i) => places[at + i]?.(character))
  const endAt = places.length - end.length
  if (endAt < start.length || !fits(start, 0) || !fits(end, endAt)) return false
  let position = start.length
  for (const literal of literals) {
    while (position + literal.length <= endAt && !fits(literal, position)) position++
    position += literal.length
    if (position > endAt) return false
  }
  return true
}
