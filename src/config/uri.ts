/** Connection strings. Only their form is judged here; they are never shown, since they may hold a password. */
import { ConnectionString } from 'mongodb-connection-string-url'
import { z } from 'zod'
import { kind } from './definition.js'

const error = 'wanted a URI like mongodb://mongo.example.com:27017/ (not shown)'

/** Why text is not a connection string that can be used, or undefined if it is. */
export function uriProblem(text: string): string | undefined {
  try {
    new ConnectionString(text)
    return undefined
  } catch {
    return error
  }
}

export const uri = kind(
  z.string({ error }).superRefine((text, context) => {
    const message = uriProblem(text)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  }),
  { secret: true },
)
