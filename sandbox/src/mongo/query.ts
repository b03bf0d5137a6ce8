/** Finds and sorts the documents of a collection. */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { compileMatcher, isOperatorExpression } from './match.js'
import { compare, isDocument, toIndexKey, toNumber, typeRank } from './order.js'
import { valuesAt } from './paths.js'
import type { Collection, Entry } from './store.js'

export type QueryOptions = { enough?: number; variables?: Document | undefined }

/** The matching entries in insertion order, at most `enough`. Equality on `_id` uses the index. */
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

/** The entries that a condition on `_id` enumerates; undefined if it enumerates none. */
function byId(collection: Collection, condition: unknown): Entry[] | undefined {
  if (condition === undefined) return undefined
  let values = [condition]
  if (isDocument(condition) && isOperatorExpression(condition)) {
    if (Object.keys(condition).length > 1) return undefined
    const { $eq, $in } = condition
    if ($eq === undefined && !Array.isArray($in)) return undefined
    values = Array.isArray($in) ? $in : [$eq]
  }
  // A regular expression or null matches more than equal values.
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

/** Sorts by a specification such as `{a: 1, 'b.c': -1}`. The sort is stable. Throws BadValue. */
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

/** An array sorts by its least element in ascending order, and by its greatest in descending order. */
function extreme(found: readonly unknown[], direction: number): unknown {
  let best = found[0]
  for (const value of found) if (compare(value, best) * direction < 0) best = value
  return best
}
