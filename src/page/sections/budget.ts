/** The budget of calls to STS: what the calls returned, and the tokens and the queue of each account and host. */
import { renderAddress } from '../address.js'
import { renderChart, renderMarker, renderPlot } from '../chart.js'
import { type Html, html } from '../html.js'
import { formatCount, formatRate } from '../quantities.js'
import type { StatusSeries, StatusSnapshot } from '../snapshot.js'
import { renderTable } from '../table.js'

const CALLS = [
  ['identity', 0],
  ['refused', 1],
  ['throttled', 3],
  ['unavailable', 2],
] as const
/** Sums up the accounts that have not logged in. */
const OTHER = 'other'
const STYLES = 8

export function renderStsCalls({ series }: StatusSnapshot): Html {
  return renderChart({
    id: 'sts-calls',
    caption: 'Calls to STS per second by outcome, last 15 minutes',
    lines: CALLS.map(([outcome, style]) => ({
      path: ['stsCalls', outcome],
      name: outcome,
      column: series.stsCalls[outcome],
      style,
    })),
    format: formatRate,
    empty: 'No sample yet.',
  })
}

export function renderWaiting({ series }: StatusSnapshot): Html {
  return renderChart({
    id: 'waiting',
    caption: 'Logins that wait for a call to STS, last 15 minutes',
    lines: Object.entries(series.waiting).map(([bucket, column]) => ({
      path: ['waiting', bucket],
      name: renderBucket(bucket),
      column,
      style: styleOf(bucket, series),
    })),
    format: formatCount,
    empty: 'No login has waited for a call to STS yet.',
  })
}

export function renderBudget({ budgets, series }: StatusSnapshot): Html {
  const hasTokens = Object.keys(series.tokens).length > 0
  return html`${hasTokens && renderPlot({ id: 'tokens', caption: 'Calls to STS that can start at once, last 15 minutes' })}
${renderTable({
  id: 'buckets',
  caption: 'Budget by account and STS host',
  columns: [
    {
      title: 'Account and host',
      cell: ({ bucket }) => html`${renderTokensMarker(bucket, series)}${renderBucket(bucket)}`,
    },
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
    { title: 'Host', cell: ({ host }) => renderAddress(host) },
    { title: 'Health', cell: ({ health }) => describeHealth(health) },
  ],
  rows: budgets.hosts,
  keyOf: ({ host }) => host,
  empty: 'No STS host is configured.',
})}`
}

function renderTokensMarker(bucket: string, series: StatusSeries): Html {
  if (!Object.hasOwn(series.tokens, bucket)) return html``
  return html`${renderMarker({ path: ['tokens', bucket], style: styleOf(bucket, series) })} `
}

/** A bucket has the same style in all charts. */
function styleOf(bucket: string, { waiting, tokens }: StatusSeries): number {
  const names = [...new Set([...Object.keys(tokens), ...Object.keys(waiting)])]
  return names.indexOf(bucket) % STYLES
}

function renderBucket(bucket: string): Html {
  if (bucket === OTHER) return html`other accounts`
  const [account = '', host = ''] = bucket.split(' ')
  return html`<code>${account}</code> ${renderAddress(host)}`
}

function describeHealth(health: number): Html {
  if (health <= 0) return html`<span class="bad">✕ ejected</span>`
  const percent = `${Math.round(health * 100)} % good answers`
  return health < 0.9 ? html`<span class="poor">▲ ${percent}</span>` : html`<span class="good">✓ ${percent}</span>`
}
