/** The configuration file: YAML, taken apart into settings, each with its line. */
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
import { type Group, isDefinition, settings } from './settings.js'

/** A value as written, and where: `from` for the value itself, `line` for a place inside of it. */
export type Written = { value: unknown; from: string; inside(way: readonly PropertyKey[]): string }

/** Values by the path of their setting. Nothing but the shape of the file is judged here. */
export type Contents = { values: Map<string, Written>; problems: Problem[] }

/** Reads the text of a file; `name` is what people call it. Throws nothing: whatever is wrong is a problem. */
export function readContents(text: string, name: string): Contents {
  const lines = new LineCounter()
  // Not pretty: that would repeat lines of the file, which may hold a connection string with its password.
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines })
  const contents: Contents = { values: new Map(), problems: [] }
  const line = (offset: number) => `${name}:${lines.linePos(offset).line}`
  // What follows a first error is mostly its echo.
  for (const { message, pos } of document.errors.length > 0 ? document.errors.slice(0, 1) : document.warnings) {
    contents.problems.push({ path: '', message: `not YAML: ${withoutQuotes(message)}`, from: line(pos[0]) })
  }
  if (contents.problems.length === 0) {
    const top = resolved(document.contents, document)
    if (isMap(top)) readGroup(top, settings, [], { document, line, contents })
    else if (!isNothing(top)) {
      contents.problems.push({ path: '', message: 'wanted a mapping of settings', from: name })
    }
  }
  return contents
}

type Around = { document: Document; line: (offset: number) => string; contents: Contents }

function readGroup(map: Node, group: Group, above: readonly string[], around: Around): void {
  if (!isMap(map)) return
  const { document, line, contents } = around
  for (const { key: keyNode, value: valueNode } of map.items) {
    const key = isScalar(keyNode) ? String(keyNode.value) : '?'
    const path = [...above, key].join('.')
    const from = line(isNode(keyNode) ? (keyNode.range?.[0] ?? 0) : 0)
    const node = resolved(valueNode, document)
    const found = key !== 'self' && Object.hasOwn(group, key) ? group[key] : undefined
    const self = found !== undefined && !isDefinition(found) ? found.self : undefined
    if (found === undefined) {
      const known = Object.keys(group).filter(name => name !== 'self')
      contents.problems.push({ path, message: `there is no such setting${didYouMean(key, known)}`, from })
    } else if (isDefinition(found) || (self !== undefined && !isMap(node) && !isNothing(node))) {
      const written = write(node, from, around)
      if (typeof written === 'string') contents.problems.push({ path, message: written, from })
      else contents.values.set(path, written)
    } else if (isMap(node)) readGroup(node, found, [...above, key], around)
    else if (!isNothing(node)) {
      const known = Object.keys(found).filter(name => name !== 'self')
      contents.problems.push({ path, message: `wanted a mapping of ${known.join(', ')}`, from })
    }
  }
}

/** The value of a node, or what is wrong with it. */
function write(node: Node | null, from: string, { document, line }: Around): Written | string {
  try {
    return {
      value: node === null ? null : node.toJS(document),
      from,
      inside: way => {
        for (let depth = way.length; depth > 0; depth--) {
          const part = isCollection(node) ? node.getIn(way.slice(0, depth), true) : undefined
          if (isNode(part) && part.range) return line(part.range[0])
        }
        return from
      },
    }
  } catch {
    return 'its aliases cannot be followed'
  }
}

function resolved(node: unknown, document: Document): Node | null {
  // An alias of nothing stays itself, which is neither a mapping nor nothing.
  const target = isAlias(node) ? (node.resolve(document) ?? node) : node
  return isNode(target) ? target : null
}

/** A key with nothing behind it, as when everything below it is a comment. */
const isNothing = (node: Node | null) => node === null || (isScalar(node) && node.value === null)

/** Messages of the parser may end in a piece of the file, or in advice to programmers. */
const withoutQuotes = (message: string) => message.replace(/(:? ?["'`]|;).*$/su, '')
