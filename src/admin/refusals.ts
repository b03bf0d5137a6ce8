/** The last refused logins over HTTP, with what to do about each. */
import { z } from 'zod'
import { jsonResponse } from './http.js'
import type { Routes } from './routes.js'

export const MAX_REFUSALS = 200

const refusalSchema = z.strictObject({
  time: z.iso.datetime().describe('Time of the last one.'),
  count: z.int().min(1).describe('Equal refusals in a row: the same fault, address and ARN.'),
  address: z.string(),
  fault: z.string(),
  reason: z.string(),
  remedy: z.string(),
  accessKeyId: z.string().nullable().describe('Not verified.'),
  arn: z.string().nullable(),
  denial: z.string().nullable().describe('Entry of the deny list.'),
})

export type AdminRefusal = z.infer<typeof refusalSchema>

/** `list`: the newest one first. */
export function createRefusalsRoutes(list: () => readonly AdminRefusal[]): Routes {
  return {
    '/refusals': {
      GET: {
        access: 'read',
        isRecorded: true,
        summary: `The last refused logins, the newest first, at most ${MAX_REFUSALS}.`,
        response: z.strictObject({ items: z.array(refusalSchema).max(MAX_REFUSALS) }),
        run: () => jsonResponse(200, { items: list() }),
      },
    },
  }
}
