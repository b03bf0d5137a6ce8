/** The rules in force over HTTP, with the number of logins that each has decided. */
import { z } from 'zod'
import { formatRole } from '../users/roles.js'
import type { Rule } from '../users/rules.js'
import { PAGE_PARAMETERS, pageOf, respondWithPage, slicePage } from './page.js'
import type { Routes } from './routes.js'

const ruleSchema = z.strictObject({
  rule: z.int().min(1).describe('Position in `users`.'),
  principal: z.string().describe('ARN, pattern or permission set.'),
  grant: z.string().describe('Database user or roles.'),
  logins: z
    .int()
    .nullable()
    .describe(
      'Logins that rules with this principal have admitted; null after the first 100 rules, which are not counted one by one.',
    ),
})

export type RulesOptions = {
  rules(): readonly Rule[]
  /** Logins by the description of a rule. */
  countLogins(): Readonly<Record<string, number>>
}

export function createRulesRoutes({ rules, countLogins }: RulesOptions): Routes {
  return {
    '/rules': {
      GET: {
        access: 'read',
        summary: 'Rules in force.',
        parameters: PAGE_PARAMETERS,
        response: pageOf(ruleSchema),
        run: request =>
          respondWithPage(request, page => {
            const { items, next } = slicePage(rules(), page)
            const logins = countLogins()
            return {
              items: items.map(rule => ({
                rule: rule.decidedBy.rule,
                principal: rule.description,
                grant: describeGrant(rule),
                logins: logins[rule.description] ?? null,
              })),
              next,
            }
          }),
      },
    },
  }
}

function describeGrant({ grant }: Rule): string {
  return 'user' in grant ? `${grant.user.name}@${grant.user.db}` : grant.roles.map(formatRole).join(', ')
}
