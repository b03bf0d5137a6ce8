// @ts-check
/** Keeps the status page current. The page is complete without this script. */
import { addSample, drawCharts, setSeries } from './charts.js'
import { showCopyButtons } from './copy.js'
import { replaceContent } from './replaceContent.js'
import { followEvents } from './stream.js'
import { showTheme } from './theme.js'

/** @type {Readonly<Record<string, string>>} */
const SIGNS = { ok: '✓', notice: '◌', warning: '▲', error: '✕' }
/** @type {Readonly<Record<string, string>>} */
const COLORS = { ok: '#1a7f37', notice: '#57606a', warning: '#9a6700', error: '#cf222e' }

/** @param {Record<string, string>} changed */
function showSections(changed) {
  for (const [id, html] of Object.entries(changed)) {
    const element = document.querySelector(`[data-section="${CSS.escape(id)}"]`)
    if (element) replaceContent(element, html)
  }
  showCopyButtons()
  showStateInTab()
  drawCharts()
}

/** The title and the icon of the tab say the state, because the page is often in a tab that is not visible. */
function showStateInTab() {
  const state = /** @type {HTMLElement | null} */ (document.querySelector('.state'))
  const level = state?.dataset.level ?? 'notice'
  const word = state?.querySelector('strong')?.textContent ?? ''
  const title = `${level === 'ok' ? '' : `${SIGNS[level]} `}${word} – ${document.body.dataset.instance} – mongo-iam-proxy`
  if (document.title !== title) document.title = title
  const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="${COLORS[level]}"/><text x="8" y="12.5" font-size="12" text-anchor="middle" fill="#fff" font-family="sans-serif">${SIGNS[level]}</text></svg>`
  const link = /** @type {HTMLLinkElement | null} */ (document.querySelector('link[rel="icon"]'))
  const href = `data:image/svg+xml,${encodeURIComponent(icon)}`
  if (link && link.href !== href) link.href = href
}

showTheme(drawCharts)
showCopyButtons()
showStateInTab()
followEvents({ showSections, setSeries, addSample })
