/** The sections of the status page, in their order. */
import type { Html } from './html.js'
import { renderBudget, renderStsCalls, renderWaiting } from './sections/budget.js'
import { renderBuild } from './sections/build.js'
import { renderCertificates } from './sections/certificates.js'
import { renderLatency } from './sections/latency.js'
import { renderLogins } from './sections/logins.js'
import { renderMembers } from './sections/members.js'
import { renderProblems } from './sections/problems.js'
import { renderRefusals } from './sections/refusals.js'
import { renderRules } from './sections/rules.js'
import { renderPrincipals, renderSessions } from './sections/sessions.js'
import { renderState } from './sections/state.js'
import { renderVitals } from './sections/vitals.js'
import type { StatusSnapshot } from './snapshot.js'

/** `render` returns the content of the element whose `data-section` is `id`. */
export type Section = { id: string; title: string; render(snapshot: StatusSnapshot): Html }

export const SECTIONS: readonly Section[] = [
  { id: 'state', title: 'State', render: renderState },
  { id: 'problems', title: 'Problems', render: renderProblems },
  { id: 'vitals', title: 'Key figures', render: renderVitals },
  { id: 'logins', title: 'Logins', render: renderLogins },
  { id: 'latency', title: 'Latency', render: renderLatency },
  { id: 'sts-calls', title: 'Calls to STS', render: renderStsCalls },
  { id: 'waiting', title: 'Queue for STS', render: renderWaiting },
  { id: 'sessions', title: 'Sessions', render: renderSessions },
  { id: 'refusals', title: 'Refused logins', render: renderRefusals },
  { id: 'principals', title: 'Principals', render: renderPrincipals },
  { id: 'budget', title: 'STS budget', render: renderBudget },
  { id: 'members', title: 'MongoDB members', render: renderMembers },
  { id: 'certificates', title: 'Certificates', render: renderCertificates },
  { id: 'rules', title: 'Rules', render: renderRules },
  { id: 'build', title: 'Build and configuration', render: renderBuild },
]
