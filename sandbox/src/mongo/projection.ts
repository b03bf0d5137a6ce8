/**
 * Compiles projections of find.
 *
 * Inclusion, exclusion, `$slice`, `$elemMatch` and the positional `$` keep BSON types exactly. mingo computes expressions.
 */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { compileStages } from './expression.js'
import { compileMatcher, isOperatorExpression } from './match.js'
import { isDocument, isNumber, toNumber } from './order.js'

type Projector = (document: Document) => Document
/** A tree of fields. A leaf includes, excludes or computes a value. */
type Tree = Map<string, Tree | Leaf>
type Leaf = 'keep' | 'omit' | ((value: unknown) => unknown)

/** `filter` is that of the find, for the positional `$`. Throws if inclusion and exclusion are mixed. */
export function compileProjection(projection: Document, filter: Document = {}): Projector {
  const fields = flatten(projection, '')
  if (fields.some(([, how]) => computes(how))) {
    const run = compileStages([{ $project: projection }])
    return document => run([document])[0] ?? {}
  }
  const tree: Tree = new Map()
  let including: boolean | undefined
  let shaped = false
  for (const [name, how] of fields) {
    const leaf = leafOf(name, how, filter)
    if (name !== '_id') {
      if (typeof leaf === 'function') shaped ||= isDocument(how) && '$elemMatch' in how
      else if (including === undefined) including = leaf === 'keep'
      else if (including !== (leaf === 'keep')) throw mixed(name, including)
      if (name.endsWith('.$')) including = true
    }
    plant(tree, name.replace(/\.\$$/, '').split('.'), leaf)
  }
  const id = tree.get('_id')
  const only = including ?? (shaped || (id === 'keep' && tree.size === 1))
  if (only && id === undefined) tree.set('_id', 'keep')
  return document => prune(document, tree, only) as Document
}

/** `{a: {b: 1}}` means `{'a.b': 1}`. */
function flatten(projection: Document, prefix: string): [name: string, how: unknown][] {
  return Object.entries(projection).flatMap(([name, how]): [string, unknown][] =>
    isDocument(how) && !isOperatorExpression(how) && Object.keys(how).length > 0
      ? flatten(how, `${prefix}${name}.`)
      : [[prefix + name, how]],
  )
}

function computes(how: unknown): boolean {
  if (typeof how === 'string' || Array.isArray(how)) return true
  return isOperatorExpression(how) && !('$slice' in how) && !('$elemMatch' in how) && !('$meta' in how)
}

function leafOf(name: string, how: unknown, filter: Document): Leaf {
  if (isDocument(how) && how.$slice !== undefined) return slicer(how.$slice)
  if (isDocument(how) && isDocument(how.$elemMatch)) {
    const matches = compileMatcher({ item: { $elemMatch: how.$elemMatch } })
    return firstOf(item => matches({ item: [item] }))
  }
  if (name.endsWith('.$')) {
    const field = name.slice(0, -2)
    const conditions = Object.entries(filter).filter(([one]) => one === field || one.startsWith(`${field}.`))
    const matches = compileMatcher(Object.fromEntries(conditions))
    return firstOf(item => matches({ [field]: [item] }))
  }
  const isIncluded = isNumber(how) ? toNumber(how) !== 0 : how !== false
  return isIncluded ? 'keep' : 'omit'
}

function firstOf(test: (item: unknown) => boolean): (value: unknown) => unknown {
  return value => {
    if (!Array.isArray(value)) return undefined
    const found = value.find(test)
    return found === undefined ? undefined : [found]
  }
}

function slicer(operand: unknown): (value: unknown) => unknown {
  const [first = 0, count] = (Array.isArray(operand) ? operand : [operand]).map(toNumber)
  return value => {
    if (!Array.isArray(value)) return value
    if (count === undefined) return first < 0 ? value.slice(first) : value.slice(0, first)
    const start = first < 0 ? Math.max(0, value.length + first) : first
    return value.slice(start, start + count)
  }
}

function plant(tree: Tree, path: readonly string[], leaf: Leaf): void {
  const [name = '', ...rest] = path
  if (rest.length === 0) {
    tree.set(name, leaf)
    return
  }
  const branch = tree.get(name)
  const below: Tree = branch instanceof Map ? branch : new Map()
  tree.set(name, below)
  plant(below, rest, leaf)
}

function prune(value: unknown, tree: Tree, only: boolean): unknown {
  if (Array.isArray(value)) {
    return value.filter(item => !only || isDocument(item) || Array.isArray(item)).map(item => prune(item, tree, only))
  }
  if (!isDocument(value)) return only ? undefined : value
  const result: Document = {}
  for (const name of Object.keys(value)) {
    const branch = tree.get(name)
    const projected = branch === undefined ? (only ? undefined : value[name]) : applyTo(value[name], branch, only)
    if (projected !== undefined) result[name] = projected
  }
  return result
}

function applyTo(value: unknown, branch: Tree | Leaf, only: boolean): unknown {
  if (branch === 'keep') return value
  if (branch === 'omit') return undefined
  return branch instanceof Map ? prune(value, branch, only) : branch(value)
}

function mixed(name: string, including: boolean): CommandError {
  const [kind, other, code] = including
    ? (['exclusion', 'inclusion', 'Location31254'] as const)
    : (['inclusion', 'exclusion', 'Location31249'] as const)
  return new CommandError(code, `Cannot do ${kind} on field ${name} in ${other} projection`)
}
