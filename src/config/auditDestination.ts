/** The destination of the audit trail. */
import { kind, pathOf } from './definition.js'

const path = pathOf()

export const auditDestination = kind(
  path
    .refine(text => text === 'stdout' || text === 'stderr' || text.startsWith('/'), {
      error: 'expected stdout, stderr or an absolute path',
    })
    .meta({ anyOf: [{ enum: ['stdout', 'stderr'] }, { pattern: '^/' }] }),
  {},
)
