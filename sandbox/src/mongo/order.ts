/**
 * Compares BSON values: numbers by value, other values first by type and then within the type.
 *
 * Values are those of `deserialize` with `promoteValues: false`: Int32, Double, Long and Decimal128 stay distinct, so they
 * can be encoded again unchanged. `undefined` stands for a missing field.
 * https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
 */
import { type Binary, type Decimal128, Long, type ObjectId, type Timestamp } from 'bson'

/** The position of the type of a value. */
export function typeRank(value: unknown): number {
  switch (typeof value) {
    case 'undefined':
      return 1
    case 'number':
    case 'bigint':
      return 3
    case 'string':
      return 4
    case 'boolean':
      return 9
    case 'object':
      break
    default:
      return 20
  }
  if (value === null) return 2
  const { _bsontype: type } = value as { _bsontype?: string }
  if (type !== undefined) return ranks[type] ?? 5
  if (Array.isArray(value)) return 6
  if (value instanceof Date) return 10
  if (value instanceof RegExp) return 12
  return value instanceof Uint8Array ? 7 : 5
}

const ranks: Record<string, number> = {
  MinKey: 0,
  Int32: 3,
  Double: 3,
  Long: 3,
  Decimal128: 3,
  BSONSymbol: 4,
  Binary: 7,
  ObjectId: 8,
  Timestamp: 11,
  BSONRegExp: 12,
  Code: 14,
  MaxKey: 30,
}

/** Negative, zero or positive. As in mongod, a missing field sorts like null. */
export function compare(a: unknown, b: unknown): number {
  if (a === b) return 0
  const rankA = typeRank(a)
  const by = Math.max(rankA, 2) - Math.max(typeRank(b), 2)
  if (rankA === 0 || typeRank(b) === 0) return rankA - typeRank(b)
  if (by !== 0) return by
  return within[rankA]?.(a as never, b as never) ?? 0
}

export const equal = (a: unknown, b: unknown): boolean =>
  a === b || (typeRank(a) === typeRank(b) && compare(a, b) === 0)

export const isNumber = (value: unknown): boolean => typeRank(value) === 3
export const isDocument = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && typeRank(value) === 5 && !('_bsontype' in value)

const plain = (a: never, b: never): number => (a < b ? -1 : a > b ? 1 : 0)
const bytesOf = (value: unknown): Buffer => {
  const { buffer, position } = value as Binary
  return value instanceof Uint8Array ? Buffer.from(value) : Buffer.from(buffer).subarray(0, position)
}
const subtype = (value: unknown): number => (value as Binary).sub_type ?? 0
const text = (value: unknown): string => (typeof value === 'string' ? value : String(value))

/** Comparisons within a type, by type rank. */
const within: Record<number, (a: never, b: never) => number> = {
  3: compareNumbers,
  4: (a, b) => Buffer.compare(Buffer.from(text(a)), Buffer.from(text(b))),
  5: compareDocuments,
  6: compareArrays,
  7: (a, b) =>
    bytesOf(a).length - bytesOf(b).length || subtype(a) - subtype(b) || Buffer.compare(bytesOf(a), bytesOf(b)),
  8: (a: ObjectId, b: ObjectId) => Buffer.compare(a.id, b.id),
  9: plain,
  10: (a: Date, b: Date) => a.getTime() - b.getTime(),
  11: (a: Timestamp, b: Timestamp) => a.t - b.t || a.i - b.i,
  12: (a, b) => plain(pattern(a) as never, pattern(b) as never),
}

function pattern(value: RegExp | { pattern: string; options: string }): string {
  return value instanceof RegExp ? `${value.source}/${value.flags}` : `${value.pattern}/${value.options}`
}

function compareDocuments(a: Record<string, unknown>, b: Record<string, unknown>): number {
  const left = Object.entries(a)
  const right = Object.entries(b)
  for (let at = 0; at < left.length && at < right.length; at++) {
    const [nameA, valueA] = left[at] as [string, unknown]
    const [nameB, valueB] = right[at] as [string, unknown]
    const by = typeRank(valueA) - typeRank(valueB) || plain(nameA as never, nameB as never) || compare(valueA, valueB)
    if (by !== 0) return by
  }
  return left.length - right.length
}

function compareArrays(a: unknown[], b: unknown[]): number {
  for (let at = 0; at < a.length && at < b.length; at++) {
    const by = compare(a[at], b[at])
    if (by !== 0) return by
  }
  return a.length - b.length
}

/** The value as a double; undefined if that is inexact: a Decimal128, or an int64 beyond 2^53. */
function exactly(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  const { _bsontype: type } = value as { _bsontype?: string }
  if (type === 'Int32' || type === 'Double') return (value as { value: number }).value
  if (type === 'Long') {
    const number = (value as Long).toNumber()
    return Number.isSafeInteger(number) ? number : undefined
  }
  return undefined
}

function compareNumbers(a: unknown, b: unknown): number {
  const left = exactly(a)
  const right = exactly(b)
  if (left !== undefined && right !== undefined) return byNumber(left, right)
  const finite = [toNumber(a), toNumber(b)] as const
  // Infinity and NaN have no digits.
  if (!Number.isFinite(finite[0]) || !Number.isFinite(finite[1])) return byNumber(...finite)
  const [x, y] = [toDecimal(a), toDecimal(b)]
  const exponent = Math.min(x.exponent, y.exponent)
  const by = x.digits * 10n ** BigInt(x.exponent - exponent) - y.digits * 10n ** BigInt(y.exponent - exponent)
  return by < 0n ? -1 : by > 0n ? 1 : 0
}

/** NaN sorts below every number. */
function byNumber(a: number, b: number): number {
  if (a < b) return -1
  if (a > b) return 1
  if (a === b) return 0
  return Number(Number.isNaN(b)) - Number(Number.isNaN(a))
}

/** The nearest double; NaN if the value is not a number. */
export function toNumber(value: unknown): number {
  if (typeof value === 'number') return value
  if (typeof value === 'bigint') return Number(value)
  const { _bsontype: type } = (value ?? {}) as { _bsontype?: string }
  if (type === 'Int32' || type === 'Double') return (value as { value: number }).value
  if (type === 'Long') return (value as Long).toNumber()
  return type === 'Decimal128' ? Number((value as Decimal128).toString()) : Number.NaN
}

/** A finite number, exactly, as digits × 10^exponent. */
export function toDecimal(value: unknown): { digits: bigint; exponent: number } {
  if (typeof value === 'bigint') return { digits: value, exponent: 0 }
  if (Long.isLong(value)) return { digits: value.toBigInt(), exponent: 0 }
  const { _bsontype: type } = (value ?? {}) as { _bsontype?: string }
  if (type === 'Decimal128') {
    const [mantissa = '', power = '0'] = String(value).split('E')
    const [whole = '', fraction = ''] = mantissa.split('.')
    return { digits: BigInt(whole + fraction), exponent: Number(power) - fraction.length }
  }
  let number = toNumber(value)
  let twos = 0
  while (!Number.isInteger(number)) {
    number *= 2
    twos++
  }
  // n / 2^k is n × 5^k / 10^k
  return { digits: BigInt(number) * 5n ** BigInt(twos), exponent: -twos }
}

/** The key of a value in an index: equal values, and only those, have equal keys. */
export function toIndexKey(value: unknown): string {
  const at = typeRank(value)
  if (at === 8) return `o${(value as ObjectId).toHexString()}`
  if (at === 4) return `s${text(value)}`
  if (at === 3) return `n${numberKey(value)}`
  if (at === 6) return `[${(value as unknown[]).map(item => JSON.stringify(toIndexKey(item))).join()}]`
  if (at === 5) {
    const fields = Object.entries(value as object).map(([name, item]) => JSON.stringify([name, toIndexKey(item)]))
    return `{${fields.join()}}`
  }
  if (at === 7) return `b${subtype(value)}:${bytesOf(value).toString('latin1')}`
  if (at === 10) return `d${(value as Date).getTime()}`
  if (at === 11) return `t${(value as Timestamp).t}:${(value as Timestamp).i}`
  if (at === 12) return `r${pattern(value as RegExp)}`
  return `${at === 1 ? 2 : at}:${at === 9 || at === 14 ? JSON.stringify(value) : ''}`
}

function numberKey(value: unknown): string {
  const number = exactly(value)
  if (number !== undefined && (Number.isSafeInteger(number) || !Number.isFinite(number))) return String(number + 0)
  if (!Number.isFinite(toNumber(value))) return String(toNumber(value))
  let { digits, exponent } = toDecimal(value)
  while (digits !== 0n && digits % 10n === 0n) {
    digits /= 10n
    exponent++
  }
  if (digits === 0n) return '0'
  return exponent >= 0 && exponent < 20 ? String(digits * 10n ** BigInt(exponent)) : `${digits}e${exponent}`
}
