/** The budget of calls to STS: what the calls returned, and the tokens and the queue of each account and host. */
import { renderChart } from '../chart.js'
import { type Html, html } from '../html.js'
import { formatCount, formatRate } from '../quantities.js'
import type { Column, StatusSnapshot } from '../snapshot.js'
import { renderTable } from '../table.js'

const CALLS = [
  ['identity', 'identity', 0],
  ['refused', 'refused', 1],
  ['throttled', 'throttled', 3],
  ['unavailable', 'unavailable', 2],
] as const

export function renderStsCalls({ series }: StatusSnapshot): Html {
  return renderChart({
    id: 'sts-calls',
    caption: 'Calls to STS per second by outcome, last 15 minutes',
    lines: CALLS.map(([outcome, name, style]) => ({
      path: ['stsCalls', outcome],
      name,
      column: series.stsCalls[outcome],
      style,
    })),
    unit: 'perSecond',
    format: formatRate,
    empty: 'No sample yet.',
  })
}

export function renderWaiting({ series }: StatusSnapshot): Html {
  return renderChart({
    id: 'waiting',
    caption: 'Logins that wait for a call to STS, last 15 minutes',
    lines: linesOf('waiting', series.waiting),
    unit: 'count',
    format: formatCount,
    empty: 'No login has waited for a call to STS yet.',
  })
}

function linesOf(group: string, columns: Readonly<Record<string, Column>>) {
  return Object.entries(columns).map(([bucket, column], index) => ({
    path: [group, bucket],
    name: bucket,
    column,
    style: index % 8,
  }))
}

export function renderBudget({ budgets }: StatusSnapshot): Html {
  return html`${renderTable({
    id: 'buckets',
    caption: 'Budget by account and STS host',
    columns: [
      { title: 'Account and host', cell: ({ bucket }) => html`<code>${bucket}</code>` },
      { title: 'Tokens', isNumber: true, cell: ({ tokens }) => formatRate(tokens) },
      { title: 'Calls/s', isNumber: true, cell: ({ perSecond }) => formatRate(perSecond) },
      { title: 'Throttled', isNumber: true, cell: ({ throttles }) => formatCount(throttles) },
      { title: 'Waiting', isNumber: true, cell: ({ waiting }) => formatCount(waiting) },
    ],
    rows: budgets.buckets,
    keyOf: ({ bucket }) => bucket,
    empty: 'No account has called STS yet. An account appears with its first login.',
  })}
${renderTable({
  id: 'hosts',
  caption: 'STS hosts',
  columns: [
    { title: 'Host', cell: ({ host }) => html`<code>${host}</code>` },
    { title: 'Health', cell: ({ health }) => describeHealth(health) },
  ],
  rows: budgets.hosts,
  keyOf: ({ host }) => host,
  empty: 'No STS host is configured.',
})}`
}

function describeHealth(health: number): Html {
  if (health <= 0) return html`<span class="bad">✕ ejected</span>`
  const percent = `${Math.round(health * 100)} % good answers`
  return health < 0.9 ? html`<span class="poor">▲ ${percent}</span>` : html`<span class="good">✓ ${percent}</span>`
}
