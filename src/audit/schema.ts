/** The JSON Schema of the audit trail, which `docs/reference/audit.schema.json` contains. */
import { z } from 'zod'
import { type AuditEventType, auditEvents, createEventSchema, SCHEMA_VERSION } from './events.js'

/** One schema with an alternative for each type of event. https://json-schema.org/draft/2020-12 */
export function createAuditSchema(): object {
  const types = Object.keys(auditEvents) as AuditEventType[]
  const alternatives = types.map(type => {
    const { $schema: _, ...schema } = z.toJSONSchema(createEventSchema(type)) as Record<string, unknown>
    return { title: type, description: auditEvents[type].summary, ...schema }
  })
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: `Audit trail of mongo-iam-proxy, version ${SCHEMA_VERSION}`,
    description: 'One line of the audit trail.',
    oneOf: alternatives,
  }
}
