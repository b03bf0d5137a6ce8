/** How long the stages of logins take. */
import { renderMarker, renderPlot } from '../chart.js'
import { type Html, html } from '../html.js'
import { formatMilliseconds, summarize } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderTable } from '../table.js'

const STAGES = [
  { stage: 'queue', name: 'waiting for STS budget', style: 3 },
  { stage: 'sts', name: 'calling STS', style: 0 },
  { stage: 'upstream', name: 'logging in to MongoDB', style: 4 },
] as const

export function renderLatency({ series }: StatusSnapshot): Html {
  const rows = STAGES.map(row => {
    const { median, p99 } = series.latency[row.stage]
    return { ...row, median: summarize(median), p99: summarize(p99) }
  })
  return html`${renderPlot({ id: 'latency', caption: 'Slowest 1 % (p99) by stage of a login in milliseconds, last 15 minutes' })}
${renderTable({
  id: 'latency-values',
  caption: 'Latency by stage of a login, last 15 minutes',
  hidesCaption: true,
  columns: [
    {
      title: 'Stage',
      cell: ({ stage, name, style }) => html`${renderMarker({ path: ['latency', stage, 'p99'], style })} ${name}`,
    },
    { title: 'Median now', isNumber: true, cell: ({ median }) => formatMilliseconds(median.last) },
    { title: 'p99 now', isNumber: true, cell: ({ p99 }) => formatMilliseconds(p99.last) },
    { title: 'p99 peak', isNumber: true, cell: ({ p99 }) => formatMilliseconds(p99.peak) },
  ],
  rows,
  keyOf: ({ stage }) => stage,
  empty: 'No login yet.',
})}`
}
