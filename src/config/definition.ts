/**
 * The kinds of settings. A row is a sentence, a zod schema, and a default written as a person would write it.
 *
 * A schema takes what YAML gives (text, number, true or false, lists) as well as the text of a flag or a variable.
 * Messages that begin with `wanted` are completed by whoever reads the row with what was found instead.
 */
import { z } from 'zod'

export type SettingDefinition<T = unknown> = {
  schema: z.ZodType<T>
  /** One sentence for tables and help. */
  about: string
  /** Goes through the schema like anything else. A row without one is optional. */
  fallback?: string
  /** Its value is never shown, as it may hold a password. */
  secret?: true
  /** Lists of mappings have no form as a flag or a variable. */
  fileOnly?: true
  /** As a flag it takes no value: being there means true. */
  toggle?: true
  /** A change of it takes effect in a running proxy; a change of any other asks for a restart. */
  live?: true
}

/** What the caller of a kind adds; kept narrow, so that the type knows whether there is a default. */
type About = { about: string; fallback?: string; live?: true }

/** A kind of setting: given its sentence and perhaps its default, a row. */
export function kind<S extends z.ZodType, E extends Partial<SettingDefinition>>(schema: S, extra: E) {
  return <const A extends About>(about: A): A & E & { schema: S } => ({ ...about, ...extra, schema })
}

/** YAML turns 012345678901 into a number and its zero is lost, so a number is never taken for text. */
const QUOTE = 'is a number to YAML, which drops leading zeros: write it in quotes'

/** Text that is not empty; `wanted` is what the message asks for. */
export const textOf = (wanted = 'wanted text', form = /^\S(.*\S)?$/u) =>
  z
    .string({ error: issue => (typeof issue.input === 'number' ? QUOTE : wanted) })
    .regex(form, { error: wanted, abort: true })

/** The path of a file. A URI or a PEM block in its place may be a secret that slipped, so it is not shown. */
export const pathOf = () => {
  const error = 'wanted the path of a file, got something else (not shown)'
  return z.string({ error }).regex(/^(?!.*:\/\/)(?!-----BEGIN)[^\0\n]+$/, { error })
}

export const path = kind(pathOf(), {})
export const address = kind(
  textOf('wanted an address like 127.0.0.1 or ::1, or a host name', /^[0-9A-Za-z._:-]{1,255}$/),
  {},
)
export const toggle = kind(
  z.preprocess(
    value => (value === 'true' ? true : value === 'false' ? false : value),
    z.boolean({ error: 'wanted true or false' }),
  ),
  { toggle: true },
)

export const oneOf = <const V extends string>(...values: V[]) =>
  kind(z.enum(values, { error: `wanted ${values.join(', ')}`.replace(/, ([^,]*)$/, ' or $1') }), {})

const digits = (value: unknown) => (typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value)

export const wholeOf = (least: number, most: number, error = `wanted a whole number from ${least} to ${most}`) =>
  z.preprocess(digits, z.int({ error }).min(least, { error }).max(most, { error }))

export const whole = (least: number, most: number) => kind(wholeOf(least, most), {})

export const port = kind(wholeOf(0, 65535), {})
export const portOrOff = kind(
  z.union([z.literal('off'), wholeOf(0, 65535)], { error: 'wanted a whole number from 0 to 65535, or off' }),
  {},
)

/** A part of the whole, above nothing. */
export const share = (() => {
  const error = 'wanted a number from 0.01 to 1'
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

/** A time, in milliseconds. Bounded above as well: a timer of more than 24 days would fire at once. */
export const durationOf = (least: string, most: string, error = 'wanted a time like 500ms, 5s or 2m') =>
  z
    .string({ error })
    .regex(/^\d{1,9}(ms|s|m|h)$/, { error, abort: true })
    .refine(text => milliseconds(text) >= milliseconds(least) && milliseconds(text) <= milliseconds(most), {
      error: `wanted a time from ${least} to ${most}`,
    })
    .transform(milliseconds)

export const duration = (least: string, most: string) => kind(durationOf(least, most), {})
