import t from 'tap'
import { Fault } from '../../src/errors.js'
import { createLdapGuard } from '../../src/ldap/guard.js'
import type { LdapReplies } from '../../src/ldap/ldap.js'
import { type Log, silentLog } from '../../src/log.js'
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
const away = new Fault('upstream/unreachable', undefined, { code: 'ECONNREFUSED' })

/** A guard whose upstream answers what stands in `now`: answers, a fault, or nothing at all. */
function guarded(first: LdapReplies | Fault | undefined, assume?: 'off', log: Log = silentLog) {
  const upstream = { now: first, asked: 0 }
  const clock = createManualClock()
  const ask = async () => {
    upstream.asked++
    if (upstream.now === undefined) return new Promise<LdapReplies>(() => {})
    if (upstream.now instanceof Fault) throw upstream.now
    return upstream.now
  }
  const guard = createLdapGuard({ probe: ask, intervalMS: 60_000, assume, log, after: clock.after })
  const settled = () => new Promise(resolve => setImmediate(resolve))
  const pass = async (ms: number) => {
    clock.advance(ms)
    await settled()
  }
  return { guard, upstream, clock, pass, settled }
}

t.test('nobody is admitted before the upstream has answered', async t => {
  const { guard } = guarded(off)
  t.equal(guard.getState(), 'unknown')
  t.equal(faultOf(() => guard.assertOff())?.kind, 'ldap/unknown')
  await guard.start()
  guard.assertOff()
  t.equal(guard.getState(), 'off')
  guard.close()
})

t.test('while it is on the refusal says LDAP, why, and what to do', async t => {
  const { guard } = guarded(on)
  await guard.start()
  const fault = faultOf(() => guard.assertOff())
  t.equal(fault?.kind, 'ldap/on')
  t.match(fault?.message, /LDAP authorization is on.*security\.ldap\.authz\.queryTemplate is set.*turn it off/)
  guard.close()
})

t.test('it is asked every minute, and a change is logged once', async t => {
  const events: unknown[] = []
  const log: Log = (level, event, facts = {}) => events.push({ level, event, ...facts })
  const { guard, upstream, pass } = guarded(off, undefined, log)
  await guard.start()
  await pass(60_000)
  await pass(60_000)
  t.equal(upstream.asked, 3)
  upstream.now = on
  await pass(59_999)
  t.equal(guard.getState(), 'off')
  await pass(1)
  t.equal(guard.getState(), 'on')
  upstream.now = unknown
  await pass(60_000)
  t.equal(guard.getState(), 'unknown', 'rights that were taken away leave nothing known')
  t.match(events, [
    { level: 'info', event: 'ldap authorization checked', state: 'off' },
    { level: 'error', event: 'ldap authorization checked', state: 'on' },
    { level: 'warn', event: 'ldap authorization checked', state: 'unknown' },
  ])
  guard.close()
})

t.test('assume: off vouches for what is unknown, and for nothing else', async t => {
  const { guard, upstream, pass } = guarded(unknown, 'off')
  guard.assertOff()
  await guard.start()
  guard.assertOff()
  upstream.now = on
  await pass(60_000)
  t.equal(faultOf(() => guard.assertOff())?.kind, 'ldap/on')
  guard.close()
})

t.test('an upstream that is away is asked more often until it is known', async t => {
  const { guard, upstream, pass } = guarded(away)
  await guard.start()
  t.match(faultOf(() => guard.assertOff())?.message, /cannot be asked \(upstream\/unreachable, ECONNREFUSED\)/)
  await pass(5_000)
  t.equal(upstream.asked, 2)
  upstream.now = off
  await pass(5_000)
  guard.assertOff()
  await pass(5_000)
  t.equal(upstream.asked, 3)
  guard.close()
})

t.test('what was known outlives a short outage, and no long one', async t => {
  const { guard, upstream, pass } = guarded(off)
  await guard.start()
  upstream.now = away
  for (let round = 0; round < 4; round++) await pass(60_000)
  guard.assertOff()
  await pass(60_000)
  t.equal(faultOf(() => guard.assertOff())?.kind, 'ldap/unknown')
  upstream.now = off
  await pass(60_000)
  guard.assertOff()
  guard.close()
})

t.test('an upstream that never answers does not hold the guard for ever', async t => {
  const { guard, upstream, pass } = guarded(undefined)
  const started = guard.start()
  await pass(10_000)
  await started
  t.match(guard.getReason(), /ETIMEDOUT/)
  upstream.now = off
  await pass(5_000)
  guard.assertOff()
  guard.close()
})

t.test('another process upstream is asked at once, and only one timer runs', async t => {
  const { guard, upstream, clock, pass } = guarded(off)
  await guard.start()
  upstream.now = on
  await guard.recheck()
  t.equal(guard.getState(), 'on')
  t.equal(clock.waiting(), 1)
  await pass(60_000)
  t.equal(upstream.asked, 3)
  guard.close()
})

t.test('what another process answered is not believed of the one that is there now', async t => {
  const { guard, upstream, settled } = guarded(off)
  await guard.start()
  upstream.now = undefined
  guard.recheck()
  await settled()
  t.equal(guard.getState(), 'unknown')
  t.equal((await faultOfAsync(() => guard.assertOffOver(async () => denied)))?.kind, 'ldap/unknown')
  guard.close()

  const lit = guarded(on, 'off')
  await lit.guard.start()
  lit.upstream.now = undefined
  lit.guard.recheck()
  await lit.settled()
  t.equal(lit.guard.getState(), 'on', 'nobody vouches for what was on')
  lit.guard.close()
})

t.test('an answer that was asked for before the process changed is not believed either', async t => {
  const answers: ((answers: LdapReplies) => void)[] = []
  const ask = () => new Promise<LdapReplies>(resolve => answers.push(resolve))
  const guard = createLdapGuard({
    probe: ask,
    intervalMS: 60_000,
    assume: undefined,
    log: silentLog,
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

t.test('where the verdict is unknown a connection that has logged in is asked for itself', async t => {
  const { guard } = guarded(unknown)
  await guard.start()
  const replies = (answers: LdapReplies) => async (command: object) =>
    ('buildInfo' in command ? answers.buildInfo : 'getCmdLineOpts' in command ? answers.options : answers.parameters) ??
    {}
  await guard.assertOffOver(replies(off))
  t.equal((await faultOfAsync(() => guard.assertOffOver(replies(on))))?.kind, 'ldap/on')
  t.equal((await faultOfAsync(() => guard.assertOffOver(replies(unknown))))?.kind, 'ldap/unknown')
  t.equal(guard.getState(), 'unknown', 'the rights of one user say nothing about the next')
  guard.close()
  const known = guarded(off)
  await known.guard.start()
  await known.guard.assertOffOver(() => t.fail('nobody is asked where it is known') as never)
  known.guard.close()
})

t.test('a closed guard asks no more', async t => {
  const { guard, upstream, clock, pass } = guarded(off)
  await guard.start()
  guard.close()
  await pass(120_000)
  t.equal(upstream.asked, 1)
  t.equal(clock.waiting(), 0)
})
