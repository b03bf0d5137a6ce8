/** Renders a list of names and values. */
import { type Html, type HtmlValue, html } from './html.js'

export type Detail = readonly [name: string, value: HtmlValue]

export function renderDetails(details: readonly Detail[]): Html {
  return html`<dl class="details">${details.map(renderDetail)}</dl>`
}

function renderDetail([name, value]: Detail): Html {
  return html`<div data-key="${name}"><dt>${name}</dt><dd>${value}</dd></div>
`
}
