import t from 'tap'
import { codeNameOf } from '../../../test/support/mongo.js'
import { assertMayRun, isWriteCommand, type MemberState } from '../../src/mongo/memberState.js'

/** The error of a member for `name`, with and without a read preference that permits secondaries. */
const outcome = (state: MemberState, name: string, body = {}) =>
  codeNameOf(() => assertMayRun(state, name, body)) ?? 'runs'
const anyone = { $readPreference: { mode: 'nearest' } }

const table: [name: string, primary: string, secondary: string, allowed: string, removed: string][] = [
  ['hello', 'runs', 'runs', 'runs', 'runs'],
  ['saslStart', 'runs', 'runs', 'runs', 'runs'],
  ['getMore', 'runs', 'runs', 'runs', 'runs'],
  ['find', 'runs', 'NotPrimaryNoSecondaryOk', 'runs', 'NotPrimaryOrSecondary'],
  ['usersInfo', 'runs', 'NotPrimaryNoSecondaryOk', 'runs', 'NotPrimaryOrSecondary'],
  ['insert', 'runs', 'NotWritablePrimary', 'NotWritablePrimary', 'NotWritablePrimary'],
  ['createUser', 'runs', 'NotWritablePrimary', 'NotWritablePrimary', 'NotWritablePrimary'],
  ['commitTransaction', 'runs', 'NotWritablePrimary', 'NotWritablePrimary', 'NotWritablePrimary'],
]

t.test('the commands of each member state', async t => {
  for (const [name, ...outcomes] of table) {
    const found = [
      outcome('PRIMARY', name),
      outcome('SECONDARY', name),
      outcome('SECONDARY', name, anyone),
      outcome('REMOVED', name, anyone),
    ]
    t.same(found, outcomes, name)
  }
})

t.test('a transaction reads from the primary only', async t => {
  t.equal(outcome('SECONDARY', 'find', { ...anyone, autocommit: false }), 'NotWritablePrimary')
})

t.test('a command that is not known to be a read counts as a write', async t => {
  t.same(['insert', 'dropDatabase', 'unheardOf', 'abortTransaction'].filter(isWriteCommand).length, 4)
  t.same(['hello', 'find', 'endSessions', 'aggregate'].filter(isWriteCommand), [])
})
