/** Audit trails of tests, which validate every event with its schema. */
import type { AuditDestination } from '../../src/audit/destination.js'
import { type AuditEventType, createEventSchema, type RecordAuditEvent } from '../../src/audit/events.js'
import { AuditTrail } from '../../src/audit/trail.js'
import type { ConnectionAudit } from '../../src/client/audit.js'

/** An event as a line of the trail has it. */
export type AuditLine = { type: AuditEventType; seq: number; outcome: string } & Record<string, unknown>

/** Parses lines of an audit trail. Throws for a line that its schema does not allow. */
export function parseAuditLines(text: string): AuditLine[] {
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const event: AuditLine = JSON.parse(line)
      const { error } = createEventSchema(event.type).safeParse(event)
      if (error) throw new Error(`${line}\n${error.message}`)
      return event
    })
}

/** A destination that keeps what it gets. `text`: everything that was written. */
export function createMemoryDestination(): AuditDestination & { text(): string; events(): AuditLine[] } {
  let text = ''
  return {
    name: 'memory',
    write(bytes, done) {
      text += bytes
      setImmediate(() => done(null, bytes.length))
    },
    recover: () => false,
    reopen() {},
    close() {},
    text: () => text,
    events: () => parseAuditLines(text),
  }
}

/** A trail without a destination. `isFailing`: nothing is written. `events`: those so far, validated. */
export function createTestTrail({ isFailing = false } = {}): { trail: AuditTrail; events(): AuditLine[] } {
  let text = ''
  const trail = new AuditTrail({
    instance: 'test',
    boot: '0123456789ab',
    wallClock: () => 0,
    writer: {
      append(_, line) {
        text += line
      },
      whenWritten: async () => !isFailing,
      isFailing,
      onRecovered() {},
      async close() {},
    },
  })
  return { trail, events: () => parseAuditLines(text) }
}

/** Records events for a test. `events`: those so far, validated. */
export function createEventRecorder(): { record: RecordAuditEvent; events(): AuditLine[] } {
  const { trail, events } = createTestTrail()
  return { record: trail.record, events }
}

/** An audit that records nothing. */
export const silentAudit: ConnectionAudit = {
  assertAvailable() {},
  async recordLogin() {},
  recordLoginRefused() {},
  recordSessionEnd() {},
  recordCommandRefused() {},
}
