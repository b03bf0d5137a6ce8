/** The list of tokens of the admin interface. The name of a token is recorded with what its owner does. */
import { z } from 'zod'
import { kind, pathOf, textOf } from './definition.js'

/** The name of the token in `admin.tokenFile`. */
export const DEFAULT_TOKEN_NAME = 'default'
const MAX_TOKENS = 64

const token = z.strictObject(
  {
    name: textOf(
      'expected a name of 1 to 64 letters, digits, dots, dashes and underscores (not shown)',
      /^[0-9A-Za-z._-]{1,64}$/,
    ),
    file: pathOf(),
    may: z.enum(['read', 'write'], { error: 'expected read or write' }),
  },
  { error: issue => (issue.code === 'invalid_type' ? 'expected a mapping of name, file and may' : undefined) },
)

export const ADMIN_TOKEN_KEYS: readonly string[] = Object.keys(token.shape)

export const adminTokens = kind(
  z
    .array(token, { error: 'expected a list' })
    .max(MAX_TOKENS, { error: `expected at most ${MAX_TOKENS} tokens` })
    .superRefine((tokens, context) => {
      const repeated = tokens.findIndex(({ name }, index) => tokens.findIndex(other => other.name === name) < index)
      if (repeated < 0) return
      const first = tokens.findIndex(({ name }) => name === tokens[repeated]?.name)
      const message = `entry ${repeated + 1} has the name of entry ${first + 1}`
      context.addIssue({ code: 'custom', message, input: tokens })
    }),
  { fileOnly: true },
)
