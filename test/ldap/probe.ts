import t from 'tap'
import { evaluateLdap } from '../../src/ldap/ldap.js'
import { createLdapProbe } from '../../src/ldap/probe.js'
import { faultOfAsync } from '../support/faults.js'
import {
  memberHello,
  type Script,
  type ScriptedUpstream,
  silence,
  startScriptedUpstream,
} from '../support/scriptedUpstream.js'

const never = new AbortController().signal
const denied = { ok: 0, code: 13 }
const plain = { parsed: {}, ok: 1 }

/** A replica set of these members, or a single server. The `unreachable` members do not answer. */
const members = (first: ScriptedUpstream, others: ScriptedUpstream[] = [], unreachable: ScriptedUpstream[] = []) => ({
  freshView: async () => ({ hello: memberHello(), isPrimary: true, isReplicaSet: others.length > 0 }),
  dataBearingMembers: () =>
    [first, ...others, ...unreachable].map(one => ({ target: one.target, isReachable: !unreachable.includes(one) })),
})

const script =
  (modules: string[], rest: object): Script =>
  ({ name }) =>
    name === 'buildInfo' ? { modules, ok: 1 } : rest

t.test('an edition without LDAP is recognized without privileges, and no other command is sent', async t => {
  const upstream = await startScriptedUpstream(t, script([], denied))
  t.match(evaluateLdap(await createLdapProbe(members(upstream), undefined)(never)), { state: 'off' })
  t.same(
    upstream.received.map(({ name }) => name),
    ['hello', 'buildInfo'],
  )
})

t.test(
  'without an administrator the commands are sent on the same connection, which works without access control',
  async t => {
    const open = await startScriptedUpstream(t, script(['enterprise'], plain))
    t.match(evaluateLdap(await createLdapProbe(members(open), undefined)(never)), { state: 'off' })
    const guarded = await startScriptedUpstream(t, script(['enterprise'], denied))
    t.match(evaluateLdap(await createLdapProbe(members(guarded), undefined)(never)), { state: 'unknown' })
  },
)

t.test('the administrator sends the commands that need privileges, and only those', async t => {
  const upstream = await startScriptedUpstream(t, script(['enterprise'], denied))
  const admin = (reply: object) => ({
    runCommand: async () => reply,
    close: async () => {},
    forMember: () => t.fail('one server') as never,
  })
  t.match(evaluateLdap(await createLdapProbe(members(upstream), admin(plain))(never)), { state: 'off' })
  t.match(evaluateLdap(await createLdapProbe(members(upstream), admin({ ok: 0, code: 18 }))(never)), {
    state: 'unknown',
  })
  upstream.script(script([], denied))
  t.match(evaluateLdap(await createLdapProbe(members(upstream), admin({ ok: 0, code: 18 }))(never)), { state: 'off' })
})

t.test('every member is queried by an administrator of its own, and the worst answer counts', async t => {
  const [a, b, c] = [
    await startScriptedUpstream(t, script(['enterprise'], denied)),
    await startScriptedUpstream(t, script(['enterprise'], denied)),
    await startScriptedUpstream(t, script(['enterprise'], denied)),
  ]
  const on = { parsed: { security: { ldap: { authz: { queryTemplate: '{USER}' } } } }, ok: 1 }
  const asked: string[] = []
  let closed = 0
  const admin = (replies: Record<string, object>) => ({
    runCommand: () => t.fail('the driver would choose the member') as never,
    close: async () => {},
    forMember: (address: string) => ({
      runCommand: async () => {
        asked.push(address)
        return replies[address] ?? plain
      },
      close: async () => void closed++,
      forMember: () => t.fail('it is bound to its member already') as never,
    }),
  })
  const judged = async (replies: Record<string, object>, unreachable: ScriptedUpstream[] = []) =>
    evaluateLdap(await createLdapProbe(members(a, [b], [c, ...unreachable]), admin(replies))(never)).state
  t.equal(await judged({}), 'off')
  t.same([...new Set(asked)].sort(), [a.target.address, b.target.address].sort(), 'the reachable members')
  t.equal(closed, 2)
  t.equal(await judged({ [b.target.address]: on, [a.target.address]: denied }), 'on')
  t.equal(await judged({ [a.target.address]: on, [b.target.address]: denied }), 'on')
  t.equal(await judged({ [b.target.address]: denied }), 'unknown')
  t.equal(await judged({ [c.target.address]: on }), 'off', 'no client is relayed to an unreachable member')
})

t.test('an aborted probe leaves no socket', async t => {
  const upstream = await startScriptedUpstream(t, () => silence)
  const stop = new AbortController()
  const asked = createLdapProbe(members(upstream), undefined)(stop.signal)
  await upstream.waitForCommands(1)
  const closed = [...upstream.sockets].map(socket => new Promise(resolve => socket.once('close', resolve)))
  stop.abort(new Error('enough'))
  await t.rejects(asked, { message: 'enough' })
  await Promise.all(closed)
  await upstream.stop()
  t.equal(
    (await faultOfAsync(() => createLdapProbe(members(upstream), undefined)(never)))?.kind,
    'upstream/unreachable',
  )
})
