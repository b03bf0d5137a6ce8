/** The figures to look at first. */
import { renderAddress } from '../address.js'
import { type Html, type HtmlValue, html } from '../html.js'
import { formatCount, formatRate } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { describeAge, renderMoment, renderTime } from '../times.js'

export function renderVitals(snapshot: StatusSnapshot): Html {
  const { time, status, series, primary, budgets } = snapshot
  const { open, free } = status.sessions
  const startedAt = Date.parse(status.startedAt)
  const waiting = budgets.buckets.reduce((sum, bucket) => sum + bucket.waiting, 0)
  const rates = Object.entries(series.logins).map(([outcome, column]) =>
    renderVital(`Logins/s: ${outcome}`, formatRate(column.at(-1))),
  )
  return html`<dl class="vitals">
${renderVital('Primary', renderPrimary(status.upstream.primary), html`since ${renderMoment(primary.since, time)}`)}
${renderVital('Sessions', formatCount(open), `${formatCount(free)} more fit`)}
${rates}
${renderVital('Waiting for STS budget', formatCount(waiting))}
${renderVital('Started', describeAge(time - startedAt), renderTime(startedAt, time))}
</dl>`
}

const renderPrimary = (address: string | null): Html =>
  address === null ? html`<span class="bad">✕ none</span>` : renderAddress(address)

function renderVital(name: string, value: HtmlValue, note?: HtmlValue): Html {
  return html`<div data-key="${name}"><dt>${name}</dt><dd>${value}${note && html` <span class="note">${note}</span>`}</dd></div>
`
}
