/** Renders the whole status page. It is complete without JavaScript; with it, an event stream keeps the sections current. */
import { type Html, html } from './html.js'
import { describeState } from './sections/state.js'
import { SECTIONS, type Section } from './sections.js'
import type { StatusSnapshot } from './snapshot.js'
import { renderTime } from './times.js'

/** Addresses of the files in `web/`, by name. */
export type Assets = Readonly<Record<string, string>>

/** A screen reader announces changes of these sections alone. */
const ANNOUNCED = ['state', 'problems']
/** Shown in the header, in place of a heading of their own. */
const IN_HEADER = 'state'

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%23555'/%3E%3C/svg%3E"

export function renderDocument(snapshot: StatusSnapshot, assets: Assets): string {
  const { time, status } = snapshot
  const { word } = describeState(snapshot)
  const body = SECTIONS.filter(({ id }) => id !== IN_HEADER)
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex, nofollow">
<title>${word} – ${status.instance} – mongo-iam-proxy</title>
<link rel="icon" href="${ICON}">
<link rel="stylesheet" href="${assets['uPlot.css']}">
<link rel="stylesheet" href="${assets['status.css']}">
<script defer="" src="${assets['uPlot.js']}"></script>
<script type="module" src="${assets['status.js']}"></script>
</head>
<body data-instance="${status.instance}" data-time="${time}">
<a class="skip" href="#main">Skip to the problems</a>
<header>
<div class="brand"><h1>mongo-iam-proxy</h1> <code class="instance">${status.instance}</code></div>
${SECTIONS.filter(({ id }) => id === IN_HEADER).map(section => renderContent(section, snapshot))}
<p class="connection" data-state="static"><span id="connection" role="status"></span> <span class="data-time">data of <span id="data-time">${renderTime(time, time)}</span> UTC</span><noscript>. <a href="">Load the page again</a> for newer data.</noscript></p>
</header>
<nav aria-label="Sections"><ul>${body.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
<main id="main" tabindex="-1">
${body.map(section => renderSection(section, snapshot))}
</main>
<footer><p>All times are UTC. mongo-iam-proxy ${status.version}.</p><button type="button" id="theme" hidden="">Colors</button></footer>
</body>
</html>
`
  return page.toString()
}

function renderSection(section: Section, snapshot: StatusSnapshot): Html {
  const { id, title } = section
  return html`<section id="${id}">
<h2 id="${id}-heading" tabindex="-1">${title}</h2>
${renderContent(section, snapshot)}
</section>
`
}

function renderContent({ id, render }: Section, snapshot: StatusSnapshot): Html {
  const live = ANNOUNCED.includes(id) ? 'polite' : 'off'
  return html`<div data-section="${id}" aria-live="${live}">${render(snapshot)}</div>`
}
