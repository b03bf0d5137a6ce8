/** Which documents of a collection a filter matches, and in what order. */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { compileMatcher, isOperatorExpression } from './match.js'
import { compare, isDocument, toIndexKey, toNumber, typeRank } from './order.js'
import { valuesAt } from './paths.js'
import type { Collection, Entry } from './store.js'

export type QueryOptions = { enough?: number; variables?: Document | undefined }

/** The matching entries in the order of insertion, at most `enough`. `_id` equal to something needs no search. */
export function findMatching(
  collection: Collection,
  filter: Document,
  { enough = Number.POSITIVE_INFINITY, variables }: QueryOptions = {},
): Entry[] {
  const names = Object.keys(filter)
  if (names.length === 0) return first(collection.entries.values(), enough)
  const candidates = byId(collection, filter._id) ?? collection.entries.values()
  if (names.length === 1 && filter._id !== undefined && Array.isArray(candidates)) return candidates.slice(0, enough)
  const matches = compileMatcher(filter, variables)
  const found: Entry[] = []
  for (const entry of candidates) {
    if (!matches(entry.document)) continue
    found.push(entry)
    if (found.length >= enough) break
  }
  return found
}

/** The entries that a condition on `_id` names one by one, or undefined where it does not. */
function byId(collection: Collection, condition: unknown): Entry[] | undefined {
  if (condition === undefined) return undefined
  let values = [condition]
  if (isDocument(condition) && isOperatorExpression(condition)) {
    if (Object.keys(condition).length > 1) return undefined
    const { $eq, $in } = condition
    if ($eq === undefined && !Array.isArray($in)) return undefined
    values = Array.isArray($in) ? $in : [$eq]
  }
  // A regular expression and null match by other rules than equality.
  if (values.some(value => typeRank(value) === 12 || typeRank(value) <= 2)) return undefined
  const keys = new Set(values.map(toIndexKey))
  return [...keys].map(key => collection.entries.get(key)).filter(entry => entry !== undefined)
}

function first<T>(values: Iterable<T>, enough: number): T[] {
  if (enough === Number.POSITIVE_INFINITY) return [...values]
  const found: T[] = []
  for (const value of values) {
    if (found.length >= enough) break
    found.push(value)
  }
  return found
}

/** Sorted by a specification such as `{a: 1, 'b.c': -1}`; equal ones keep their order. Throws BadValue. */
export function sortBy<T>(items: readonly T[], by: Document, documentOf: (item: T) => Document): T[] {
  const columns = Object.entries(by).map(([name, way]) => {
    const direction = toNumber(way)
    if (Math.abs(direction) !== 1) throw new CommandError('BadValue', `$sort key ordering must be 1 or -1 (${name})`)
    return { path: name.split('.'), name, direction }
  })
  const [only] = columns
  if (only?.name === '$natural') return only.direction === 1 ? [...items] : [...items].reverse()
  const keyed = items.map(item => ({
    item,
    keys: columns.map(({ path, direction }) => extreme(valuesAt(documentOf(item), path), direction)),
  }))
  keyed.sort((a, b) => {
    for (const [at, { direction }] of columns.entries()) {
      const order = compare(a.keys[at], b.keys[at])
      if (order !== 0) return order * direction
    }
    return 0
  })
  return keyed.map(({ item }) => item)
}

/** An array sorts by its least element upwards and by its greatest downwards. */
function extreme(found: readonly unknown[], direction: number): unknown {
  let best = found[0]
  for (const value of found) if (compare(value, best) * direction < 0) best = value
  return best
}
