/** The newest refused logins, with what to do about each. */
import { renderArn } from '../arn.js'
import { type Detail, renderDetails } from '../details.js'
import { type Html, html, htmlLines } from '../html.js'
import { renderProse } from '../prose.js'
import { formatCount } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderEmpty } from '../table.js'
import { renderMoment } from '../times.js'

type Refusal = StatusSnapshot['refusals'][number]

const MAX_COPY = 4_000

export function renderRefusals({ refusals, time }: StatusSnapshot): Html {
  if (refusals.length === 0) return renderEmpty('No login has been refused since the start.')
  return html`<ol class="refusals" role="list">${refusals.map(refusal => renderRefusal(refusal, time))}</ol>`
}

function renderRefusal(refusal: Refusal, now: number): Html {
  const { time, count, address, fault, reason, accessKeyId, arn, denial, advice } = refusal
  const key = `${fault} ${address} ${arn} ${accessKeyId}`
  const details: readonly Detail[] = [
    ['Time', renderMoment(Date.parse(time), now)],
    ...(arn === null ? [] : [['ARN', renderArn(arn)] as const]),
    ['Client', html`<code>${address}</code>`],
    ...(accessKeyId === null ? [] : [['Access key', html`<code>${accessKeyId}</code>`] as const]),
    ...(denial === null ? [] : [['Denial', html`<code>${denial}</code>`] as const]),
    ['Fault', html`<code>${fault}</code>`],
  ]
  return html`<li data-key="${key}">
<h3><span class="reason">${reason}</span>${count > 1 && html` <span class="count">${formatCount(count)} times</span>`}</h3>
${renderDetails(details)}
<p class="advice">${renderProse(advice.text)}</p>
${advice.copy !== undefined && renderCopy(advice.copy, reason)}
</li>
`
}

/** The button is for scripts alone, so it is hidden until one takes it over. */
function renderCopy(text: string, reason: string): Html {
  return html`<div class="copy"><pre><code data-copy="">${htmlLines(text, MAX_COPY)}</code></pre>
<button type="button" class="copy-button" data-copy-button="" hidden="">Copy<span class="visually-hidden"> the text for: ${reason}</span></button></div>`
}
