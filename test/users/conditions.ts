import t from 'tap'
import { assertPermitted, assertPrincipalId } from '../../src/users/conditions.js'
import type { Match } from '../../src/users/match.js'
import { parseNetwork } from '../../src/users/networks.js'
import { faultOf } from '../support/faults.js'

const NOON = Date.parse('2026-11-22T12:00:00Z')
const identity = { canonical: 'arn:aws:iam::123456789012:role/R', principalId: 'AROACKCEVSQ6C2EXAMPLE' }
const match = (conditions: Partial<Match>): Match => ({
  decidedBy: { rule: 3 },
  arn: identity.canonical,
  grant: { roles: [] },
  ...conditions,
})
const networks = (...texts: string[]) => texts.map(parseNetwork).filter(network => network !== undefined)
const fault = (conditions: Partial<Match>, peer = '10.0.0.1', now = NOON) =>
  faultOf(() => assertPermitted(match(conditions), identity, { peer, now }))

t.test('a match without conditions permits the login', async t => {
  t.equal(fault({}), undefined)
})

t.test('the client has to be in one network of each list', async t => {
  const clientSource = [networks('10.0.0.0/8', '::1'), networks('10.0.0.0/24', '10.1.0.0/24')]
  t.equal(fault({ clientSource }), undefined)
  t.equal(fault({ clientSource }, '::ffff:10.1.0.9'), undefined)
  for (const peer of ['10.2.0.1', '11.0.0.1', '::1', ''])
    t.equal(fault({ clientSource }, peer)?.kind, 'users/source-not-allowed')
  t.equal(fault({ clientSource: [[]] })?.kind, 'users/source-not-allowed', 'no address is in an empty list')
  t.match(fault({ clientSource: [networks('11.0.0.0/8')] })?.facts, { rule: 3, allowed: ['11.0.0.0/8'] })
})

t.test('a login is refused from deleteAfterDate on', async t => {
  const deleteAfterDate = new Date(NOON)
  t.equal(fault({ deleteAfterDate }, undefined, NOON - 1), undefined)
  t.equal(fault({ deleteAfterDate }, undefined, NOON)?.kind, 'users/expired')
  t.match(fault({ deleteAfterDate })?.message, '2026-11-22T12:00:00.000Z')
})

t.test('a recreated principal is refused with both ids', async t => {
  t.equal(fault({ principalId: identity.principalId }), undefined)
  t.equal(fault({ principalId: 'firstUse' }), undefined, 'the pin decides elsewhere')
  const recreated = fault({ principalId: 'AROAOTHEROTHEROTHER00' })
  t.equal(recreated?.kind, 'users/recreated')
  t.match(recreated?.message, /is AROACKCEVSQ6C2EXAMPLE, expected AROAOTHEROTHEROTHER00/)
  t.match(recreated?.facts, { principalId: 'AROACKCEVSQ6C2EXAMPLE', pinned: 'AROAOTHEROTHEROTHER00' })
  t.equal(recreated?.definition.reply?.code, 18)
  t.equal(faultOf(() => assertPrincipalId(match({}), identity, 'AROAOTHER'))?.kind, 'users/recreated')
})
