/**
 * The JSON Schema of the configuration file, for editors. It derives from the table of settings.
 *
 * It accepts whatever the proxy accepts. It cannot express what several settings mean together, since each of them may
 * also be a flag or a variable, nor what files, rules and hosts contain: `check` finds that.
 */
import { z } from 'zod'
import type { SettingDefinition } from './definition.js'
import { isDefinition, type SettingGroup, settings } from './settings.js'

type Schema = Record<string, unknown>

/** Draft 7, which the language servers of editors support. */
const DRAFT = 'http://json-schema.org/draft-07/schema#'

/** The address in the first line of the examples: that of the npm package, at a public copy of the registry. */
export const SCHEMA_URL = 'https://unpkg.com/mongo-iam-proxy@0/docs/reference/config.schema.json'

/** The forms that a value may also have as text. */
const TEXT_FORMS: Readonly<Record<string, Schema>> = {
  integer: { pattern: '^\\d{1,15}$' },
  number: { pattern: '^\\d?\\.?\\d{1,9}$' },
  array: {},
}

export function createConfigSchema(): object {
  return {
    $schema: DRAFT,
    title: 'Configuration of mongo-iam-proxy',
    description: 'The file of --config. Each setting may be a flag or a variable instead.',
    ...describeGroup(settings),
  }
}

/** A group may be empty, for example because everything below it is a comment. */
function describeGroup({ self, ...group }: SettingGroup): Schema {
  const properties = Object.fromEntries(
    Object.entries(group).map(([key, node]) => [key, isDefinition(node) ? describeSetting(node) : describeGroup(node)]),
  )
  // In one file, a value and the file that holds it always exclude each other.
  const [named] = Object.keys(group).filter(key => Object.hasOwn(group, `${key}File`))
  const mapping = {
    type: ['object', 'null'],
    additionalProperties: false,
    properties,
    ...(named !== undefined && { not: { type: 'object', required: [named, `${named}File`] } }),
  }
  return self !== undefined && isDefinition(self) ? { anyOf: [mapping, describeSetting(self)] } : mapping
}

function describeSetting({ schema, about, fallback, live, secret }: SettingDefinition): Schema {
  const { $schema: _, ...form } = z.toJSONSchema(schema, {
    target: 'draft-7',
    io: 'input',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      if (isReadFromText(zodSchema)) Object.assign(jsonSchema, withTextForm(jsonSchema))
    },
  }) as Schema
  return {
    description: `${about} ${live ? 'A change takes effect at once.' : 'A change needs a restart.'}`,
    ...form,
    ...(fallback !== undefined &&
      !secret && { default: /^(true|false|\d+(\.\d+)?)$/.test(fallback) ? JSON.parse(fallback) : fallback }),
  }
}

/** Whether a schema turns text into its own form first, see definition.ts. */
function isReadFromText(schema: z.core.$ZodType): boolean {
  const { def } = schema._zod
  return def.type === 'pipe' && (def as z.core.$ZodPipeDef).in._zod.def.type === 'transform'
}

/** Keywords such as `minimum` and `pattern` apply to values of their own type only, so one schema can have both. */
function withTextForm(form: Schema): Schema {
  if (form.type === 'boolean') return { type: ['boolean', 'string'], enum: [true, false, 'true', 'false'] }
  if (form.type === 'object') return { ...(form.properties as { host: Schema }).host, type: ['object', 'string'] }
  return { type: [form.type, 'string'], ...TEXT_FORMS[String(form.type)] }
}
