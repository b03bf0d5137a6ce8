/** Renders an ARN: the end, which tells principals apart, stands out, and lines break between its parts. */
import { MAX_TEXT, truncate } from '../printable.js'
import { type Html, html } from './html.js'

export function renderArn(arn: string): Html {
  const [, prefix = '', rest = ''] = /^(arn:(?:[^:]*:){4})?(.*)$/s.exec(truncate(arn, MAX_TEXT)) ?? []
  const parts = rest.split(/(?<=[/:])/).map(part => html`<wbr>${part}`)
  return html`<span class="arn"><span class="dim">${prefix}</span>${parts}</span>`
}
