import t from 'tap'
import { judgeLdap } from '../../src/users/ldap.js'
import { ldapProbe } from '../../src/users/ldapProbe.js'
import { faultOfAsync } from '../support/faults.js'
import { type Script, scriptedUpstream, silence } from '../support/scriptedUpstream.js'

const never = new AbortController().signal
const denied = { ok: 0, code: 13 }
const plain = { parsed: {}, ok: 1 }

const script =
  (modules: string[], rest: object): Script =>
  ({ name }) =>
    name === 'buildInfo' ? { modules, ok: 1 } : rest

t.test('an edition without LDAP is known without rights, and nothing more is asked', async t => {
  const upstream = await scriptedUpstream(t, script([], denied))
  t.match(judgeLdap(await ldapProbe(upstream.target, undefined)(never)), { state: 'off' })
  t.same(
    upstream.asked.map(({ name }) => name),
    ['hello', 'buildInfo'],
  )
})

t.test(
  'an edition with LDAP is asked over the same connection, which needs no rights without access control',
  async t => {
    const open = await scriptedUpstream(t, script(['enterprise'], plain))
    t.match(judgeLdap(await ldapProbe(open.target, undefined)(never)), { state: 'off' })
    const guarded = await scriptedUpstream(t, script(['enterprise'], denied))
    t.match(judgeLdap(await ldapProbe(guarded.target, undefined)(never)), { state: 'unknown' })
  },
)

t.test('the administrator is asked for what needs rights; what needs none does not depend on them', async t => {
  const upstream = await scriptedUpstream(t, script(['enterprise'], denied))
  const admin = (reply: object) => ({ run: async () => reply, close: async () => {} })
  t.match(judgeLdap(await ldapProbe(upstream.target, admin(plain))(never)), { state: 'off' })
  t.match(judgeLdap(await ldapProbe(upstream.target, admin({ ok: 0, code: 18 }))(never)), { state: 'unknown' })
  upstream.script(script([], denied))
  t.match(judgeLdap(await ldapProbe(upstream.target, admin({ ok: 0, code: 18 }))(never)), { state: 'off' })
})

t.test('no answer ends with the signal and leaves no socket', async t => {
  const upstream = await scriptedUpstream(t, () => silence)
  const stop = new AbortController()
  const asked = ldapProbe(upstream.target, undefined)(stop.signal)
  await upstream.until(1)
  const closed = [...upstream.sockets].map(socket => new Promise(resolve => socket.once('close', resolve)))
  stop.abort(new Error('enough'))
  await t.rejects(asked, { message: 'enough' })
  await Promise.all(closed)
  await upstream.stop()
  t.equal((await faultOfAsync(() => ldapProbe(upstream.target, undefined)(never)))?.kind, 'upstream/away')
})
