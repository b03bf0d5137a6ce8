/**
 * The list of rules: the principal of each, what it gives (a database user with its password, or roles), and its
 * conditions. Only the form is checked here; policy compilation checks ARNs, roles and networks.
 */
import { z } from 'zod'
import { durationOf, kind, pathOf, textOf, wholeOf } from './definition.js'

/** Capitals only, because a password written here by mistake rarely looks like that. It is not shown. */
const variable = z.string({ error: 'expected the name of a variable (not shown)' }).regex(/^[A-Z_][A-Z0-9_]*$/, {
  error: 'expected the name of a variable in capitals, like ORDERS_PASSWORD (not shown)',
})

const scopeName = () => textOf('expected the name of a scope, of letters, digits, - and _', /^[\w-]{1,64}$/)

/** A time without an offset is a problem, because the proxy would have to guess the time zone. */
const date = z
  .string({ error: 'expected a time like 2026-12-24T18:00:00Z, or a date' })
  .regex(/^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d))?$/, {
    error: 'expected a time like 2026-12-24T18:00:00Z, with Z or an offset, or a date, which means 00:00 UTC',
    abort: true,
  })
  .transform((text, context) => {
    const time = new Date(text.replace(' ', 'T').toUpperCase())
    // JavaScript reads 31 February as a day in March.
    const day = new Date(`${text.slice(0, 10)}T00:00:00Z`)
    if (!Number.isNaN(time.getTime()) && day.getTime() && day.toISOString().startsWith(text.slice(0, 10))) return time
    context.issues.push({ code: 'custom', message: 'is a time that does not exist', input: text })
    return z.NEVER
  })

const nonEmptyList = <S extends z.ZodType>(item: S, error: string) => z.array(item, { error }).min(1, { error })

const isMapping = ({ value }: { value: unknown }) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const sso = z.strictObject(
  {
    permissionSet: textOf('expected the name of a permission set'),
    account: textOf('expected an account of 12 digits'),
    partition: textOf('expected aws, aws-cn or aws-us-gov').optional(),
  },
  { error: issue => (issue.code === 'invalid_type' ? 'expected a mapping of permissionSet and account' : undefined) },
)

const rule = z
  .strictObject(
    {
      arn: textOf('expected an ARN').optional(),
      sso: sso.optional(),
      user: textOf('expected the name of a database user').optional(),
      passwordFile: pathOf().optional(),
      passwordEnv: variable.optional(),
      roles: nonEmptyList(
        textOf('expected a role like readWrite@app'),
        'expected a list of roles like readWrite@app',
      ).optional(),
      clientSource: nonEmptyList(
        textOf('expected a network like 10.0.0.0/8'),
        'expected a list of networks',
      ).optional(),
      deleteAfterDate: date.optional(),
      scopes: nonEmptyList(scopeName(), 'expected a list of scopes').optional(),
      principalId: textOf('expected firstUse, or an id like AIDA… or AROA…').optional(),
      maxSessions: wholeOf(1, 1_000_000).optional(),
      maxAge: durationOf('1s', '500h', 'expected a duration like 30m or 12h').optional(),
    },
    {
      error: issue => (issue.code === 'invalid_type' ? 'expected a mapping of arn, user and passwordFile' : undefined),
    },
  )
  .refine(({ arn, sso }) => (arn === undefined) !== (sso === undefined), {
    error: 'needs either arn or sso',
    when: isMapping,
  })
  .refine(({ user, roles }) => (user === undefined) !== (roles === undefined), {
    error: 'needs either user (with its password) or roles',
    when: isMapping,
  })
  .refine(
    ({ roles, passwordFile, passwordEnv }) =>
      roles !== undefined || (passwordFile === undefined) !== (passwordEnv === undefined),
    { error: 'needs either passwordFile or passwordEnv', when: isMapping },
  )
  .refine(
    ({ roles, passwordFile, passwordEnv }) => roles === undefined || (passwordFile ?? passwordEnv) === undefined,
    {
      error: 'has roles, for which the proxy generates the password: remove passwordFile or passwordEnv',
      when: isMapping,
    },
  )
  .meta({
    allOf: [
      { oneOf: [{ required: ['arn'] }, { required: ['sso'] }] },
      {
        oneOf: [
          {
            required: ['roles'],
            not: { anyOf: ['user', 'passwordFile', 'passwordEnv'].map(key => ({ required: [key] })) },
          },
          {
            required: ['user'],
            not: { required: ['roles'] },
            oneOf: [{ required: ['passwordFile'] }, { required: ['passwordEnv'] }],
          },
        ],
      },
    ],
  })

/** Every key of a rule, and of the mapping in it. */
export const RULE_KEYS: readonly string[] = [...Object.keys(rule.shape), ...Object.keys(sso.shape)]

export const users = kind(z.array(rule, { error: 'expected a list' }), { fileOnly: true })
export const scope = kind(scopeName(), {})
