/**
 * Writes HTML in which every value is escaped.
 *
 *     html`<td title="${hostile}">${hostile}</td>`
 *
 * Values are texts of clients, of AWS and of the configuration. Characters that HTML gives a meaning become references.
 * Characters that hide or reorder text become visible escapes such as `\u202e`. A text is truncated to 500 characters.
 */
import { escapeLines, escapeUnprintable, MAX_TEXT, truncate } from '../printable.js'

/** Markup that only this file can make. */
export class Html {
  readonly #text: string

  private constructor(text: string) {
    this.#text = text
  }

  /** For `html` alone: `text` is not escaped. */
  static fromEscaped(text: string): Html {
    return new Html(text)
  }

  toString(): string {
    return this.#text
  }
}

/** Nothing is written for null, undefined and false. */
export type HtmlValue = string | number | Html | readonly Html[] | null | undefined | false

export function html(literals: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  assertQuoted(literals)
  const parts = literals.map((literal, index) => (index === 0 ? '' : render(values[index - 1])) + literal)
  return Html.fromEscaped(parts.join(''))
}

/** Up to `max` characters of a text of several lines, with its line breaks. */
export function htmlLines(text: string, max: number): Html {
  return Html.fromEscaped(escapeHtml(escapeLines(truncate(text, max))))
}

/** The address of a link: of this site, or HTTP. Any other, such as `javascript:`, becomes `#`. */
export function linkAddress(address: string): string {
  return /^(https?:\/\/|[#/](?!\/)|[\w-]+[/.#])/i.test(address) ? address : '#'
}

function render(value: HtmlValue): string {
  if (value === null || value === undefined || value === false) return ''
  if (value instanceof Html) return value.toString()
  if (typeof value === 'string') return escapeHtml(escapeUnprintable(truncate(value, MAX_TEXT)))
  if (typeof value === 'number') return String(value)
  return value.map(one => one.toString()).join('')
}

const REFERENCES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, character => REFERENCES[character] ?? '')
}

const checked = new WeakSet<TemplateStringsArray>()

/** Escaping protects an attribute only if quotes are around it, and nothing protects a name of a tag or an attribute. */
function assertQuoted(literals: TemplateStringsArray): void {
  if (checked.has(literals)) return
  let before = ''
  for (const literal of literals.slice(0, -1)) {
    before += literal
    const tag = /<[^<>]*$/.exec(before)?.[0]
    if (tag !== undefined && !/^<[a-z][a-z0-9-]*(\s+[a-z-]+(="[^"]*")?)*\s+[a-z-]+="[^"]*$/.test(tag)) {
      throw new TypeError(`a value stands in a tag without quotes: ${tag}`)
    }
  }
  checked.add(literals)
}
