/**
 * The kinds of settings. A definition is a description, a zod schema, and a default in the form that a user would write.
 *
 * A schema accepts what YAML gives (text, numbers, booleans, lists) and the text of a flag or variable. A message that
 * begins with `expected` is completed by `describeIssues` in problem.ts with the value that was found instead.
 */
import { z } from 'zod'
import { parseIPAddress } from '../ipAddress.js'

export type SettingDefinition<T = unknown> = {
  schema: z.ZodType<T>
  /** One sentence, for tables and help. */
  about: string
  /** Parsed by the schema, like any other text. A setting without a default is optional. */
  fallback?: string
  /** The value may hold a password, so it is never shown. */
  secret?: true
  /** A list of mappings, which has no form as a flag or a variable. */
  fileOnly?: true
  /** As a flag it takes no value: its presence means true. */
  toggle?: true
  /** A change takes effect in a running proxy. A change of any other setting needs a restart. */
  live?: true
}

/** What `settings.ts` adds to a kind. It is narrow, so that the type knows whether there is a default. */
type Description = { about: string; fallback?: string; live?: true }

/** A kind of setting: a function that turns a description into a definition. */
export function kind<S extends z.ZodType, E extends Partial<SettingDefinition>>(schema: S, extra: E) {
  return <const D extends Description>(description: D): D & E & { schema: S } => ({ ...description, ...extra, schema })
}

/** YAML reads 012345678901 as a number without its leading zero, so a number is never accepted as text. */
const NOT_QUOTED = 'is a number in YAML, which drops leading zeros: write it in quotes'

/** Text that is not empty. */
export const textOf = (error = 'expected text', form = /^\S(.*\S)?$/u) =>
  z
    .string({ error: issue => (typeof issue.input === 'number' ? NOT_QUOTED : error) })
    .regex(form, { error, abort: true })

/** The path of a file. A URI or a PEM block here may be a secret in the wrong place, so the value is not shown. */
export const pathOf = () => {
  const error = 'expected the path of a file, got something else (not shown)'
  return z.string({ error }).regex(/^(?!.*:\/\/)(?!-----BEGIN)[^\0\n]+$/, { error })
}

/** A list of `item`: a list in the file, comma-separated text in a flag or variable. */
export const listOf = <S extends z.ZodType>(item: S, error: string) =>
  z.preprocess(
    value => (typeof value === 'string' ? value.split(',').map(part => part.trim()) : value),
    z.array(item, { error }),
  )

export const path = kind(pathOf(), {})
/** An address, or a name without a port. A name has no colon, so `mongodb:hunter2` is neither. */
export const hostOf = (error: string) =>
  textOf(error, /^[0-9A-Za-z._:-]{1,255}$/).refine(text => !text.includes(':') || parseIPAddress(text) !== undefined, {
    error,
  })

/** A name without spaces. */
export const name = kind(
  textOf('expected a name of 1 to 64 letters, digits, dots, dashes and underscores', /^[0-9A-Za-z._-]{1,64}$/),
  {},
)

export const address = kind(hostOf('expected an address like 127.0.0.1 or ::1, or a host name'), {})
export const toggle = kind(
  z.preprocess(
    value => (value === 'true' ? true : value === 'false' ? false : value),
    z.boolean({ error: 'expected true or false' }),
  ),
  { toggle: true },
)

export const oneOf = <const V extends string>(...values: V[]) =>
  kind(z.enum(values, { error: `expected ${values.join(', ')}`.replace(/, ([^,]*)$/, ' or $1') }), {})

const digits = (value: unknown) => (typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value)

export const wholeOf = (least: number, most: number, error = `expected a whole number from ${least} to ${most}`) =>
  z.preprocess(digits, z.int({ error }).min(least, { error }).max(most, { error }))

export const whole = (least: number, most: number) => kind(wholeOf(least, most), {})

export const port = kind(wholeOf(0, 65535), {})
export const portOrOff = kind(
  z.union([z.literal('off'), wholeOf(0, 65535)], { error: 'expected a whole number from 0 to 65535, or off' }),
  {},
)

/** A fraction of a whole, above zero. */
export const fraction = (() => {
  const error = 'expected a number from 0.01 to 1'
  return kind(
    z.preprocess(
      value => (typeof value === 'string' && /^\d?\.?\d{1,9}$/.test(value) ? Number(value) : value),
      z.number({ error }).min(0.01, { error }).max(1, { error }),
    ),
    {},
  )
})()

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

function milliseconds(text: string): number {
  const [, count, unit] = /^(\d{1,9})(ms|s|m|h)$/.exec(text) ?? []
  return Number(count) * UNITS[unit as keyof typeof UNITS]
}

/** The duration as settings write it, such as `12h`. */
export function formatDuration(ms: number): string {
  const [unit, length] = Object.entries(UNITS).findLast(([, length]) => ms % length === 0 && ms >= length) ?? [
    's',
    1000,
  ]
  return `${ms / length}${unit}`
}

/** A duration, in milliseconds. It has an upper bound because a Node timer of more than 24 days fires at once. */
export const durationOf = (least: string, most: string, error = 'expected a duration like 500ms, 5s or 2m') =>
  z
    .string({ error })
    .regex(/^\d{1,9}(ms|s|m|h)$/, { error, abort: true })
    .refine(text => milliseconds(text) >= milliseconds(least) && milliseconds(text) <= milliseconds(most), {
      error: `expected a duration from ${least} to ${most}`,
    })
    .transform(milliseconds)

export const duration = (least: string, most: string) => kind(durationOf(least, most), {})
