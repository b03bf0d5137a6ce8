/** Dotted paths into documents. A path traverses arrays by index and by element. */
import { isDocument } from './order.js'

const INDEX = /^\d+$/

/** Whether any value at the path passes. A missing value is `undefined`. */
export function someValue(
  value: unknown,
  path: readonly string[],
  at: number,
  test: (value: unknown) => boolean,
): boolean {
  const name = path[at]
  if (name === undefined) return test(value)
  if (Array.isArray(value)) {
    if (INDEX.test(name) && Number(name) < value.length && someValue(value[Number(name)], path, at + 1, test))
      return true
    return value.some(item => isDocument(item) && someValue(item, path, at, test))
  }
  return someValue(isDocument(value) && Object.hasOwn(value, name) ? value[name] : undefined, path, at + 1, test)
}

/** All values at the path, with arrays expanded; `[undefined]` if there is none. */
export function valuesAt(value: unknown, path: readonly string[]): unknown[] {
  const found = gather(value, path, 0)
  return found.length > 0 ? found : [undefined]
}

function gather(value: unknown, path: readonly string[], at: number): unknown[] {
  const name = path[at]
  if (Array.isArray(value)) {
    if (name !== undefined && INDEX.test(name)) return gather(value[Number(name)], path, at + 1)
    return name === undefined ? value : value.flatMap(item => gather(item, path, at))
  }
  if (name === undefined) return value === undefined ? [] : [value]
  return isDocument(value) && Object.hasOwn(value, name) ? gather(value[name], path, at + 1) : []
}
