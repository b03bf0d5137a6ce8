/**
 * Denials as a file holds them.
 *
 *     - arn:aws:iam::123456789012:role/orders-api                        # each entry is a text,
 *     - session: arn:aws:sts::123456789012:assumed-role/orders-api/pod-7 # or a mapping that names its kind
 *       why: ticket 4711
 *       until: 2026-12-24T00:00:00Z
 *     ...
 *
 * The three dots at the end are required: a list that was cut at the end of a line is good YAML, and would let in whoever
 * stood below the cut.
 */
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { type Denial, parseDenial } from './denials.js'

/** The text of a file; `name` is what people call it. Every problem is a line that names its place. */
export function parseDenyFile(file: string, name: string): { all: Denial[]; problems: string[] } {
  const lines = new LineCounter()
  const document = parseDocument(file, { prettyErrors: false, lineCounter: lines })
  const line = (offset = 0) => `${name}:${lines.linePos(offset).line}`
  const wrong = [...document.errors, ...document.warnings]
  if (wrong.length > 0) return { all: [], problems: wrong.map(({ pos }) => `not YAML (from ${line(pos[0])})`) }
  if (!/(^|\n)\.\.\.\s*$/.test(file)) {
    return { all: [], problems: [`does not end in a line of three dots (...), so it may have been cut (from ${name})`] }
  }
  const list = document.contents
  if (!isSeq(list)) return { all: [], problems: [`wanted a list, if only [] (from ${name})`] }
  const all: Denial[] = []
  const problems: string[] = []
  for (const item of list.items) {
    const from = line(isNode(item) ? item.range?.[0] : 0)
    const read = parseDenial(plain(item, document))
    if (typeof read === 'string') problems.push(`${read} (from ${from})`)
    else all.push(read)
  }
  return { all, problems }
}

/** The value of an entry; null for what is none, and for aliases, which a list of names does not need. */
function plain(item: unknown, document: Document): unknown {
  try {
    return isMap(item) || isScalar(item) ? item.toJS(document, { maxAliasCount: 0 }) : null
  } catch {
    return null
  }
}

/** The file that says this, dots and all. */
export function formatDenyFile(all: readonly Denial[]): string {
  const entries = all.map(({ kind: of, value, ...rest }) => `- ${JSON.stringify({ [of]: value, ...rest })}\n`)
  return `${entries.length > 0 ? entries.join('') : '[]\n'}...\n`
}
