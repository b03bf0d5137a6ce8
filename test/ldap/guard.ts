import t from 'tap'
import { Fault } from '../../src/errors.js'
import { LdapGuard } from '../../src/ldap/guard.js'
import type { LdapReplies } from '../../src/ldap/ldap.js'
import { type Log, silentLog } from '../../src/log.js'
import { createEventRecorder } from '../support/audit.js'
import { createManualClock } from '../support/clock.js'
import { faultOf, faultOfAsync } from '../support/faults.js'

const denied = { ok: 0, code: 13 }
const enterprise = { modules: ['enterprise'], ok: 1 }
const unknown: LdapReplies = { buildInfo: enterprise, options: denied, parameters: denied }
const off: LdapReplies = { buildInfo: { modules: [], ok: 1 }, options: denied, parameters: denied }
const on: LdapReplies = {
  buildInfo: enterprise,
  options: { parsed: { security: { ldap: { authz: { queryTemplate: '{USER}' } } } }, ok: 1 },
  parameters: { ok: 1 },
}
const unreachable = new Fault('upstream/unreachable', undefined, { code: 'ECONNREFUSED' })

/** A guard whose upstream answers with `replies`: replies, a fault, or nothing at all. */
function createScripted(first: LdapReplies | Fault | undefined, assume?: 'off', log: Log = silentLog) {
  const upstream = { replies: first, probes: 0 }
  const clock = createManualClock()
  const probe = async () => {
    upstream.probes++
    if (upstream.replies === undefined) return new Promise<LdapReplies>(() => {})
    if (upstream.replies instanceof Fault) throw upstream.replies
    return upstream.replies
  }
  const { record, events } = createEventRecorder()
  const guard = new LdapGuard({ probe, intervalMS: 60_000, assume, log, record, after: clock.after })
  const settle = () => new Promise(resolve => setImmediate(resolve))
  const pass = async (ms: number) => {
    clock.advance(ms)
    await settle()
  }
  return { guard, upstream, clock, pass, settle, events }
}

t.test('no login is admitted before the upstream has answered', async t => {
  const { guard } = createScripted(off)
  t.equal(guard.getState(), 'unknown')
  t.equal(faultOf(() => guard.assertOff())?.kind, 'ldap/unknown')
  await guard.start()
  guard.assertOff()
  t.equal(guard.getState(), 'off')
  guard.close()
})

t.test('a refusal while LDAP is on tells the reason and the remedy', async t => {
  const { guard } = createScripted(on)
  await guard.start()
  const fault = faultOf(() => guard.assertOff())
  t.equal(fault?.kind, 'ldap/on')
  t.match(fault?.message, /LDAP authorization is on.*security\.ldap\.authz\.queryTemplate is set.*turn it off/)
  guard.close()
})

t.test('the upstream is probed every minute, and a change is logged once', async t => {
  const events: unknown[] = []
  const log: Log = (level, event, facts = {}) => events.push({ level, event, ...facts })
  const { guard, upstream, pass } = createScripted(off, undefined, log)
  await guard.start()
  await pass(60_000)
  await pass(60_000)
  t.equal(upstream.probes, 3)
  upstream.replies = on
  await pass(59_999)
  t.equal(guard.getState(), 'off')
  await pass(1)
  t.equal(guard.getState(), 'on')
  upstream.replies = unknown
  await pass(60_000)
  t.equal(guard.getState(), 'unknown', 'without its privileges the state is unknown')
  t.match(events, [
    { level: 'info', event: 'ldap authorization checked', state: 'off' },
    { level: 'error', event: 'ldap authorization checked', state: 'on' },
    { level: 'warn', event: 'ldap authorization checked', state: 'unknown' },
  ])
  guard.close()
})

t.test('the audit trail has each change of the state', async t => {
  const { guard, upstream, pass, events } = createScripted(off)
  await guard.start()
  await pass(60_000)
  upstream.replies = on
  await pass(60_000)
  upstream.replies = { ...on, options: denied }
  await pass(60_000)
  upstream.replies = off
  await pass(60_000)
  upstream.replies = undefined
  guard.recheck()
  t.match(events(), [
    { type: 'ldap', actor: { kind: 'proxy' }, state: 'off', reason: String },
    { state: 'on', previous: 'off', reason: /security\.ldap\.authz\.queryTemplate/ },
    { state: 'unknown', previous: 'on' },
    { state: 'off', previous: 'unknown' },
    { state: 'unknown', previous: 'off', reason: /restarted/ },
  ])
  t.equal(events().length, 5)
  t.notOk('previous' in (events()[0] ?? {}))
  guard.close()
})

t.test('assume: off decides only while the state is unknown', async t => {
  const { guard, upstream, pass } = createScripted(unknown, 'off')
  guard.assertOff()
  await guard.start()
  guard.assertOff()
  upstream.replies = on
  await pass(60_000)
  t.equal(faultOf(() => guard.assertOff())?.kind, 'ldap/on')
  guard.close()
})

t.test('an unreachable upstream is probed more often until the state is known', async t => {
  const { guard, upstream, pass } = createScripted(unreachable)
  await guard.start()
  t.match(faultOf(() => guard.assertOff())?.message, /could not be queried \(upstream\/unreachable, ECONNREFUSED\)/)
  await pass(5_000)
  t.equal(upstream.probes, 2)
  upstream.replies = off
  await pass(5_000)
  guard.assertOff()
  await pass(5_000)
  t.equal(upstream.probes, 3)
  guard.close()
})

t.test('a verdict outlives a short outage, but not a long one', async t => {
  const { guard, upstream, pass } = createScripted(off)
  await guard.start()
  upstream.replies = unreachable
  for (let round = 0; round < 4; round++) await pass(60_000)
  guard.assertOff()
  await pass(60_000)
  t.equal(faultOf(() => guard.assertOff())?.kind, 'ldap/unknown')
  upstream.replies = off
  await pass(60_000)
  guard.assertOff()
  guard.close()
})

t.test('an upstream that never answers does not block the guard', async t => {
  const { guard, upstream, pass } = createScripted(undefined)
  const started = guard.start()
  await pass(10_000)
  await started
  t.match(guard.getReason(), /ETIMEDOUT/)
  upstream.replies = off
  await pass(5_000)
  guard.assertOff()
  guard.close()
})

t.test('a new server process is probed at once, and only one timer runs', async t => {
  const { guard, upstream, clock, pass } = createScripted(off)
  await guard.start()
  upstream.replies = on
  await guard.recheck()
  t.equal(guard.getState(), 'on')
  t.equal(clock.waiting(), 1)
  await pass(60_000)
  t.equal(upstream.probes, 3)
  guard.close()
})

t.test('the answer of an earlier server process does not count', async t => {
  const { guard, upstream, settle } = createScripted(off)
  await guard.start()
  upstream.replies = undefined
  guard.recheck()
  await settle()
  t.equal(guard.getState(), 'unknown')
  t.equal((await faultOfAsync(() => guard.assertOffOver(async () => denied)))?.kind, 'ldap/unknown')
  guard.close()

  const wasOn = createScripted(on, 'off')
  await wasOn.guard.start()
  wasOn.upstream.replies = undefined
  wasOn.guard.recheck()
  await wasOn.settle()
  t.equal(wasOn.guard.getState(), 'on', 'assume does not apply to a state that was on')
  wasOn.guard.close()
})

t.test('the answer to a probe that began before the restart does not count', async t => {
  const answers: ((answers: LdapReplies) => void)[] = []
  const probe = () => new Promise<LdapReplies>(resolve => answers.push(resolve))
  const guard = new LdapGuard({
    probe,
    intervalMS: 60_000,
    assume: undefined,
    log: silentLog,
    record: () => {},
    after: createManualClock().after,
  })
  const started = guard.start()
  const asked = guard.recheck()
  answers[0]?.(off)
  await started
  t.equal(guard.getState(), 'unknown')
  await new Promise(resolve => setImmediate(resolve))
  answers[1]?.(on)
  await asked
  t.equal(guard.getState(), 'on')
  guard.close()
})

t.test('an unknown state is queried over each connection that logs in', async t => {
  const { guard } = createScripted(unknown)
  await guard.start()
  const replies = (answers: LdapReplies) => async (command: object) =>
    ('buildInfo' in command ? answers.buildInfo : 'getCmdLineOpts' in command ? answers.options : answers.parameters) ??
    {}
  await guard.assertOffOver(replies(off))
  t.equal((await faultOfAsync(() => guard.assertOffOver(replies(on))))?.kind, 'ldap/on')
  t.equal((await faultOfAsync(() => guard.assertOffOver(replies(unknown))))?.kind, 'ldap/unknown')
  t.equal(guard.getState(), 'unknown', 'the result of one user does not count for the next')
  guard.close()
  const known = createScripted(off)
  await known.guard.start()
  await known.guard.assertOffOver(() => t.fail('a known state needs no query') as never)
  known.guard.close()
})

t.test('a closed guard runs no probes', async t => {
  const { guard, upstream, clock, pass } = createScripted(off)
  await guard.start()
  guard.close()
  await pass(120_000)
  t.equal(upstream.probes, 1)
  t.equal(clock.waiting(), 0)
})
