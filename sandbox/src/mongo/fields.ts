/**
 * Checks the fields of a command as mongod's parser does: unknown fields, missing ones and wrong types are errors. Only
 * the commands about users and roles use it; the others ignore what they do not know.
 * https://github.com/mongodb/mongo/blob/master/src/mongo/db/auth/user_management_commands.idl
 */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { isNumber } from './order.js'

export type FieldType = 'string' | 'bool' | 'object' | 'array'
/** `?` after the type: the field is optional. */
export type Fields = Record<string, FieldType | `${FieldType}?`>

/** The arguments that every command takes. */
const GENERIC_ARGUMENTS = new Set([
  'lsid',
  'txnNumber',
  'autocommit',
  'startTransaction',
  'readConcern',
  'writeConcern',
  'maxTimeMS',
  'comment',
  'apiVersion',
  'apiStrict',
  'apiDeprecationErrors',
])

/** Throws Location40415 (unknown field), Location40414 (missing field) and TypeMismatch. */
export function checkCommandFields({ name, body }: { name: string; body: Document }, fields: Fields): void {
  const isGeneric = (field: string) => field === name || field.startsWith('$') || GENERIC_ARGUMENTS.has(field)
  checkFields(name, Object.fromEntries(Object.entries(body).filter(([field]) => !isGeneric(field))), fields)
}

/** The same for a document inside a command; `path` leads to it. */
export function checkFields(path: string, document: Document, fields: Fields): void {
  for (const field of Object.keys(document)) {
    if (!Object.hasOwn(fields, field)) {
      throw new CommandError('Location40415', `BSON field '${path}.${field}' is an unknown field.`)
    }
  }
  for (const [field, declared] of Object.entries(fields)) {
    const isOptional = declared.endsWith('?')
    const value = document[field]
    if (value === undefined) {
      if (isOptional) continue
      throw new CommandError('Location40414', `BSON field '${path}.${field}' is missing but a required field`)
    }
    const expected = declared.replace('?', '') as FieldType
    const actual = typeOf(value)
    // Flags may be numbers.
    if (actual !== expected && !(expected === 'bool' && actual === 'number')) {
      const message = `BSON field '${path}.${field}' is the wrong type '${actual}', expected type '${expected}'`
      throw new CommandError('TypeMismatch', message)
    }
  }
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (isNumber(value)) return 'number'
  if (value instanceof Date) return 'date'
  if (typeof value !== 'object') return typeof value === 'boolean' ? 'bool' : typeof value
  return '_bsontype' in value ? String(value._bsontype) : 'object'
}
