/** The budget of calls to STS over HTTP: token buckets by account and host, and the health of the hosts. */
import { z } from 'zod'
import { jsonResponse } from './http.js'
import type { Routes } from './routes.js'

const count = z.number()
const budgetsSchema = z.strictObject({
  buckets: z.array(
    z.strictObject({
      bucket: z.string().describe('Account and STS host; `other` sums up the accounts without a name of their own.'),
      tokens: count.nullable().describe('Calls that may be made at once.'),
      perSecond: count.nullable().describe('Calls per second. A throttle lowers it for a while.'),
      throttles: count.nullable().describe('Throttled calls since the start.'),
      waiting: count.describe('Logins that wait for a call.'),
    }),
  ),
  hosts: z.array(z.strictObject({ host: z.string(), health: count.describe('From 0 (ejected) to 1.') })),
})

type Gauge = Readonly<Record<string, number>>

/** Values by bucket, and health by host. */
export type BudgetGauges = { tokens: Gauge; perSecond: Gauge; throttles: Gauge; waiting: Gauge; health: Gauge }

type Budgets = z.infer<typeof budgetsSchema>

export function describeBudgets({ tokens, perSecond, throttles, waiting, health }: BudgetGauges): Budgets {
  return {
    buckets: Object.keys(waiting).map(bucket => ({
      bucket,
      tokens: tokens[bucket] ?? null,
      perSecond: perSecond[bucket] ?? null,
      throttles: throttles[bucket] ?? null,
      waiting: waiting[bucket] ?? 0,
    })),
    hosts: Object.entries(health).map(([host, value]) => ({ host, health: value })),
  }
}

export function createBudgetsRoutes(read: () => BudgetGauges): Routes {
  return {
    '/budgets': {
      GET: {
        access: 'read',
        summary: 'Budget of calls to STS.',
        response: budgetsSchema,
        run: () => jsonResponse(200, describeBudgets(read())),
      },
    },
  }
}
