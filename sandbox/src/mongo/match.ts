/**
 * Compiles query filters to predicates on documents.
 *
 * The matcher of mingo treats BSON numbers as documents and does not order Decimal128, so this file compares exact BSON
 * values itself. Only `$expr` uses mingo.
 * https://www.mongodb.com/docs/manual/reference/operator/query/
 */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { compileExpression } from './expression.js'
import { compare, equal, isDocument, isNumber, toNumber, typeRank } from './order.js'
import { someValue } from './paths.js'

export type Matcher = (document: Document) => boolean
type Test = (value: unknown) => boolean

/** Compiles a filter. `variables` are for `$expr`. Throws BadValue for an unknown operator. */
export function compileMatcher(filter: Document, variables?: Document): Matcher {
  const tests = Object.entries(filter).map(([name, condition]) => {
    if (!name.startsWith('$')) return field(name, condition)
    const compile = Object.hasOwn(logical, name) ? logical[name] : undefined
    if (!compile) throw new CommandError('BadValue', `unknown top level operator: ${name}`)
    return compile(condition, variables)
  })
  const [only] = tests
  if (only && tests.length === 1) return only
  return document => tests.every(test => test(document))
}

const logical: Record<string, (condition: unknown, variables?: Document) => Matcher> = {
  $and: list(tests => document => tests.every(test => test(document))),
  $or: list(tests => document => tests.some(test => test(document))),
  $nor: list(tests => document => !tests.some(test => test(document))),
  $expr: (expression, variables) => {
    const evaluate = compileExpression(expression, variables)
    return document => {
      const value = evaluate(document)
      return value !== false && value !== 0 && value !== null && value !== undefined
    }
  },
  $comment: () => () => true,
  $alwaysTrue: () => () => true,
  $alwaysFalse: () => () => false,
}

function list(combine: (tests: Matcher[]) => Matcher): (condition: unknown, variables?: Document) => Matcher {
  return (condition, variables) => {
    if (!Array.isArray(condition) || condition.length === 0) {
      throw new CommandError('BadValue', '$and/$or/$nor must be a nonempty array')
    }
    return combine(condition.map(one => compileMatcher(one, variables)))
  }
}

function field(name: string, condition: unknown): Matcher {
  const path = name.split('.')
  const tests = conditions(condition)
  return document => tests.every(({ negated, test }) => someValue(document, path, 0, test) !== negated)
}

/** `negated`: no value on the path may pass, for example `{$ne: 5}` on `[5, 6]`. */
type Condition = { negated: boolean; test: Test }

function conditions(condition: unknown): Condition[] {
  if (!isOperatorExpression(condition)) return [{ negated: false, test: equality(condition) }]
  const { $options } = condition
  return Object.entries(condition).flatMap(([name, operand]) => {
    if (name === '$options') return []
    if (name === '$regex') return [{ negated: false, test: anyOf(pattern(operand, $options)) }]
    if (name === '$not') {
      if (typeRank(operand) === 12) return [{ negated: true, test: anyOf(pattern(operand)) }]
      const inner = conditions(operand)
      if (!isOperatorExpression(operand)) throw new CommandError('BadValue', '$not needs a regex or a document')
      // not (a and b), on the same path
      return [{ negated: true, test: value => inner.every(({ negated, test }) => test(value) !== negated) }]
    }
    const negative = Object.hasOwn(negations, name) ? negations[name] : undefined
    const compile = operators[negative ?? name]
    if (!compile || !Object.hasOwn(operators, negative ?? name)) {
      throw new CommandError('BadValue', `unknown operator: ${name}`)
    }
    if (name === '$exists') return [{ negated: !truthy(operand), test: value => value !== undefined }]
    return [{ negated: negative !== undefined, test: compile(operand) }]
  })
}

const truthy = (value: unknown): boolean => (isNumber(value) ? toNumber(value) !== 0 : Boolean(value))

/** `{$gt: 5}` has operators. `{a: 5}` is a document to compare with, and so is the reference `{$ref: …, $id: …}`. */
export function isOperatorExpression(condition: unknown): condition is Document {
  return isDocument(condition) && /^\$(?!ref$|id$|db$)/.test(Object.keys(condition)[0] ?? '')
}

const negations: Record<string, string> = { $ne: '$eq', $nin: '$in' }

/** An operator gets its operand when the filter is compiled, and the values on the path for each document. */
const operators: Record<string, (operand: unknown) => Test> = {
  $eq: operand => equality(operand, false),
  $gt: operand => ordered(operand, by => by > 0),
  $gte: operand => ordered(operand, by => by >= 0),
  $lt: operand => ordered(operand, by => by < 0),
  $lte: operand => ordered(operand, by => by <= 0),
  $in: operand => {
    const tests = items(operand, '$in').map(item => equality(item))
    return value => tests.some(test => test(value))
  },
  $exists: () => () => true,
  $size: operand => value => Array.isArray(value) && value.length === toNumber(operand),
  $type: operand => {
    const wanted = Array.isArray(operand) ? operand : [operand]
    const is = (value: unknown) => wanted.some(type => hasType(value, type))
    return value => is(value) || (Array.isArray(value) && value.some(is))
  },
  $mod: operand => {
    const [divisor = 0, remainder = 0] = items(operand, '$mod').map(item => Math.trunc(toNumber(item)))
    if (divisor === 0) throw new CommandError('BadValue', 'divisor cannot be 0')
    return anyOf(value => isNumber(value) && Math.trunc(toNumber(value)) % divisor === remainder)
  },
  $all: operand => {
    const tests = items(operand, '$all').map(item =>
      isDocument(item) && '$elemMatch' in item ? element(item.$elemMatch) : equality(item),
    )
    return value => tests.length > 0 && tests.every(test => test(value))
  },
  $elemMatch: element,
  $bitsAllSet: bits((value, mask) => (value & mask) === mask),
  $bitsAllClear: bits((value, mask) => (value & mask) === 0n),
  $bitsAnySet: bits((value, mask) => (value & mask) !== 0n),
  $bitsAnyClear: bits((value, mask) => (value & mask) !== mask),
  $comment: () => () => true,
}

function items(operand: unknown, name: string): unknown[] {
  if (!Array.isArray(operand)) throw new CommandError('BadValue', `${name} needs an array`)
  return operand
}

const anyOf =
  (test: Test): Test =>
  value =>
    test(value) || (Array.isArray(value) && value.some(test))

function equality(operand: unknown, regex = true): Test {
  if (regex && typeRank(operand) === 12) {
    const like = pattern(operand)
    return anyOf(value => like(value) || equal(value, operand))
  }
  if (operand === null || operand === undefined) return anyOf(value => value === null || value === undefined)
  return anyOf(value => equal(value, operand))
}

/** Inequalities compare values of the same type only. */
function ordered(operand: unknown, wanted: (by: number) => boolean): Test {
  const type = Math.max(typeRank(operand), 2)
  const nothing = isNumber(operand) && Number.isNaN(toNumber(operand))
  return anyOf(value => {
    if (Math.max(typeRank(value), 2) !== type && type !== 30) return false
    if (isNumber(value) && Number.isNaN(toNumber(value)) !== nothing) return false
    return wanted(compare(value, operand))
  })
}

function element(operand: unknown): Test {
  if (!isDocument(operand)) throw new CommandError('BadValue', '$elemMatch needs an Object')
  const first = Object.keys(operand)[0] ?? ''
  if (isOperatorExpression(operand) && !Object.hasOwn(logical, first)) {
    const tests = conditions(operand)
    const passes = (item: unknown) => tests.every(({ negated, test }) => test(item) !== negated)
    return value => Array.isArray(value) && value.some(passes)
  }
  const matches = compileMatcher(operand)
  return value => Array.isArray(value) && value.some(item => isDocument(item) && matches(item))
}

function pattern(operand: unknown, options?: unknown): Test {
  const { source, pattern: text, options: own, flags } = operand as Record<string, string>
  const letters = String(options ?? own ?? flags ?? '')
  let expression = typeof operand === 'string' ? operand : (text ?? source ?? '')
  // JavaScript has no extended syntax, so remove white space and comments.
  if (letters.includes('x')) expression = expression.replace(/(?<!\\)#.*$/gm, '').replace(/(?<!\\)\s+/g, '')
  const compiled = expressionOf(expression, letters.replace(/[^ims]/g, ''))
  return value => typeof value === 'string' && compiled.test(value)
}

function expressionOf(source: string, flags: string): RegExp {
  try {
    return new RegExp(source, flags)
  } catch (thrown) {
    throw new CommandError('Location51091', `Regular expression is invalid: ${(thrown as Error).message}`)
  }
}

function bits(test: (value: bigint, mask: bigint) => boolean): (operand: unknown) => Test {
  return operand => {
    const mask = Array.isArray(operand)
      ? operand.reduce((sum: bigint, bit) => sum | (1n << BigInt(toNumber(bit))), 0n)
      : BigInt(toNumber(operand))
    return anyOf(value => isNumber(value) && Number.isInteger(toNumber(value)) && test(BigInt(toNumber(value)), mask))
  }
}

/** The types of `$type`, by number and by alias. */
const types: [code: number, alias: string, is: (value: unknown, type?: string) => boolean][] = [
  [1, 'double', (value, type) => type === 'Double' || typeof value === 'number'],
  [2, 'string', value => typeof value === 'string'],
  [3, 'object', value => typeRank(value) === 5],
  [4, 'array', value => Array.isArray(value)],
  [5, 'binData', value => typeRank(value) === 7],
  [7, 'objectId', (_, type) => type === 'ObjectId'],
  [8, 'bool', value => typeof value === 'boolean'],
  [9, 'date', value => value instanceof Date],
  [10, 'null', value => value === null],
  [11, 'regex', value => typeRank(value) === 12],
  [13, 'javascript', (_, type) => type === 'Code'],
  [14, 'symbol', (_, type) => type === 'BSONSymbol'],
  [16, 'int', (_, type) => type === 'Int32'],
  [17, 'timestamp', (_, type) => type === 'Timestamp'],
  [18, 'long', (_, type) => type === 'Long'],
  [19, 'decimal', (_, type) => type === 'Decimal128'],
  [-1, 'minKey', (_, type) => type === 'MinKey'],
  [127, 'maxKey', (_, type) => type === 'MaxKey'],
]

function hasType(value: unknown, wanted: unknown): boolean {
  if (value === undefined) return false
  if (wanted === 'number') return isNumber(value)
  const row = types.find(([code, alias]) => alias === wanted || (isNumber(wanted) && code === toNumber(wanted)))
  if (!row) throw new CommandError('BadValue', `Unknown type name alias: ${String(wanted)}`)
  return row[2](value, (value as { _bsontype?: string } | null)?._bsontype)
}
