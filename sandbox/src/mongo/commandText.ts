/** Prints documents as mongod does in its messages, and shortens long ones. */
import type { Document } from 'bson'
import { isDocument } from './order.js'

const MAX_LENGTH = 1500

/** For example `{ insert: "c", n: 5 }`. The caller must remove secrets. */
export function toText(document: Document): string {
  const text = value(document)
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}...` : text
}

function value(of: unknown): string {
  if (of === null || of === undefined) return 'null'
  if (typeof of === 'string') return JSON.stringify(of.length > 200 ? `${of.slice(0, 200)}...` : of)
  if (of instanceof Date) return `new Date(${of.getTime()})`
  if (of instanceof Uint8Array) return '{ ... }'
  if (Array.isArray(of)) {
    const items = of.slice(0, 20).map(value)
    return items.length === 0 ? '[]' : `[ ${items.join(', ')}${of.length > 20 ? ', ...' : ''} ]`
  }
  if (isDocument(of)) {
    const fields = Object.entries(of).map(([name, item]) => `${name}: ${value(item)}`)
    return fields.length === 0 ? '{}' : `{ ${fields.join(', ')} }`
  }
  const { _bsontype: type } = of as { _bsontype?: string }
  return (special[type ?? ''] ?? String)(of as never)
}

const special: Record<string, (of: { toString(radix?: string): string; t: number; i: number }) => string> = {
  ObjectId: of => `ObjectId('${of}')`,
  Binary: of => `BinData("${of.toString('base64')}")`,
  Decimal128: of => `Decimal128('${of}')`,
  Timestamp: of => `Timestamp(${of.t}, ${of.i})`,
}
