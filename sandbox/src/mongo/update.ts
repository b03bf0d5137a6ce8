/**
 * Compiles updates by operators, replacement or pipeline, and creates the document of an upsert.
 *
 * Values keep their BSON types, so an int64 stays an int64.
 * https://www.mongodb.com/docs/manual/reference/operator/update/
 */
import { type Document, Int32, type ObjectId, Timestamp } from 'bson'
import { add, bitwise, multiply } from './arithmetic.js'
import { CommandError } from './commandError.js'
import { compileStages } from './expression.js'
import { compileMatcher, isOperatorExpression, type Matcher } from './match.js'
import { compare, equal, isDocument, isNumber, toNumber, typeRank } from './order.js'
import { sortBy } from './query.js'

/** One statement of an update command. */
export type Update = {
  q: Document
  u: Document | Document[]
  multi?: boolean
  upsert?: boolean
  arrayFilters?: Document[]
  sort?: Document
  let?: Document
}

export const isPipeline = (update: unknown): update is Document[] => Array.isArray(update)

/** Returns a function from a matched document to the updated one. It does not modify its argument. */
export function compileUpdate(update: Update, now: () => number, inserting = false): (document: Document) => Document {
  const { q, u, arrayFilters, let: variables } = update
  if (isPipeline(u)) {
    const run = compileStages(u, variables ? { variables } : {})
    return document => keepId(document, run([document])[0] ?? document)
  }
  if (!isOperatorExpression(u)) return document => keepId(document, copy(u) as Document)
  const steps = Object.entries(u).flatMap(([name, fields]) => {
    const operator = Object.hasOwn(operators, name) ? operators[name] : undefined
    if (!operator) {
      const message = `Unknown modifier: ${name}. Expected a valid update modifier or pipeline-style update specified as an array`
      throw new CommandError('FailedToParse', message)
    }
    if (!isDocument(fields)) throw new CommandError('FailedToParse', `Modifiers operate on fields but ${name} has none`)
    return Object.entries(fields).map(([field, operand]) => ({ name, operator, field, operand }))
  })
  refuseConflicts(steps.map(({ field }) => field))
  const filters = namedFilters(arrayFilters ?? [])
  return document => {
    const changed = copy(document) as Document
    for (const { name, operator, field, operand } of steps) {
      if (name === '$setOnInsert' && !inserting) continue
      for (const path of concrete(changed, field.split('.'), { q, filters })) operator(changed, path, operand, now)
    }
    return keepId(document, changed)
  }
}

/** The document that an upsert inserts if nothing matched. */
export function createUpserted(update: Update, now: () => number, fresh: () => ObjectId): Document {
  const base: Document = {}
  for (const [field, value] of equalities(update.q)) assign(base, field.split('.'), value)
  const replacement = !isPipeline(update.u) && !isOperatorExpression(update.u)
  const start: Document = replacement ? (base._id === undefined ? {} : { _id: base._id }) : base
  const { _id = fresh(), ...rest } = compileUpdate(update, now, true)(start)
  return { _id, ...rest }
}

/** The fields for which a filter requires equality. */
function equalities(filter: Document): [field: string, value: unknown][] {
  return Object.entries(filter).flatMap(([name, condition]): [string, unknown][] => {
    if (name === '$and') return (condition as Document[]).flatMap(equalities)
    if (name.startsWith('$') || typeRank(condition) === 12) return []
    if (!isOperatorExpression(condition)) return [[name, condition]]
    return condition.$eq === undefined ? [] : [[name, condition.$eq]]
  })
}

/** Keeps `_id` unchanged and first. Throws ImmutableField. */
function keepId(before: Document, after: Document): Document {
  if (before._id === undefined) return after
  const { _id = before._id, ...rest } = after
  if (!equal(_id, before._id)) {
    throw new CommandError(
      'ImmutableField',
      "Performing an update on the path '_id' would modify the immutable field '_id'",
    )
  }
  return { _id: before._id, ...rest }
}

function refuseConflicts(fields: readonly string[]): void {
  for (const [at, field] of fields.entries()) {
    const other = fields
      .slice(0, at)
      .find(one => one === field || one.startsWith(`${field}.`) || field.startsWith(`${one}.`))
    if (other !== undefined) {
      const message = `Updating the path '${field}' would create a conflict at '${other}'`
      throw new CommandError('ConflictingUpdateOperators', message)
    }
  }
}

/** Copies documents and arrays, and shares other values, which are immutable. */
function copy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copy)
  if (!isDocument(value)) return value
  const result: Document = {}
  for (const name of Object.keys(value)) result[name] = copy(value[name])
  return result
}

// Positional operators: `$` is the first element that the filter matched, `$[]` all, `$[name]` those of an array filter.

type Positions = { q: Document; filters: Map<string, Matcher> }

function namedFilters(filters: readonly Document[]): Map<string, Matcher> {
  return new Map(
    filters.map(filter => {
      const name = (Object.keys(filter)[0] ?? '').split('.')[0] ?? ''
      const matches = compileMatcher(filter)
      return [name, (value: unknown) => matches({ [name]: value })]
    }),
  )
}

function concrete(document: Document, path: readonly string[], positions: Positions): string[][] {
  const at = path.findIndex(name => name.startsWith('$'))
  if (at < 0) return [[...path]]
  const name = path[at] as string
  const before = path.slice(0, at)
  const list = valueAt(document, before)
  if (!Array.isArray(list)) {
    const message = `The path '${before.join('.')}' must exist in the document in order to apply array updates.`
    throw new CommandError('BadValue', message)
  }
  const indexes = name === '$' ? [positional(before, list, positions.q)] : chosen(name, list, positions.filters)
  return indexes.flatMap(index => concrete(document, [...before, String(index), ...path.slice(at + 1)], positions))
}

function chosen(name: string, list: readonly unknown[], filters: Map<string, Matcher>): number[] {
  const identifier = name.slice(2, -1)
  if (identifier === '') return [...list.keys()]
  const matches = filters.get(identifier)
  if (!matches) {
    throw new CommandError('BadValue', `No array filter found for identifier '${identifier}' in path`)
  }
  return [...list.keys()].filter(index => matches(list[index] as Document))
}

/** The first element that satisfies the conditions of the filter on its array. */
function positional(path: readonly string[], list: readonly unknown[], q: Document): number {
  const field = path.join('.')
  const conditions = Object.fromEntries(
    Object.entries(q).filter(([name]) => name === field || name.startsWith(`${field}.`)),
  )
  const found = list.findIndex(item => {
    if (Object.keys(conditions).length === 0) return false
    const alone: Document = {}
    assign(alone, path, [item])
    return compileMatcher(conditions)(alone)
  })
  if (found < 0) {
    const message = 'The positional operator did not find the match needed from the query.'
    throw new CommandError('BadValue', message)
  }
  return found
}

// Values at a path

function valueAt(value: unknown, path: readonly string[]): unknown {
  let at = value
  for (const name of path) {
    at = Array.isArray(at) ? at[Number(name)] : isDocument(at) && Object.hasOwn(at, name) ? at[name] : undefined
  }
  return at
}

/** Throws PathNotViable if the path traverses a value that is neither a document nor an array. */
function assign(document: Document, path: readonly string[], value: unknown): void {
  const last = path.length - 1
  let container: unknown = document
  for (const [at, name] of path.entries()) {
    if (name === '')
      throw new CommandError('PathNotViable', `The update path '${path.join('.')}' contains an empty field name`)
    if (Array.isArray(container)) {
      const index = Number(name)
      if (!Number.isInteger(index) || index > 1_500_000) throw notViable(path, at)
      while (container.length < index) container.push(null)
      if (at === last) container[index] = value
      else container[index] ??= {}
      container = container[index]
    } else if (isDocument(container)) {
      if (at === last) put(container, name, value)
      else if (!Object.hasOwn(container, name)) put(container, name, {})
      container = container[name]
    } else {
      throw notViable(path, at)
    }
  }
}

/** Defines the property instead of assigning it: a field may be called `__proto__`. */
function put(container: Document, name: string, value: unknown): void {
  Object.defineProperty(container, name, { value, enumerable: true, configurable: true, writable: true })
}

function notViable(path: readonly string[], at: number): CommandError {
  return new CommandError(
    'PathNotViable',
    `Cannot create field '${path[at]}' in element '${path.slice(0, at).join('.')}'`,
  )
}

function erase(document: Document, path: readonly string[]): void {
  const container = valueAt(document, path.slice(0, -1))
  const name = path.at(-1) as string
  if (Array.isArray(container) && Number(name) < container.length) container[Number(name)] = null
  else if (isDocument(container)) delete container[name]
}

// Operators

type Operator = (document: Document, path: string[], operand: unknown, now: () => number) => void

/** An operator that computes a value from the old one. `undefined` means no change. */
const value =
  (make: (old: unknown, operand: unknown, now: () => number) => unknown): Operator =>
  (document, path, operand, now) => {
    const result = make(valueAt(document, path), operand, now)
    if (result !== undefined) assign(document, path, result)
  }

/** An operator on arrays. A missing array counts as empty, or stays missing if `create` is false. */
const array = (make: (list: unknown[], operand: unknown) => unknown[], create: boolean): Operator =>
  value((old, operand) => {
    if (old === undefined && !create) return undefined
    if (old !== undefined && !Array.isArray(old)) {
      throw new CommandError('BadValue', 'Cannot apply an array operator to a value that is not an array')
    }
    return make(old ?? [], operand)
  })

const operators: Record<string, Operator> = {
  $set: value((_, operand) => operand),
  $setOnInsert: value((_, operand) => operand),
  $unset: (document, path) => erase(document, path),
  $inc: value((old, operand) => add(old ?? new Int32(0), operand)),
  $mul: value((old, operand) => multiply(old ?? new Int32(0), operand)),
  $min: value((old, operand) => (old === undefined || compare(operand, old) < 0 ? operand : undefined)),
  $max: value((old, operand) => (old === undefined || compare(operand, old) > 0 ? operand : undefined)),
  $bit: value((old, operand) =>
    Object.entries(operand as Document).reduce<unknown>(
      (result, [name, mask]) => bitwise(name, result, mask),
      old ?? new Int32(0),
    ),
  ),
  $currentDate: value((_, operand, now) => {
    const timestamp = isDocument(operand) && operand.$type === 'timestamp'
    return timestamp ? new Timestamp({ t: Math.floor(now() / 1000), i: 1 }) : new Date(now())
  }),
  $rename: (document, path, to) => {
    const moved = valueAt(document, path)
    if (moved === undefined) return
    erase(document, path)
    assign(document, String(to).split('.'), moved)
  },
  $push: array(push, true),
  $addToSet: array((list, operand) => {
    const items = isDocument(operand) && Array.isArray(operand.$each) ? operand.$each : [operand]
    const result = [...list]
    for (const item of items) if (!result.some(known => equal(known, item))) result.push(item)
    return result
  }, true),
  $pop: array((list, operand) => (toNumber(operand) < 0 ? list.slice(1) : list.slice(0, -1)), false),
  $pull: array((list, operand) => {
    const pulls = pulled(operand)
    return list.filter(item => !pulls(item))
  }, false),
  $pullAll: array(
    (list, operand) => list.filter(item => !(operand as unknown[]).some(gone => equal(gone, item))),
    false,
  ),
}

function push(list: unknown[], operand: unknown): unknown[] {
  if (!isDocument(operand) || !Array.isArray(operand.$each)) return [...list, operand]
  const { $each, $position, $slice, $sort } = operand
  const at = $position === undefined ? list.length : toNumber($position)
  let result = [...list.slice(0, at), ...$each, ...list.slice(at)]
  if (isDocument($sort)) result = sortBy(result, $sort, item => (isDocument(item) ? item : {}))
  else if (isNumber($sort)) result.sort((a, b) => compare(a, b) * toNumber($sort))
  if ($slice === undefined) return result
  const size = toNumber($slice)
  return size < 0 ? result.slice(size) : result.slice(0, size)
}

/** `$pull` accepts a value, conditions on the element, or a filter of documents. */
function pulled(operand: unknown): (item: unknown) => boolean {
  if (!isDocument(operand)) {
    const matches = compileMatcher({ item: operand })
    return item => matches({ item })
  }
  if (isOperatorExpression(operand)) {
    const matches = compileMatcher({ item: operand })
    return item => matches({ item })
  }
  const matches = compileMatcher(operand)
  return item => isDocument(item) && matches(item)
}
