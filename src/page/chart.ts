/**
 * Renders the place of a chart and the table of its latest values. The table is the legend of the chart, its alternative for
 * screen readers, and all there is without JavaScript. The browser draws the chart; it finds the line of a series by
 * `data-series`, and color and dashes by the computed style of the marker in the row.
 */
import { type Html, html } from './html.js'
import { summarize } from './quantities.js'
import type { Column } from './snapshot.js'
import { renderEmpty, renderTable } from './table.js'

export type ChartLine = {
  /** Where the column is in the series, such as `['logins', 'success']`. */
  path: readonly string[]
  name: string | Html
  column: Column
  /** Number of the style of the line, from 0 to 7. */
  style: number
}

export type ChartOptions = {
  id: string
  /** What the vertical axis shows, with its unit. */
  caption: string
  lines: readonly ChartLine[]
  format(value: number | null): string
  empty: string
}

export function renderChart({ id, caption, lines, format, empty }: ChartOptions): Html {
  if (lines.length === 0) return renderEmpty(empty)
  const rows = lines.map(line => ({ ...line, ...summarize(line.column) }))
  const column = (title: string, value: 'last' | 'mean' | 'peak') => ({
    title,
    isNumber: true,
    cell: (row: (typeof rows)[number]) => format(row[value]),
  })
  const name = {
    title: 'Series',
    cell: (row: ChartLine) => html`${renderMarker(row)} ${row.name}`,
  }
  return html`${renderPlot({ id, caption })}
${renderTable({
  id: `${id}-values`,
  caption,
  columns: [name, column('Now', 'last'), column('Mean', 'mean'), column('Peak', 'peak')],
  rows,
  keyOf: ({ path }) => JSON.stringify(path),
  hidesCaption: true,
  empty,
})}`
}

/** The place of the chart. The lines are those of the markers in the same section. */
export function renderPlot({ id, caption }: Pick<ChartOptions, 'id' | 'caption'>): Html {
  return html`<p class="chart-caption" aria-hidden="true">${caption}</p>
<div class="chart" data-chart="${id}" data-caption="${caption}" data-key="${id}-chart"></div>`
}

/** A sample of the line. Its dashes tell it apart without color. */
export function renderMarker({ path, style }: Pick<ChartLine, 'path' | 'style'>): Html {
  return html`<svg class="marker line-${style}" data-series="${JSON.stringify(path)}" viewBox="0 0 24 8" width="24" height="8" aria-hidden="true" focusable="false"><line x1="0" y1="4" x2="24" y2="4"></line></svg>`
}
