/** The configuration file: parses YAML into settings and records the line and column of each. */
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { hasEndMark } from './endMark.js'
import { describeSyntaxError } from './fileSyntax.js'
import { ALL_KEYS, unknownKey } from './keys.js'
import { findMissingBlank, MISSING_BLANK } from './missingBlank.js'
import type { Problem } from './problem.js'
import { isDefinition, type SettingGroup, settings } from './settings.js'

/** A value as written. `from` is the source of the value; `inside` gives that of a place within it. */
export type FileValue = { value: unknown; from: string; inside(path: readonly PropertyKey[]): string }

/**
 * Values by the path of their setting. Only the structure of the file is checked here. `isParsed`: the file is a mapping,
 * so that a setting that is not in it is missing. `hasEndMark`: the file shows that it is complete.
 */
export type FileContents = {
  values: Map<string, FileValue>
  problems: Problem[]
  isParsed: boolean
  hasEndMark: boolean
}

/** Parses the text of a file; `name` is its name in messages. Throws nothing: every error becomes a problem. */
export function parseFile(text: string, name: string): FileContents {
  const lines = new LineCounter()
  // Pretty errors, and warnings that the parser prints, would repeat parts of the file, which may hold a password.
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'error', lineCounter: lines })
  const contents: FileContents = { values: new Map(), problems: [], isParsed: true, hasEndMark: hasEndMark(text) }
  const sourceAt = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${name}:${line}:${col}`
  }
  // Errors after the first are mostly consequences of it.
  for (const error of document.errors.length > 0 ? document.errors.slice(0, 1) : document.warnings) {
    const message = `not YAML: ${describeSyntaxError(error, text)}`
    contents.problems.push({ path: '', message, from: sourceAt(error.pos[0]) })
    contents.isParsed = false
  }
  if (contents.problems.length === 0) {
    const root = resolveAlias(document.contents, document)
    if (isMap(root)) readGroup(root, settings, [], { document, sourceAt, contents })
    else if (!isEmpty(root)) {
      const message = `expected a mapping of settings${missingBlankIn(root, settings)}`
      contents.problems.push({ path: '', message, from: sourceAt(root?.range?.[0] ?? 0) })
      contents.isParsed = false
    }
  }
  return contents
}

type Parsing = { document: Document; sourceAt: (offset: number) => string; contents: FileContents }

function readGroup(map: Node, group: SettingGroup, above: readonly string[], parsing: Parsing): void {
  if (!isMap(map)) return
  const { document, sourceAt, contents } = parsing
  for (const { key: keyNode, value: valueNode } of map.items) {
    const key = isScalar(keyNode) ? String(keyNode.value) : ''
    const from = sourceAt(isNode(keyNode) ? (keyNode.range?.[0] ?? 0) : 0)
    const node = resolveAlias(valueNode, document)
    const found = key !== 'self' && Object.hasOwn(group, key) ? group[key] : undefined
    if (found === undefined) {
      const { name, message } = unknownKey(key, keysOf(group))
      contents.problems.push({ path: [...above, ...(name === undefined ? [] : [name])].join('.'), message, from })
      continue
    }
    const path = [...above, key].join('.')
    const self = isDefinition(found) ? undefined : found.self
    if (isDefinition(found) || (self !== undefined && !isMap(node) && !isEmpty(node))) {
      const value = readValue(node, from, parsing)
      if (typeof value === 'string') contents.problems.push({ path, message: value, from })
      else contents.values.set(path, value)
    } else if (isMap(node)) readGroup(node, found, [...above, key], parsing)
    else if (!isEmpty(node)) {
      const message = `expected a mapping of ${keysOf(found).join(', ')}${missingBlankIn(node, found)}`
      contents.problems.push({ path, message, from })
    }
  }
}

const keysOf = (group: SettingGroup) => Object.keys(group).filter(name => name !== 'self')

/** YAML reads `port:27017` without a blank as text, and a group of such lines as well. */
function missingBlankIn(node: Node | null, group: SettingGroup): string {
  const text = isScalar(node) ? String(node.value) : ''
  const name = findMissingBlank(text, keysOf(group)) ?? findMissingBlank(text, ALL_KEYS)
  return name === undefined ? '' : `; ${MISSING_BLANK} of ${name}`
}

/** The value of a node, or a message that says what is wrong with it. */
function readValue(node: Node | null, from: string, { document, sourceAt }: Parsing): FileValue | string {
  try {
    return {
      value: node === null ? null : node.toJS(document),
      from,
      inside: path => {
        const offset = findOffset(node, path)
        return offset === undefined ? from : sourceAt(offset)
      },
    }
  } catch {
    return 'contains an alias that cannot be resolved'
  }
}

/** The offset of the key or the list entry at the end of a path, or of the last part of it that exists in the file. */
function findOffset(root: Node | null, path: readonly PropertyKey[]): number | undefined {
  let node: unknown = root
  let offset: number | undefined
  for (const step of path) {
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && String(key.value) === step) : undefined
    const start = pair ? pair.key : isSeq(node) ? node.items[Number(step)] : undefined
    if (!isNode(start)) break
    offset = start.range?.[0] ?? offset
    node = pair ? pair.value : start
  }
  return offset
}

function resolveAlias(node: unknown, document: Document): Node | null {
  // An alias without an anchor stays an alias, which is neither a mapping nor empty.
  const target = isAlias(node) ? (node.resolve(document) ?? node) : node
  return isNode(target) ? target : null
}

/** A key without a value, for example because everything below it is a comment. */
const isEmpty = (node: Node | null) => node === null || (isScalar(node) && node.value === null)
