import t from 'tap'
import { traceLogins } from '../../src/app/connectionTracing.js'
import type { SpanDescription } from '../../src/app/loginSpans.js'
import type { ConnectionAudit } from '../../src/client/audit.js'
import type { LoginRecord } from '../../src/client/login.js'
import { Fault } from '../../src/errors.js'
import { createFault } from '../support/faults.js'

const client = { id: 7, peer: '127.0.0.1:50000' }
const upstream = { address: 'db1:27017', localPort: null, connectionId: null }
const createRecord = (): LoginRecord => ({ ms: {}, timeline: { startedAt: 10, endedAt: 30, stages: [] } })

function createTraced(recordLogin: ConnectionAudit['recordLogin'] = async () => {}) {
  const audited: string[] = []
  const traced: SpanDescription[] = []
  const inner: ConnectionAudit = {
    assertAvailable: () => void audited.push('assertAvailable'),
    recordLogin,
    recordLoginRefused: () => void audited.push('recordLoginRefused'),
    recordSessionEnd: () => void audited.push('recordSessionEnd'),
    recordCommandRefused: () => void audited.push('recordCommandRefused'),
  }
  const trace = (span: SpanDescription) => void traced.push(span)
  const audit = traceLogins(inner, { trace, boot: 'b0', now: () => 40, wallClock: () => 1_000_040 })
  return { audit, audited, traced }
}

t.test('a login is traced once it is recorded, with the time of the wall clock', async t => {
  const { audit, traced } = createTraced()
  const record = createRecord()
  await audit.recordLogin(client, { record, info: {}, upstream, kind: 'first' })
  t.match(traced, [{ startMS: 1_000_010, endMS: 1_000_030, attributes: { 'mongo_iam_proxy.connection': 'b0-7' } }])
  t.notOk(record.timeline, 'a session does not keep the timeline of its login')
})

t.test('a login that could not be recorded is traced as the refusal that it becomes', async t => {
  const fault = new Fault('audit/unavailable')
  const { audit, traced } = createTraced(async () => {
    throw fault
  })
  const record = createRecord()
  await t.rejects(audit.recordLogin(client, { record, info: {}, upstream, kind: 'first' }), fault)
  t.same(traced, [])
  audit.recordLoginRefused(client, { record, info: {}, fault, kind: 'first' })
  t.match(traced, [{ attributes: { 'error.type': 'audit/unavailable' } }])
})

t.test('a refusal before a login began is not traced', async t => {
  const { audit, audited, traced } = createTraced()
  const fault = createFault('sasl/mechanism-unavailable')
  audit.recordLoginRefused(client, { record: { ms: {} }, info: undefined, fault, kind: 'first' })
  t.same(traced, [])
  t.same(audited, ['recordLoginRefused'])
})

t.test('everything else reaches the audit trail as before', async t => {
  const { audit, audited } = createTraced()
  const record: LoginRecord = { ms: {} }
  audit.assertAvailable()
  audit.recordSessionEnd(client, { by: 'client', record, durationMS: 1, bytes: { fromClient: 1, toClient: 1 } })
  audit.recordCommandRefused(client, { command: 'find', record })
  t.same(audited, ['assertAvailable', 'recordSessionEnd', 'recordCommandRefused'])
})
