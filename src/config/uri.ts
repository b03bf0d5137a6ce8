/** Connection strings. They may hold a password, so they are never shown. Only their form is checked here. */
import { ConnectionString } from 'mongodb-connection-string-url'
import { z } from 'zod'
import { kind } from './definition.js'

const error = 'expected a URI like mongodb://mongo.example.com:27017/ (not shown)'

/** Why a text is not a usable connection string; undefined if it is one. */
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
