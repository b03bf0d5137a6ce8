/** Compares log lines with the table of events. */
import { faults } from '../../src/errors.js'
import { type LogEventDefinition, logEvents } from '../../src/logEvents.js'
import { faultFields } from '../../src/logFields.js'

const COMMON_FIELDS = ['level', 'time', 'event']

/** Returns what a line has that the documentation does not: its event, its level, its fault, or fields. */
export function findUndocumented(line: Record<string, unknown>): string[] {
  const { event, level, fault } = line
  if (!Object.hasOwn(logEvents, String(event))) return [`event ${event}`]
  const definition: LogEventDefinition = logEvents[event as keyof typeof logEvents]
  const fields = new Set<string>([
    ...COMMON_FIELDS,
    ...definition.fields,
    ...(definition.fault ? Object.keys(faultFields) : []),
  ])
  const problems = Object.keys(line)
    .filter(field => !fields.has(field))
    .map(field => `${event}: field ${field}`)
  if (!definition.levels.some(known => known === level)) problems.push(`${event}: level ${level}`)
  if (fault !== undefined && !Object.hasOwn(faults, String(fault))) problems.push(`${event}: fault ${fault}`)
  return problems
}
