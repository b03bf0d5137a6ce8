/** The certificates that the proxy uses, the one that expires first at the top. */
import { type Html, html } from '../html.js'
import { formatPlural } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderTable } from '../table.js'

const WARNING_DAYS = 30

export function renderCertificates({ certificates }: StatusSnapshot): Html {
  return renderTable({
    id: 'certificates',
    caption: 'Certificates',
    hidesCaption: true,
    columns: [
      { title: 'File', cell: ({ file }) => html`<code>${file}</code>` },
      { title: 'Setting', cell: ({ setting }) => html`<code>${setting}</code>` },
      { title: 'Role', cell: ({ role }) => role },
      { title: 'Expires', cell: ({ expiresAt }) => new Date(expiresAt).toISOString().slice(0, 10) },
      { title: 'Left', cell: ({ daysLeft }) => describeDaysLeft(daysLeft) },
    ],
    rows: [...certificates].sort((one, other) => one.expiresAt - other.expiresAt),
    keyOf: ({ file, role, setting }) => `${setting} ${role} ${file}`,
    narrow: 'cards',
    empty: 'No certificate is configured: neither tls.* nor the connection strings name a file.',
  })
}

function describeDaysLeft(days: number): Html {
  if (days <= 0) return html`<span class="bad">✕ expired</span>`
  const left = formatPlural(Math.floor(days), 'day')
  return days < WARNING_DAYS ? html`<span class="poor">▲ ${left}</span>` : html`<span class="good">✓ ${left}</span>`
}
