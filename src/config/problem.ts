/** What is wrong with a configuration: one line each, with the setting and where its value came from. */
import type { z } from 'zod'
import { didYouMean } from './nearest.js'

export type Problem = { path: string; message: string; from?: string | undefined }

/** `sts.timeout: wanted a time like 500ms, 5s or 2m, got "5 seconds" (from MONGO_IAM_PROXY_STS_TIMEOUT)` */
export function toLine({ path, message, from }: Problem): string {
  return `${path === '' ? '' : `${path}: `}${message}${from === undefined ? '' : ` (from ${from})`}`
}

type Inside = readonly PropertyKey[]

/**
 * What zod found in the value of one setting (parsed with `reportInput`). `inside` is the way into a list.
 * `secret` values are not repeated; the keys that an entry may have are taken from `known` for suggestions.
 */
export function readIssues(error: z.ZodError, value: unknown, secret: boolean): { inside: Inside; message: string }[] {
  return error.issues.flatMap(issue => {
    const inside = shorten(issue.path, value)
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map(key => ({ inside: [...inside, key], message: unknownKey(key) }))
    }
    const complete = secret || !issue.message.startsWith('wanted') || issue.message.includes('(not shown)')
    return [{ inside, message: complete ? issue.message : `${issue.message}, got ${show(issue.input)}` }]
  })
}

/** `users` and `[0].arn` as `users[0].arn`. */
export function pathInside(path: string, inside: Inside): string {
  return inside.reduce<string>((way, key) => way + (typeof key === 'number' ? `[${key}]` : `.${String(key)}`), path)
}

/** A value as a message repeats it: short, and unmistakable about its type. */
export function show(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return value.length > 0 ? 'a list' : 'an empty list'
  if (typeof value === 'object') return 'a mapping'
  if (typeof value !== 'string') return String(value)
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 79)}…` : value)
}

const ENTRY_KEYS = [
  ...['arn', 'sso', 'permissionSet', 'account', 'partition', 'user', 'passwordFile', 'passwordEnv', 'roles'],
  ...['clientSource', 'deleteAfterDate', 'scopes', 'principalId', 'maxAge', 'host', 'connect'],
]

function unknownKey(key: string): string {
  if (key === 'password') return 'a password does not stand in the file; name a passwordFile or a passwordEnv'
  return `there is no such setting${didYouMean(key, ENTRY_KEYS)}`
}

/** A host may be written as text instead of a mapping; the path ends where the written value does. */
function shorten(path: Inside, value: unknown): Inside {
  let at = value
  for (const [index, key] of path.entries()) {
    if (typeof at !== 'object' || at === null) return path.slice(0, index)
    at = Reflect.get(at, key)
  }
  return path
}
