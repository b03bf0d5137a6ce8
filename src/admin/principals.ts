/** The principals that have logged in since the start, over HTTP. */
import { z } from 'zod'
import { PAGE_PARAMETERS, type Page, pageOf, respondWithPage } from './page.js'
import type { Routes } from './routes.js'

const principalSchema = z.strictObject({
  principal: z.string().describe('Canonical ARN.'),
  sessions: z.int().describe('Open sessions.'),
  logins: z.int().describe('Successful logins since the start, reauthentications included.'),
  lastLogin: z.iso.datetime(),
  lastAddress: z.string(),
  lastArn: z.string().describe('ARN of the last login, with its session name.'),
})

export type AdminPrincipal = z.infer<typeof principalSchema>

export function createPrincipalsRoutes(
  list: (page: Page) => { items: readonly AdminPrincipal[]; next: number | null },
): Routes {
  return {
    '/principals': {
      GET: {
        access: 'read',
        isRecorded: true,
        summary: 'Principals that have logged in since the start, by ARN; the 10,000 with the latest logins.',
        parameters: PAGE_PARAMETERS,
        response: pageOf(principalSchema),
        run: request => respondWithPage(request, list),
      },
    },
  }
}
