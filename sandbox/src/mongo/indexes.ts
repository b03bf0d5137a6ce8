/** Index specifications, and the keys of a document in an index. Only unique indexes store keys. */
import type { Document } from 'bson'
import { compileMatcher, type Matcher } from './match.js'
import { toIndexKey } from './order.js'
import { valuesAt } from './paths.js'

/** `spec` has the other options, which are only reported. */
export type Index = {
  name: string
  key: Document
  spec: Document
  unique?: Map<string, string>
  sparse?: boolean
  partial?: Matcher
}

export type IndexKey = { key: string; values: Document }

/** The keys of a document: several for an array, none if a sparse or partial index excludes the document. */
export function toIndexKeys(index: Index, document: Document): IndexKey[] {
  if (index.partial && !index.partial(document)) return []
  const fields = Object.keys(index.key)
  const columns = fields.map(field => valuesAt(document, field.split('.')))
  if (index.sparse && columns.every(column => column.every(value => value === undefined))) return []
  let keys: IndexKey[] = [{ key: '', values: {} }]
  for (const [at, field] of fields.entries()) {
    keys = keys.flatMap(({ key, values: known }) =>
      (columns[at] ?? []).map(value => ({
        key: `${key}${JSON.stringify(toIndexKey(value))}`,
        values: { ...known, [field]: value ?? null },
      })),
    )
  }
  return keys
}

/** Parses a specification of createIndexes. */
export function parseIndex({ name, key, unique, sparse, partialFilterExpression, v: _, ...rest }: Document): Index {
  return {
    name,
    key,
    spec: {
      ...rest,
      ...(unique && { unique }),
      ...(sparse && { sparse }),
      ...(partialFilterExpression && { partialFilterExpression }),
    },
    ...(unique && { unique: new Map() }),
    ...(sparse && { sparse: true }),
    ...(partialFilterExpression && { partial: compileMatcher(partialFilterExpression) }),
  }
}
