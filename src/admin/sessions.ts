/**
 * The open sessions over HTTP: GET lists them, POST /sessions/close closes one.
 *
 *     POST /sessions/close  {"id": "5d0c6a1f9e42-17"}
 *
 * Closing a session does not stop its client from logging in again. POST /deny does.
 */
import { z } from 'zod'
import { readJsonBody } from './access.js'
import { jsonResponse, textResponse } from './http.js'
import { PAGE_PARAMETERS, type Page, pageOf, respondWithPage } from './page.js'
import type { Routes } from './routes.js'

export const sessionSchema = z.strictObject({
  id: z.string().describe('Connection id, as in the audit trail.'),
  since: z.iso.datetime().describe('Time of the first login of the connection.'),
  lastLogin: z.iso.datetime().describe('Time of its last login, which may be a reauthentication.'),
  address: z.string().describe('Address and port of the client.'),
  arn: z.string().describe('ARN as AWS reported it.'),
  principal: z.string().describe('Canonical ARN of the principal, without session name.'),
  accessKeyId: z.string(),
  databaseUser: z.string().nullable(),
  rule: z.int().nullable().describe('Position of the rule that admitted it; null for a directory user.'),
  directoryUser: z.string().nullable(),
  appName: z.string().nullable(),
  driver: z.string().nullable(),
  upstream: z.strictObject({
    address: z.string(),
    localPort: z.int().nullable(),
    connectionId: z.int().nullable().describe('Connection id of MongoDB.'),
  }),
})

export type AdminSession = z.infer<typeof sessionSchema>

const closeSchema = z.strictObject({ id: z.string().max(64) })
const closedSchema = z.strictObject({ closed: z.string() })

export type SessionsOptions = {
  /** `after`: the number of the last session of the page before. */
  list(page: Page): { items: readonly AdminSession[]; next: number | null }
  /** Closes a session at once. Returns false if there is none with this id. */
  close(id: string): boolean
}

export function createSessionsRoutes({ list, close }: SessionsOptions): Routes {
  return {
    '/sessions': {
      GET: {
        access: 'read',
        isRecorded: true,
        summary: 'Open sessions, the oldest connection first.',
        parameters: PAGE_PARAMETERS,
        response: pageOf(sessionSchema),
        run: request => respondWithPage(request, list),
      },
    },
    '/sessions/close': {
      POST: {
        access: 'write',
        summary: 'Closes a session at once. Its client may log in again.',
        body: closeSchema,
        response: closedSchema,
        async run(request) {
          const body = await readJsonBody(request, value => closeSchema.safeParse(value).data ?? 'expected {"id": "…"}')
          if ('refusal' in body) return body.refusal
          const { id } = body.value
          const response = close(id) ? jsonResponse(200, { closed: id }) : textResponse(404, 'there is no such session')
          return { ...response, target: id }
        },
      },
    },
  }
}
