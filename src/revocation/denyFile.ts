/**
 * The form of a file of denials.
 *
 *     - arn:aws:iam::123456789012:role/orders-api                        # an entry is either a text
 *     - session: arn:aws:sts::123456789012:assumed-role/orders-api/pod-7 # or a mapping that names its kind
 *       why: ticket 4711
 *       until: 2026-12-24T00:00:00Z
 *     ...
 *
 * The three dots at the end (the YAML document end marker) are required. A list that was cut at the end of a line is still
 * valid YAML, and would admit every principal below the cut.
 */
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { hasEndMark } from '../config/endMark.js'
import { type Denial, parseDenial } from './denials.js'

/** Parses the text of a file. Each problem ends with its place, such as `(from /etc/deny.yaml:3:1)`; `name` names the file. */
export function parseDenyFile(text: string, name: string): { all: Denial[]; problems: string[] } {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'error', lineCounter })
  const locate = (offset = 0) => {
    const { line, col } = lineCounter.linePos(offset)
    return `${name}:${line}:${col}`
  }
  const errors = [...document.errors, ...document.warnings]
  if (errors.length > 0) {
    return { all: [], problems: errors.map(({ pos }) => `not valid YAML (from ${locate(pos[0])})`) }
  }
  if (!hasEndMark(text)) {
    return { all: [], problems: [`must end in a line of three dots (...); it may have been cut (from ${name})`] }
  }
  const list = document.contents
  if (!isSeq(list)) return { all: [], problems: [`must be a list, at least [] (from ${name})`] }
  const all: Denial[] = []
  const problems: string[] = []
  for (const item of list.items) {
    const location = locate(isNode(item) ? item.range?.[0] : 0)
    const denial = parseDenial(toPlainValue(item, document))
    if (typeof denial === 'string') problems.push(`${denial} (from ${location})`)
    else all.push(denial)
  }
  return { all, problems }
}

/** The value of an entry; null for other nodes and for aliases, which a list of names does not need. */
function toPlainValue(item: unknown, document: Document): unknown {
  try {
    return isMap(item) || isScalar(item) ? item.toJS(document, { maxAliasCount: 0 }) : null
  } catch {
    return null
  }
}

/** The text of a file with these denials, including the end marker. */
export function formatDenyFile(all: readonly Denial[]): string {
  const entries = all.map(({ kind, value, ...rest }) => `- ${JSON.stringify({ [kind]: value, ...rest })}\n`)
  return `${entries.length > 0 ? entries.join('') : '[]\n'}...\n`
}
