import t from 'tap'
import type { RecordedRequest } from '../../src/admin/routes.js'
import { AdminAuditor } from '../../src/app/adminAudit.js'
import { Fault } from '../../src/errors.js'
import { createEventRecorder } from '../support/audit.js'
import { createManualClock } from '../support/clock.js'

const caller = { token: 'ops', address: '192.0.2.10', port: 50_000 }
const request: RecordedRequest = { method: 'POST', path: '/deny', caller, status: 200, isRefused: false }
const refused: RecordedRequest = {
  ...request,
  caller: { ...caller, token: undefined },
  status: 401,
  isRefused: true,
  reason: 'a token is required',
}

function createAuditor() {
  const clock = createManualClock()
  const { record, events } = createEventRecorder()
  return {
    auditor: new AdminAuditor({ record, after: clock.after }),
    clock,
    events,
  }
}

t.test('a write has the name of its token and the address', async t => {
  const { auditor, events } = createAuditor()
  for (let times = 0; times < 3; times++) auditor.recordRequest({ ...request, target: 'b-1' })
  auditor.recordRequest({ ...request, status: 507, reason: 'disk full' })
  const actor = { kind: 'admin', id: 'ops' }
  const event = { type: 'admin.request', outcome: 'success', actor, address: '192.0.2.10', port: 50_000, count: 1 }
  t.match(events(), [
    ...Array(3).fill({ ...event, method: 'POST', path: '/deny', code: 200, target: 'b-1' }),
    { ...event, outcome: 'failed', code: 507, reason: 'disk full' },
  ])
  t.equal(events().length, 4, 'no write is left out')
})

t.test('refused tokens are one event per second and address', async t => {
  const { auditor, clock, events } = createAuditor()
  for (let times = 0; times < 1_000; times++) auditor.recordRequest(refused)
  auditor.recordRequest({ ...refused, caller: { ...refused.caller, address: '192.0.2.11' } })
  clock.advance(1_000)
  const event = { outcome: 'refused', actor: { kind: 'client', id: null }, code: 401, reason: 'a token is required' }
  t.match(events(), [
    { ...event, address: '192.0.2.10', count: 1 },
    { ...event, address: '192.0.2.11', count: 1 },
    { ...event, address: '192.0.2.10', count: 999 },
  ])
})

t.test('a read token that tries to write is named and bounded', async t => {
  const { auditor, events } = createAuditor()
  const tried = { ...refused, status: 403, caller: { ...caller, token: 'grafana' } }
  for (let times = 0; times < 5; times++) auditor.recordRequest(tried)
  auditor.flush()
  const event = { outcome: 'refused', actor: { kind: 'admin', id: 'grafana' } }
  t.match(events(), [
    { ...event, count: 1 },
    { ...event, count: 4 },
  ])
})

t.test('reads without a token do not hide refused tokens of the same address', async t => {
  const { auditor, events } = createAuditor()
  const read = { ...request, method: 'GET', caller: { ...caller, token: undefined } }
  for (let times = 0; times < 5; times++) auditor.recordRequest(read)
  auditor.recordRequest(refused)
  auditor.flush()
  t.match(events(), [
    { outcome: 'success', method: 'GET', count: 1 },
    { outcome: 'refused', count: 1 },
    { outcome: 'success', method: 'GET', count: 4 },
  ])
})

t.test('denials and pins have the name of the token', async t => {
  const { auditor, events } = createAuditor()
  const arn = 'arn:aws:iam::123456789012:user/alice'
  const denial = { kind: 'arn', value: arn, why: 'left', until: new Date('2026-12-24T00:00:00Z') } as const
  auditor.recordDenialChange({ type: 'denied', denial, caller, closed: 3 })
  auditor.recordDenialChange({ type: 'denied', denial, caller, closed: 0 })
  auditor.recordDenialChange({ type: 'undenied', denial, caller, fault: new Fault('denials/not-persisted') })
  auditor.recordPinCleared({ arn, principalId: 'AIDACKCEVSQ6C2EXAMPLE', caller })
  const by = { actor: { kind: 'admin', id: 'ops' }, address: '192.0.2.10' }
  t.match(events(), [
    {
      type: 'denied',
      outcome: 'success',
      ...by,
      denial: arn,
      reason: 'left',
      until: '2026-12-24T00:00:00.000Z',
      count: 3,
    },
    { type: 'denied', outcome: 'success', ...by, denial: arn },
    { type: 'undenied', outcome: 'failed', ...by, denial: arn, fault: 'denials/not-persisted' },
    { type: 'pin.cleared', outcome: 'success', ...by, arn, principalId: 'AIDACKCEVSQ6C2EXAMPLE' },
  ])
})

t.test('a caller without an address, as of a connection that has ended, is recorded', async t => {
  const { auditor, events } = createAuditor()
  auditor.recordRequest({ ...request, caller: { token: 'ops', address: undefined, port: undefined } })
  t.match(events(), [{ address: null, port: null }])
})
