/**
 * Renders tables. Each has a caption and a scope for every header. A table that is wider than a phone scrolls in a region of
 * its own, which the keyboard reaches, or becomes a list of cards.
 */
import { type Html, type HtmlValue, html } from './html.js'

export type TableColumn<T> = {
  title: string
  /** Numbers are aligned to the right. */
  isNumber?: boolean
  cell(row: T): HtmlValue
}

export type TableOptions<T> = {
  /** Unique on the page; names the region. */
  id: string
  caption: string
  /** The text above the table already says what the caption says. */
  hidesCaption?: boolean
  /** The first column is the header of its row. */
  columns: readonly TableColumn<T>[]
  rows: readonly T[]
  /** Identifies a row, so that an update finds it again. */
  keyOf(row: T): string
  /** `cards`: rows with long texts. On a phone each becomes a card. */
  narrow?: 'scroll' | 'cards'
  /** Shown in place of a table without rows. */
  empty: string
}

export function renderTable<T>(options: TableOptions<T>): Html {
  const { id, caption, columns, rows, keyOf, hidesCaption, narrow = 'scroll', empty } = options
  if (rows.length === 0) return renderEmpty(empty)
  // The explicit roles survive the change of `display` that makes cards of rows.
  const head = columns.map(
    column => html`<th scope="col" role="columnheader" class="${classOf(column)}">${column.title}</th>`,
  )
  return html`<div class="scroll" role="group" aria-labelledby="${id}-caption" tabindex="0" data-key="${id}-region">
<table role="table" class="${narrow}"><caption id="${id}-caption" class="${hidesCaption ? 'visually-hidden' : ''}">${caption}</caption>
<thead role="rowgroup"><tr role="row">${head}</tr></thead>
<tbody role="rowgroup">${rows.map(row => renderRow(row, columns, keyOf(row)))}</tbody>
</table></div>`
}

export function renderEmpty(text: string): Html {
  return html`<p class="empty">${text}</p>`
}

function renderRow<T>(row: T, columns: readonly TableColumn<T>[], key: string): Html {
  const cells = columns.map((column, index) =>
    index === 0
      ? html`<th scope="row" role="rowheader" class="${classOf(column)}">${column.cell(row)}</th>`
      : html`<td role="cell" class="${classOf(column)}" data-label="${column.title}">${column.cell(row)}</td>`,
  )
  return html`<tr role="row" data-key="${key}">${cells}</tr>
`
}

const classOf = ({ isNumber }: { isNumber?: boolean }): string => (isNumber ? 'number' : 'text')
