/** The build, and the configuration in force. */
import { type Detail, renderDetails } from '../details.js'
import { type Html, html } from '../html.js'
import { formatCount } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderMoment } from '../times.js'

export function renderBuild({ status, config, time }: StatusSnapshot): Html {
  const { version, boot, startedAt, logLevel, ldap, denials, unrevokedRoles, audit, instance } = status
  const details: readonly Detail[] = [
    ['Version', version],
    ['Instance', html`<code>${instance}</code>`],
    ['Boot id', html`<code>${boot}</code>`],
    ['Started', renderMoment(Date.parse(startedAt), time)],
    ['Configuration', html`<code>${config.hash}</code>`],
    ['Applied', renderMoment(config.appliedAt, time)],
    ...(config.rejectedAt === undefined ? [] : [describeRejected(config.rejectedAt, config.isRejected, time)]),
    ['Log level', logLevel],
    ['LDAP authorization', describeLdap(ldap)],
    ['Denials', `${formatCount(denials.file)} from the file, ${formatCount(denials.admin)} from the admin interface`],
    [
      'Roles not taken away',
      unrevokedRoles > 0 ? html`<span class="bad">✕ ${formatCount(unrevokedRoles)}</span>` : '0',
    ],
    [
      'Audit trail',
      audit.failing ? html`<span class="bad">✕ cannot be written</span>` : html`<span class="good">✓ written</span>`,
    ],
  ]
  return renderDetails(details)
}

function describeRejected(at: number, isRejected: boolean, now: number): Detail {
  const note = html` <span class="bad">✕ The file on disk is invalid. The configuration before it is in force.</span>`
  return ['Last rejected', html`${renderMoment(at, now)}${isRejected && note}`]
}

function describeLdap(state: string): Html {
  if (state === 'off') return html`<span class="good">✓ off</span>`
  return state === 'on'
    ? html`<span class="bad">✕ on: IAM logins are refused</span>`
    : html`<span class="poor">▲ unknown</span>`
}
