/** One summary of the proxy over HTTP, and its log level. */
import { z } from 'zod'
import type { Level } from '../errors.js'
import { readJsonBody } from './access.js'
import { jsonResponse } from './http.js'
import type { Routes } from './routes.js'

const statusSchema = z.strictObject({
  version: z.string(),
  boot: z.string().describe('Id of this run, as in the audit trail.'),
  startedAt: z.iso.datetime(),
  ready: z.boolean(),
  draining: z.boolean(),
  ldap: z.string().describe('State of LDAP authorization at the upstream: on, off or unknown.'),
  upstream: z.strictObject({
    primary: z.string().nullable(),
    members: z.array(z.strictObject({ address: z.string(), state: z.string() })),
  }),
  sessions: z.strictObject({ open: z.int(), free: z.int().describe('Free session slots.') }),
  denials: z.strictObject({ file: z.int(), admin: z.int() }),
  unrevokedRoles: z.int().describe('Principals whose database user still has roles that were taken away.'),
  audit: z.strictObject({ failing: z.boolean() }),
  configHash: z.string(),
  logLevel: z.string(),
})

export type AdminStatus = z.infer<typeof statusSchema>

const levelSchema = z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']) })

export type StatusOptions = {
  status(): AdminStatus
  /** Changes the level until the next reload or change. */
  setLogLevel(level: Level): void
}

export function createStatusRoutes({ status, setLogLevel }: StatusOptions): Routes {
  return {
    '/status': {
      GET: { access: 'read', summary: 'Summary.', response: statusSchema, run: () => jsonResponse(200, status()) },
    },
    '/log-level': {
      POST: {
        access: 'write',
        summary: 'Changes the log level until the next reload.',
        body: levelSchema,
        response: levelSchema,
        async run(request) {
          const expected = 'expected {"level": "debug"}, or info, warn or error'
          const body = await readJsonBody(request, value => levelSchema.safeParse(value).data ?? expected)
          if ('refusal' in body) return body.refusal
          setLogLevel(body.value.level)
          return { ...jsonResponse(200, body.value), target: body.value.level }
        },
      },
    },
  }
}
