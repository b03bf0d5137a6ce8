/** Logins by outcome over time. */
import { renderChart } from '../chart.js'
import { type Html, html } from '../html.js'
import { formatRate } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderEmpty } from '../table.js'

/** The meaning of each outcome decides about the style of its line. */
const STYLES: Readonly<Record<string, number>> = { success: 0, refused: 1, unavailable: 2 }

export function renderLogins({ series }: StatusSnapshot): Html {
  const lines = Object.entries(series.logins).map(([outcome, column], index) => ({
    path: ['logins', outcome],
    name: outcome,
    column,
    style: STYLES[outcome] ?? 3 + index,
  }))
  const hasLogins = lines.some(({ column }) => column.some(value => value !== null && value > 0))
  return html`${renderChart({
    id: 'logins',
    caption: 'Logins per second, last 15 minutes',
    lines,
    format: formatRate,
    empty: 'No sample yet.',
  })}${!hasLogins && renderEmpty('No login in the last 15 minutes.')}
<p class="note">Refused: the identity, the rule or the client was at fault. Unavailable: the proxy, STS or MongoDB could not decide, and clients retry. Abandoned: the client disconnected first.</p>`
}
