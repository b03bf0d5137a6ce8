/** Renders a sentence whose settings and names stand between backticks, as in the tables of faults and settings. */
import { MAX_TEXT, truncate } from '../printable.js'
import { type Html, html } from './html.js'

export function renderProse(text: string): Html {
  const parts = truncate(text, MAX_TEXT).split(/`([^`]*)`/)
  return html`${parts.map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : html`${part}`))}`
}
