/** The problems, each with a link to its entry in the runbook. */
import { type Html, html, linkAddress } from '../html.js'
import type { Problem, StatusSnapshot } from '../snapshot.js'
import { renderEmpty } from '../table.js'

export function renderProblems({ problems }: StatusSnapshot): Html {
  if (problems.length === 0) return renderEmpty('No problem found. The Prometheus alerts check more than this page.')
  return html`<ul class="problems" role="list">${problems.map(renderProblem)}</ul>`
}

const SIGNS = { error: '✕', warning: '▲' } as const
const NAMES = { error: 'Error', warning: 'Warning' } as const

function renderProblem({ level, text, runbook }: Problem): Html {
  return html`<li data-level="${level}" data-key="${runbook} ${text}"><span class="sign" aria-hidden="true">${SIGNS[level]}</span> <span class="problem"><strong>${NAMES[level]}:</strong> ${text}</span> <a class="runbook" href="${linkAddress(runbook)}">Runbook<span class="visually-hidden"> for: ${text}</span></a></li>
`
}
