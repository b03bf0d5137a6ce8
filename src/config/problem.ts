/** The problems of a configuration: one line each, with the setting and the source of its value. */
import type { z } from 'zod'
import { didYouMean } from './nearest.js'

export type Problem = { path: string; message: string; from?: string | undefined }

/** `login.timeout: expected a duration like 500ms, 5s or 2m, got "5 seconds" (from MONGO_IAM_PROXY_LOGIN_TIMEOUT)` */
export function formatProblem({ path, message, from }: Problem): string {
  return `${path === '' ? '' : `${path}: `}${message}${from === undefined ? '' : ` (from ${from})`}`
}

/** Keys and indexes that lead into the value of a setting. */
type InnerPath = readonly PropertyKey[]

/**
 * What zod found wrong with the value of one setting (parsed with `reportInput`). `inside` leads into a list or mapping.
 * The value is repeated unless it is `secret`.
 */
export function describeIssues(
  error: z.ZodError,
  value: unknown,
  secret: boolean,
): { inside: InnerPath; message: string }[] {
  return error.issues.flatMap(issue => {
    const inside = shorten(issue.path, value)
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map(key => ({ inside: [...inside, key], message: unknownKey(key) }))
    }
    const isComplete = secret || !issue.message.startsWith('expected') || issue.message.includes('(not shown)')
    return [{ inside, message: isComplete ? issue.message : `${issue.message}, got ${format(issue.input)}` }]
  })
}

/** Joins `users` and `[0, 'arn']` to `users[0].arn`. */
export function joinPath(path: string, inside: InnerPath): string {
  return inside.reduce<string>((way, key) => way + (typeof key === 'number' ? `[${key}]` : `.${String(key)}`), path)
}

/** A value for a message: short, and with quotes that tell text from numbers. */
function format(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return value.length > 0 ? 'a list' : 'an empty list'
  if (typeof value === 'object') return 'a mapping'
  if (typeof value !== 'string') return String(value)
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 79)}…` : value)
}

/** Keys of rules and of STS hosts, for suggestions. */
const ENTRY_KEYS = [
  ...['arn', 'sso', 'permissionSet', 'account', 'partition', 'user', 'passwordFile', 'passwordEnv', 'roles'],
  ...['clientSource', 'deleteAfterDate', 'scopes', 'principalId', 'maxAge', 'host', 'connect'],
]

function unknownKey(key: string): string {
  if (key === 'password') return 'passwords are not allowed in this file; use passwordFile or passwordEnv'
  return `there is no such setting${didYouMean(key, ENTRY_KEYS)}`
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
