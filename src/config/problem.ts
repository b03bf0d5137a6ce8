/** The problems of a configuration: one line each, with the setting and the source of its value. */
import type { z } from 'zod'
import { describeText } from '../redaction.js'
import { ENTRY_KEYS, unknownKey } from './keys.js'
import { findMissingBlankOfEntry, MISSING_BLANK } from './missingBlank.js'
import { didYouMean } from './nearest.js'

export type Problem = { path: string; message: string; from?: string | undefined }

/** `login.timeout: expected a duration from 100ms to 1m, got "2m" (from proxy.yaml:3:12)` */
export function formatProblem({ path, message, from }: Problem): string {
  return `${path === '' ? '' : `${path}: `}${message}${from === undefined ? '' : ` (from ${from})`}`
}

/** Keys and indexes that lead into the value of a setting. */
type InnerPath = readonly PropertyKey[]

/** What is wrong within the value of a setting. `inside` names the place; `at` leads to it, maybe through an unknown key. */
type ValueProblem = { inside: InnerPath; at: InnerPath; message: string }

/**
 * What zod found wrong with the value of one setting (parsed with `reportInput`). Of the value, only numbers and durations
 * are repeated, and nothing if it is `secret`.
 */
export function describeIssues(error: z.ZodError, value: unknown, secret: boolean): ValueProblem[] {
  return error.issues.flatMap((issue): ValueProblem[] => {
    const inside = shorten(issue.path, value)
    if (issue.code !== 'unrecognized_keys')
      return [{ inside, at: inside, message: describeIssue(issue, inside, secret) }]
    return issue.keys.map(key => {
      const { name, message } = unknownKey(key, ENTRY_KEYS)
      return { inside: name === undefined ? inside : [...inside, name], at: [...inside, key], message }
    })
  })
}

function describeIssue(issue: z.core.$ZodIssue, inside: InnerPath, secret: boolean): string {
  const { message, input } = issue
  if (secret || !message.startsWith('expected') || message.includes('(not shown)')) return message
  if (typeof input !== 'string') return `${message}, got ${describeValue(input)}`
  const isEntry = typeof inside.at(-1) === 'number'
  const key = isEntry ? findMissingBlankOfEntry(input, ENTRY_KEYS) : undefined
  const hint = key === undefined ? didYouMean(input, wordsOf(issue)) : `; ${MISSING_BLANK} of ${key}`
  return `${message}, got ${describeValue(input)}${hint}`
}

/** The words that the schema of the value knows. */
function wordsOf(issue: z.core.$ZodIssue): string[] {
  if (issue.code === 'invalid_union') return issue.errors.flat().flatMap(wordsOf)
  if (issue.code === 'invalid_type' && issue.expected === 'boolean') return ['true', 'false']
  return issue.code === 'invalid_value' ? issue.values.map(String) : []
}

/** Joins `users` and `[0, 'arn']` to `users[0].arn`. */
export function joinPath(path: string, inside: InnerPath): string {
  return inside.reduce<string>((way, key) => way + (typeof key === 'number' ? `[${key}]` : `.${String(key)}`), path)
}

/** A value for a message. Quotes tell a number that is written as text from one that is not. */
function describeValue(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return value.length > 0 ? 'a list' : 'an empty list'
  if (typeof value === 'object') return 'a mapping'
  return typeof value === 'string' ? describeText(value) : String(value)
}

/** A host may be written as text instead of a mapping. The path then ends where the written value does. */
function shorten(path: InnerPath, value: unknown): InnerPath {
  let current = value
  for (const [index, key] of path.entries()) {
    if (typeof current !== 'object' || current === null) return path.slice(0, index)
    current = Reflect.get(current, key)
  }
  return path
}
