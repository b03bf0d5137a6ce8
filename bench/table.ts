/** The table of results that answers one question. */
import type { Figure } from './rounds.js'

/** `sentence`: what a reader must know. A row has a name and one cell per column. */
export type Table = { title: string; sentence: string; columns: string[]; rows: Row[] }
export type Row = { name: string; cells: Cell[] }
/** Undefined: not measured. */
export type Cell = (Figure & { unit?: string }) | string | undefined

export function renderMarkdown({ title, sentence, columns, rows }: Table): string {
  const lines = rows.map(({ name, cells }) => [name, ...cells.map(renderCell)])
  return [
    `### ${title}\n\n${sentence}\n`,
    ...[['', ...columns], ['---', ...columns.map(() => '---:')], ...lines].map(cells => `| ${cells.join(' | ')} |`),
    '',
  ].join('\n')
}

function renderCell(cell: Cell): string {
  if (cell === undefined) return '–'
  if (typeof cell === 'string') return cell
  const { median, least, most, unit = '' } = cell
  return `${round(median)}${unit} (${round(least)}–${round(most)})`
}

const round = (value: number): string =>
  value >= 100 ? String(Math.round(value)) : value >= 10 ? value.toFixed(1) : value.toPrecision(value < 1 ? 2 : 3)
