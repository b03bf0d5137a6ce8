/** The members of the upstream, its primary, and the elections. */
import { renderAddress } from '../address.js'
import { type Html, html } from '../html.js'
import { formatPlural } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderTable } from '../table.js'
import { describeDuration, renderMoment, renderTime } from '../times.js'

export function renderMembers({ status, primary, time }: StatusSnapshot): Html {
  return html`<p>${
    primary.primary === undefined
      ? html`<span class="bad">✕ No primary</span> since ${renderMoment(primary.since, time)}. Logins wait for one.`
      : html`Logins go to ${renderAddress(primary.primary)} since ${renderMoment(primary.since, time)}.`
  } ${formatPlural(primary.elections, 'election')} since the start.</p>
${renderTable({
  id: 'members',
  caption: 'Members',
  hidesCaption: true,
  columns: [
    { title: 'Member', cell: ({ address }) => renderAddress(address) },
    { title: 'State', cell: ({ state }) => describeMember(state) },
  ],
  rows: status.upstream.members,
  keyOf: ({ address }) => address,
  empty: 'No member is known yet.',
})}
${renderTable({
  id: 'elections',
  caption: 'Changes of the primary',
  columns: [
    { title: 'Time', cell: ({ at }) => renderTime(at, time) },
    {
      title: 'Primary',
      cell: change => (change.primary === undefined ? 'none' : renderAddress(change.primary)),
    },
    {
      title: 'Without primary',
      cell: ({ withoutMS }) => (withoutMS === undefined ? '–' : describeDuration(withoutMS)),
    },
  ],
  rows: primary.changes,
  keyOf: ({ at, primary: address }) => `${at} ${address}`,
  empty: 'The primary has not changed since the start.',
})}`
}

function describeMember(state: string): Html {
  if (state === 'unreachable') return html`<span class="bad">✕ unreachable</span>`
  if (state === 'other') return html`<span class="poor">▲ answers, but serves no client</span>`
  return state === 'primary'
    ? html`<strong class="good">✓ primary</strong>`
    : html`<span class="good">✓ ${state}</span>`
}
