/** Open sessions over time, and the principals that have the most. */
import { renderArn } from '../arn.js'
import { renderChart } from '../chart.js'
import { type Html, html } from '../html.js'
import { formatCount } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderTable } from '../table.js'
import { renderMoment } from '../times.js'

export function renderSessions({ series }: StatusSnapshot): Html {
  return renderChart({
    id: 'sessions',
    caption: 'Open sessions, last 15 minutes',
    lines: [{ path: ['sessions'], name: 'sessions', column: series.sessions, style: 0 }],
    format: formatCount,
    empty: 'No sample yet.',
  })
}

export function renderPrincipals({ principals, time }: StatusSnapshot): Html {
  return renderTable({
    id: 'principals',
    caption: 'The 20 principals with the most sessions',
    columns: [
      { title: 'Principal', cell: ({ principal }) => renderArn(principal) },
      { title: 'Sessions', isNumber: true, cell: ({ sessions }) => formatCount(sessions) },
      { title: 'Logins', isNumber: true, cell: ({ logins }) => formatCount(logins) },
      { title: 'Last login', cell: ({ lastLogin }) => renderMoment(Date.parse(lastLogin), time) },
      { title: 'From', cell: ({ lastAddress }) => html`<code>${lastAddress}</code>` },
      { title: 'Session name', cell: ({ lastArn, principal }) => sessionNameOf(lastArn, principal) },
    ],
    rows: principals,
    keyOf: ({ principal }) => principal,
    narrow: 'cards',
    empty: 'No login yet. A principal appears with its first login.',
  })
}

/** The last part of the ARN of an assumed role. A user has none. */
function sessionNameOf(arn: string, principal: string): Html {
  const name = arn === principal ? '–' : arn.slice(arn.lastIndexOf('/') + 1)
  return html`<span class="break">${name}</span>`
}
