/** The list of users: an ARN, the database user that it is, and where that user's password stands. */
import { z } from 'zod'
import { kind, pathOf, textOf } from './row.js'

/** Upper case only: a password written here by mistake rarely looks like it, and is not shown. */
const variable = z
  .string({ error: 'wanted the name of a variable (not shown)' })
  .regex(/^[A-Z_][A-Z0-9_]*$/, { error: 'wanted the name of a variable in capitals, like ORDERS_PASSWORD (not shown)' })

const entry = z
  .strictObject(
    {
      arn: textOf('wanted an ARN'),
      user: textOf('wanted the name of a database user'),
      passwordFile: pathOf().optional(),
      passwordEnv: variable.optional(),
    },
    { error: issue => (issue.code === 'invalid_type' ? 'wanted a mapping of arn, user and passwordFile' : undefined) },
  )
  .refine(user => (user.passwordFile === undefined) !== (user.passwordEnv === undefined), {
    error: 'needs either passwordFile or passwordEnv',
    when: ({ value }) => typeof value === 'object' && value !== null && !Array.isArray(value),
  })

export const users = kind(z.array(entry, { error: 'wanted a list' }), { fileOnly: true })
