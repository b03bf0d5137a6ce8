/**
 * The list of users: whom an entry is for, what that gives (a database user with its password, or roles), and what it
 * asks of a login. Only the form is judged here; what ARNs, roles and networks say, the rules judge.
 */
import { z } from 'zod'
import { durationOf, kind, pathOf, textOf } from './definition.js'

/** Upper case only: a password written here by mistake rarely looks like it, and is not shown. */
const variable = z
  .string({ error: 'wanted the name of a variable (not shown)' })
  .regex(/^[A-Z_][A-Z0-9_]*$/, { error: 'wanted the name of a variable in capitals, like ORDERS_PASSWORD (not shown)' })

/** A name that listeners have and rules are for. */
export const scopeOf = () => textOf('wanted the name of a scope, of letters, digits, - and _', /^[\w-]{1,64}$/)

/** Where the clock of a place would have to be guessed, it is a problem. */
const date = z
  .string({ error: 'wanted a time like 2026-12-24T18:00:00Z, or a date' })
  .regex(/^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d))?$/, {
    error: 'wanted a time like 2026-12-24T18:00:00Z, with Z or an offset, or a date, which is its beginning in UTC',
    abort: true,
  })
  .transform((text, context) => {
    const time = new Date(text.replace(' ', 'T').toUpperCase())
    // 31 February would be a day of March.
    const day = new Date(`${text.slice(0, 10)}T00:00:00Z`)
    if (!Number.isNaN(time.getTime()) && day.getTime() && day.toISOString().startsWith(text.slice(0, 10))) return time
    context.issues.push({ code: 'custom', message: 'is a time that does not exist', input: text })
    return z.NEVER
  })

const listOf = <S extends z.ZodType>(of: S, error: string) => z.array(of, { error }).min(1, { error })

const isMapping = ({ value }: { value: unknown }) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const sso = z.strictObject(
  {
    permissionSet: textOf('wanted the name of a permission set'),
    account: textOf('wanted an account of 12 digits'),
    partition: textOf('wanted aws, aws-cn or aws-us-gov').optional(),
  },
  { error: issue => (issue.code === 'invalid_type' ? 'wanted a mapping of permissionSet and account' : undefined) },
)

const entry = z
  .strictObject(
    {
      arn: textOf('wanted an ARN').optional(),
      sso: sso.optional(),
      user: textOf('wanted the name of a database user').optional(),
      passwordFile: pathOf().optional(),
      passwordEnv: variable.optional(),
      roles: listOf(textOf('wanted a role like readWrite@app'), 'wanted a list of roles like readWrite@app').optional(),
      clientSource: listOf(textOf('wanted a network like 10.0.0.0/8'), 'wanted a list of networks').optional(),
      deleteAfterDate: date.optional(),
      scopes: listOf(scopeOf(), 'wanted a list of scopes').optional(),
      principalId: textOf('wanted firstUse, or an id like AIDA… or AROA…').optional(),
      maxAge: durationOf('1s', '500h', 'wanted a time like 30m or 12h').optional(),
    },
    { error: issue => (issue.code === 'invalid_type' ? 'wanted a mapping of arn, user and passwordFile' : undefined) },
  )
  .refine(({ arn, sso }) => (arn === undefined) !== (sso === undefined), {
    error: 'needs either arn or sso',
    when: isMapping,
  })
  .refine(({ user, roles }) => (user === undefined) !== (roles === undefined), {
    error: 'needs either user, with its password, or roles',
    when: isMapping,
  })
  .refine(
    ({ roles, passwordFile, passwordEnv }) =>
      roles !== undefined || (passwordFile === undefined) !== (passwordEnv === undefined),
    { error: 'needs either passwordFile or passwordEnv', when: isMapping },
  )
  .refine(
    ({ roles, passwordFile, passwordEnv }) => roles === undefined || (passwordFile ?? passwordEnv) === undefined,
    { error: 'has roles, so the proxy makes up the password itself: leave it out', when: isMapping },
  )

export const users = kind(z.array(entry, { error: 'wanted a list' }), { fileOnly: true })
export const scope = kind(scopeOf(), {})
