/**
 * Converts documents for mingo, which calculates with JavaScript numbers. BSON numbers are converted before mingo runs.
 * Afterwards a number gets the BSON type that the same value in the same field had before.
 *
 * A computed integer becomes an int32 if it fits, else an int64. Other numbers become doubles.
 */
import { type Document, Double, Int32, Long } from 'bson'
import { Aggregator } from 'mingo'
import { isDocument, isNumber, toNumber } from './order.js'

/** BSON types by path (`a.b`, without list indexes) and value. Int32 is the default for integers. */
type Types = Map<string, Map<number, 'Long' | 'Double'>>

export type MingoOptions = { collections?: (name: string) => Document[]; variables?: Document }

/** Compiles an aggregation expression. */
export function compileExpression(expression: unknown, variables?: Document): (document: Document) => unknown {
  const run = pipeline([{ $project: { _id: 0, value: expression } }], variables ? { variables } : {})
  return document => run([document])[0]?.value
}

/** Compiles stages for mingo. Documents in and out have exact BSON types. */
export function compileStages(
  specs: readonly Document[],
  options: MingoOptions = {},
): (documents: Document[]) => Document[] {
  const run = pipeline(specs, options)
  return documents => {
    const types: Types = new Map()
    for (const document of documents) collectTypes(document, '', types)
    return run(documents).map(document => idFirst(typed(document, '', types) as Document))
  }
}

function pipeline(specs: readonly Document[], options: MingoOptions): (documents: Document[]) => Document[] {
  const { collections, variables } = options
  const aggregator = new Aggregator(
    specs.map(spec => plain(spec, true) as Document),
    {
      scriptEnabled: false,
      ...(collections && {
        collectionResolver: name => collections(name).map(document => plain(document) as Document),
      }),
      ...(variables && { variables: plain(variables) as Document }),
    },
  )
  return documents => aggregator.run(documents.map(document => plain(document) as Document))
}

/** Converts numbers to JavaScript numbers if that loses nothing. In a query, converts regular expressions as well. */
function plain(value: unknown, query = false): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(item => plain(item, query))
  const { _bsontype: type } = value as { _bsontype?: string }
  if (type === 'Int32' || type === 'Double') return (value as Int32).value
  if (type === 'Long') {
    const number = (value as Long).toNumber()
    return Number.isSafeInteger(number) ? number : value
  }
  if (query && type === 'BSONRegExp') {
    const { pattern, options } = value as unknown as { pattern: string; options: string }
    return new RegExp(pattern, options.replace(/[^ims]/g, ''))
  }
  if (!isDocument(value)) return value
  const copy: Document = {}
  for (const name of Object.keys(value)) copy[name] = plain(value[name], query)
  return copy
}

function collectTypes(value: unknown, path: string, types: Types): void {
  if (Array.isArray(value)) {
    for (const item of value) collectTypes(item, path, types)
  } else if (isDocument(value)) {
    for (const name of Object.keys(value)) collectTypes(value[name], path ? `${path}.${name}` : name, types)
  } else if (isNumber(value)) {
    const { _bsontype: type } = value as { _bsontype?: string }
    if (type !== 'Long' && type !== 'Double') return
    const known = types.get(path) ?? new Map<number, 'Long' | 'Double'>()
    types.set(path, known.set(toNumber(value), type))
  }
}

/** As mongod, put `_id` first. */
function idFirst(document: Document): Document {
  if (!('_id' in document)) return document
  const { _id, ...rest } = document
  return { _id, ...rest }
}

function typed(value: unknown, path: string, types: Types): unknown {
  if (typeof value === 'number') return number(value, types.get(path)?.get(value))
  if (Array.isArray(value)) return value.map(item => typed(item, path, types))
  if (!isDocument(value)) return value
  const copy: Document = {}
  for (const name of Object.keys(value)) {
    if (value[name] !== undefined) copy[name] = typed(value[name], path ? `${path}.${name}` : name, types)
  }
  return copy
}

function number(value: number, type: string | undefined): Int32 | Long | Double {
  if (type === 'Double' || !Number.isSafeInteger(value) || Object.is(value, -0)) return new Double(value)
  if (type === 'Long' || value !== (value | 0)) return Long.fromNumber(value)
  return new Int32(value)
}
