/** The state of the proxy in one line. It has no number that changes often: screen readers announce each change of it. */
import { type Html, html } from '../html.js'
import { formatPlural } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'

export type StateLevel = 'ok' | 'notice' | 'warning' | 'error'

/** The shape differs by level, because not everyone sees the color. */
const SIGNS: Readonly<Record<StateLevel, string>> = { ok: '✓', notice: '◌', warning: '▲', error: '✕' }

export function describeState(snapshot: StatusSnapshot): { level: StateLevel; word: string; text: string } {
  const { status, problems } = snapshot
  const errors = problems.filter(({ level }) => level === 'error').length
  const warnings = problems.length - errors
  const counts = [
    ...(errors > 0 ? [formatPlural(errors, 'error')] : []),
    ...(warnings > 0 ? [formatPlural(warnings, 'warning')] : []),
  ].join(', ')
  const level = errors > 0 ? 'error' : warnings > 0 ? 'warning' : 'ok'
  if (status.draining) {
    return { level: errors > 0 ? 'error' : 'notice', word: 'Draining', text: join('no new connections', counts) }
  }
  if (!status.ready) return { level: 'error', word: 'Not ready', text: join('logins are not served', counts) }
  return { level, word: 'Serving', text: counts === '' ? 'no problem found' : counts }
}

export function renderState(snapshot: StatusSnapshot): Html {
  const { level, word, text } = describeState(snapshot)
  return html`<p class="state" data-level="${level}"><span class="sign" aria-hidden="true">${SIGNS[level]}</span> <strong>${word}</strong><span class="state-text">: ${text}</span></p>`
}

const join = (text: string, counts: string): string => (counts === '' ? text : `${text}; ${counts}`)
