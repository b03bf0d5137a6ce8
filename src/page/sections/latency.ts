/** How long the stages of logins take. */
import { type ChartLine, renderChart } from '../chart.js'
import type { Html } from '../html.js'
import { formatMilliseconds } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'

const STAGES = [
  ['queue', 'waiting for STS budget', 3],
  ['sts', 'calling STS', 0],
  ['upstream', 'logging in to MongoDB', 4],
] as const

export function renderLatency({ series }: StatusSnapshot): Html {
  const lines: ChartLine[] = STAGES.flatMap(([stage, name, style]) => [
    { path: ['latency', stage, 'p99'], name: `${name}, p99`, column: series.latency[stage].p99, style },
    {
      path: ['latency', stage, 'median'],
      name: `${name}, median`,
      column: series.latency[stage].median,
      style,
      isMinor: true,
    },
  ])
  return renderChart({
    id: 'latency',
    caption: 'Milliseconds by stage of a login, last 15 minutes',
    lines,
    unit: 'milliseconds',
    format: formatMilliseconds,
    empty: 'No login yet.',
  })
}
