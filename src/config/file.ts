/** The configuration file: parses YAML into settings and records the line of each. */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
} from 'yaml'
import { didYouMean } from './nearest.js'
import type { Problem } from './problem.js'
import { isDefinition, type SettingGroup, settings } from './settings.js'

/** A value as written. `from` is the source of the value; `inside` gives that of a place within it. */
export type FileValue = { value: unknown; from: string; inside(path: readonly PropertyKey[]): string }

/** Values by the path of their setting. Only the structure of the file is checked here. */
export type FileContents = { values: Map<string, FileValue>; problems: Problem[] }

/** Parses the text of a file; `name` is its name in messages. Throws nothing: every error becomes a problem. */
export function parseFile(text: string, name: string): FileContents {
  const lines = new LineCounter()
  // A pretty error would repeat lines of the file, which may hold a connection string with its password.
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines })
  const contents: FileContents = { values: new Map(), problems: [] }
  const sourceAt = (offset: number) => `${name}:${lines.linePos(offset).line}`
  // Errors after the first are mostly consequences of it.
  for (const { message, pos } of document.errors.length > 0 ? document.errors.slice(0, 1) : document.warnings) {
    contents.problems.push({ path: '', message: `not YAML: ${withoutQuotes(message)}`, from: sourceAt(pos[0]) })
  }
  if (contents.problems.length === 0) {
    const root = resolveAlias(document.contents, document)
    if (isMap(root)) readGroup(root, settings, [], { document, sourceAt, contents })
    else if (!isEmpty(root)) {
      contents.problems.push({ path: '', message: 'expected a mapping of settings', from: name })
    }
  }
  return contents
}

type Parsing = { document: Document; sourceAt: (offset: number) => string; contents: FileContents }

function readGroup(map: Node, group: SettingGroup, above: readonly string[], parsing: Parsing): void {
  if (!isMap(map)) return
  const { document, sourceAt, contents } = parsing
  for (const { key: keyNode, value: valueNode } of map.items) {
    const key = isScalar(keyNode) ? String(keyNode.value) : '?'
    const path = [...above, key].join('.')
    const from = sourceAt(isNode(keyNode) ? (keyNode.range?.[0] ?? 0) : 0)
    const node = resolveAlias(valueNode, document)
    const found = key !== 'self' && Object.hasOwn(group, key) ? group[key] : undefined
    const self = found !== undefined && !isDefinition(found) ? found.self : undefined
    if (found === undefined) {
      contents.problems.push({ path, message: `there is no such setting${didYouMean(key, keysOf(group))}`, from })
    } else if (isDefinition(found) || (self !== undefined && !isMap(node) && !isEmpty(node))) {
      const value = readValue(node, from, parsing)
      if (typeof value === 'string') contents.problems.push({ path, message: value, from })
      else contents.values.set(path, value)
    } else if (isMap(node)) readGroup(node, found, [...above, key], parsing)
    else if (!isEmpty(node)) {
      contents.problems.push({ path, message: `expected a mapping of ${keysOf(found).join(', ')}`, from })
    }
  }
}

const keysOf = (group: SettingGroup) => Object.keys(group).filter(name => name !== 'self')

/** The value of a node, or a message that says what is wrong with it. */
function readValue(node: Node | null, from: string, { document, sourceAt }: Parsing): FileValue | string {
  try {
    return {
      value: node === null ? null : node.toJS(document),
      from,
      inside: path => {
        for (let depth = path.length; depth > 0; depth--) {
          const part = isCollection(node) ? node.getIn(path.slice(0, depth), true) : undefined
          if (isNode(part) && part.range) return sourceAt(part.range[0])
        }
        return from
      },
    }
  } catch {
    return 'contains an alias that cannot be resolved'
  }
}

function resolveAlias(node: unknown, document: Document): Node | null {
  // An alias without an anchor stays an alias, which is neither a mapping nor empty.
  const target = isAlias(node) ? (node.resolve(document) ?? node) : node
  return isNode(target) ? target : null
}

/** A key without a value, for example because everything below it is a comment. */
const isEmpty = (node: Node | null) => node === null || (isScalar(node) && node.value === null)

/** Messages of the parser may end in a part of the file, or in advice to programmers. */
const withoutQuotes = (message: string) => message.replace(/(:? ?["'`]|;).*$/su, '')
