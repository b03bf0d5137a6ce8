import t from 'tap'
import { describeMemberState } from '../../src/upstream/memberStatus.js'

t.test('the state of a member follows from its hello, and the primary is the one that the set has elected', async t => {
  t.equal(describeMemberState(undefined, false), 'unreachable')
  t.equal(describeMemberState({ isWritablePrimary: true }, true), 'primary')
  t.equal(describeMemberState({ isWritablePrimary: true }, false), 'other', 'a stale primary')
  t.equal(describeMemberState({ secondary: true }, false), 'secondary')
  t.equal(describeMemberState({ arbiterOnly: true, secondary: false }, false), 'arbiter')
  t.equal(describeMemberState({ secondary: false }, false), 'other')
})
