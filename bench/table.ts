/** Results as a person reads them. */
import type { Figure } from './rounds.js'

/** `sentence` says what a reader has to know; a row is its name and a cell for each column. */
export type Table = { title: string; sentence: string; columns: string[]; rows: { name: string; cells: Cell[] }[] }
/** Undefined: not measured. */
export type Cell = (Figure & { unit?: string }) | string | undefined

export function markdown({ title, sentence, columns, rows }: Table): string {
  const lines = rows.map(({ name, cells }) => [name, ...cells.map(text)])
  return [
    `### ${title}\n\n${sentence}\n`,
    ...[['', ...columns], ['---', ...columns.map(() => '---:')], ...lines].map(cells => `| ${cells.join(' | ')} |`),
    '',
  ].join('\n')
}

function text(cell: Cell): string {
  if (cell === undefined) return '–'
  if (typeof cell === 'string') return cell
  const { median, least, most, unit = '' } = cell
  return `${digits(median)}${unit} (${digits(least)}–${digits(most)})`
}

const digits = (value: number): string =>
  value >= 100 ? String(Math.round(value)) : value >= 10 ? value.toFixed(1) : value.toPrecision(value < 1 ? 2 : 3)
