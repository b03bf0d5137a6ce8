/** Adds and multiplies BSON numbers. As in mongod, the result has the wider of both types, and int64 if int32 overflows. */
import { Decimal128, Double, Int32, Long } from 'bson'
import { CommandError } from './commandError.js'
import { isNumber, toDecimal, toNumber } from './order.js'

export const add = (a: unknown, b: unknown): unknown =>
  reckon('$inc', a, b, {
    whole: (x, y) => x + y,
    double: (x, y) => x + y,
    decimal: (x, y) => {
      const exponent = Math.min(x.exponent, y.exponent)
      const at = (value: typeof x) => value.digits * 10n ** BigInt(value.exponent - exponent)
      return { digits: at(x) + at(y), exponent }
    },
  })

export const multiply = (a: unknown, b: unknown): unknown =>
  reckon('$mul', a, b, {
    whole: (x, y) => x * y,
    double: (x, y) => x * y,
    decimal: (x, y) => ({ digits: x.digits * y.digits, exponent: x.exponent + y.exponent }),
  })

/** `{$bit: {and | or | xor: mask}}`. */
export function bitwise(name: string, a: unknown, b: unknown): unknown {
  const operation = Object.hasOwn(bits, name) ? bits[name] : undefined
  if (!operation || !isWhole(a) || !isWhole(b))
    throw new CommandError('BadValue', '$bit works on integers, by and/or/xor')
  return sized(operation(toDecimal(a).digits, toDecimal(b).digits), Long.isLong(a) || Long.isLong(b))
}

const bits: Record<string, (a: bigint, b: bigint) => bigint> = {
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
}

type Scaled = ReturnType<typeof toDecimal>
type Operation = {
  whole: (a: bigint, b: bigint) => bigint
  double: (a: number, b: number) => number
  decimal: (a: Scaled, b: Scaled) => Scaled
}

function reckon(name: string, a: unknown, b: unknown, { whole, double, decimal }: Operation): unknown {
  if (!isNumber(b)) throw new CommandError('TypeMismatch', `Cannot ${name} with non-numeric argument`)
  if (!isNumber(a)) throw new CommandError('TypeMismatch', `Cannot apply ${name} to a value of non-numeric type`)
  if (isWhole(a) && isWhole(b))
    return sized(whole(toDecimal(a).digits, toDecimal(b).digits), Long.isLong(a) || Long.isLong(b))
  const numbers = [toNumber(a), toNumber(b)] as const
  if (!isDecimal(a) && !isDecimal(b)) return new Double(double(...numbers))
  if (!numbers.every(Number.isFinite)) return Decimal128.fromString(String(double(...numbers)))
  const { digits, exponent } = decimal(toDecimal(a), toDecimal(b))
  return Decimal128.fromStringWithRounding(`${digits}E${exponent}`)
}

const typeOf = (value: unknown): string | undefined => (value as { _bsontype?: string } | null)?._bsontype
const isDecimal = (value: unknown): boolean => typeOf(value) === 'Decimal128'
const isWhole = (value: unknown): boolean => typeOf(value) === 'Int32' || typeOf(value) === 'Long'

function sized(result: bigint, long: boolean): Int32 | Long {
  if (!long && result === BigInt.asIntN(32, result)) return new Int32(Number(result))
  if (result !== BigInt.asIntN(64, result)) throw new CommandError('BadValue', 'Failed to apply: integer overflow')
  return Long.fromBigInt(result)
}
