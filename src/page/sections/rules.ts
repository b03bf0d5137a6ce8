/** The rules and how many logins each has admitted. */
import { renderArn } from '../arn.js'
import type { Html } from '../html.js'
import { formatCount } from '../quantities.js'
import type { StatusSnapshot } from '../snapshot.js'
import { renderTable } from '../table.js'

/** Entries that sum up others. */
const SPECIAL: Readonly<Record<string, string>> = { directory: 'users of $external', other: 'all other rules' }

export function renderRules({ rules }: StatusSnapshot): Html {
  return renderTable({
    id: 'rules',
    caption: 'Rules in order, at most 50, with logins since the start',
    columns: [
      { title: 'Rule', cell: ({ rule }) => SPECIAL[rule] ?? renderArn(rule) },
      { title: 'Logins', isNumber: true, cell: ({ logins }) => formatCount(logins) },
    ],
    rows: rules,
    keyOf: ({ rule }) => rule,
    empty: 'No rule is configured. Every login is refused, or the users of $external decide.',
  })
}
