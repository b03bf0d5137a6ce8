/** Renders names of hosts. A long one breaks at its dots. */
import { MAX_TEXT, truncate } from '../printable.js'
import { type Html, html } from './html.js'

export function renderAddress(address: string): Html {
  const parts = truncate(address, MAX_TEXT).split(/(?<=\.)|(?=:)/)
  return html`<code>${parts.map((part, index) => html`${index > 0 && html`<wbr>`}${part}`)}</code>`
}
