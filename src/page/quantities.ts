/** Formats counts, rates and latencies, and summarizes the columns of a chart. */
import type { Column } from './snapshot.js'

export const UNKNOWN = '–'

const integer = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

export const formatCount = (value: number | null | undefined): string =>
  value === null || value === undefined ? UNKNOWN : integer.format(value)

/** A rate or a number of tokens: with a fraction if it is small. */
export function formatRate(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN
  if (value === 0) return '0'
  if (value < 0.1) return '< 0.1'
  return value < 10 ? value.toFixed(1) : integer.format(value)
}

export function formatMilliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN
  if (value >= 10_000) return `${(value / 1_000).toFixed(1)} s`
  return `${value < 10 ? value.toFixed(1) : integer.format(value)} ms`
}

export function formatPlural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** The last value of a column, and the mean and the highest one of all. Null if there is none. */
export function summarize(column: Column): { last: number | null; mean: number | null; peak: number | null } {
  const values = column.filter(value => value !== null)
  if (values.length === 0) return { last: null, mean: null, peak: null }
  const sum = values.reduce((total, value) => total + value, 0)
  return { last: column.at(-1) ?? null, mean: sum / values.length, peak: values.reduce((a, b) => Math.max(a, b)) }
}
