import { randomBytes } from 'node:crypto'
import { serialize } from 'bson'
import t from 'tap'
import { codeNameOf } from '../../../test/support/mongo.js'
import { LogicalSessions } from '../../src/mongo/logicalSessions.js'
import { Store } from '../../src/mongo/store.js'

const never = () => {
  throw new Error('not again')
}

function begun() {
  let now = 0
  const store = new Store(randomBytes)
  return { store, sessions: new LogicalSessions(store, randomBytes, () => now), at: (ms: number) => (now = ms) }
}

t.test('a repeated statement returns its first result', async t => {
  const { sessions } = begun()
  const first = sessions.statements('a', 1n)
  t.equal(
    first.once(0, () => 'done'),
    'done',
  )
  t.throws(() => first.once(1, never))
  const second = sessions.statements('a', 1n)
  t.equal(second.once(0, never), 'done')
  t.equal(
    second.once(1, () => 'now'),
    'now',
    'a statement that threw has no stored result',
  )
  t.same(second.retried, [0])
  t.equal(
    sessions.statements('a', 2n).once(0, () => 'next'),
    'next',
    'another number is another write',
  )
  t.equal(
    sessions.statements('b', 1n).once(0, () => 'other'),
    'other',
    'so is another session',
  )
  t.equal(
    codeNameOf(() => sessions.statements('a', 1n)),
    'TransactionTooOld',
  )
})

t.test('the least recently used session is dropped', async t => {
  const { sessions } = begun()
  for (let at = 0; at <= 10_000; at++) sessions.statements(`session ${at}`, 1n).once(0, () => at)
  t.equal(sessions.statements('session 1', 1n).once(0, never), 1)
  t.equal(
    sessions.statements('session 0', 1n).once(0, () => 'dropped'),
    'dropped',
  )
})

t.test('a transaction can be ended once', async t => {
  const { sessions, store, at } = begun()
  const write = (key: string, number: bigint) =>
    sessions
      .start(key, number)
      .open('app', 'c')
      .insert(Buffer.from(serialize({ _id: key })), never)
  write('a', 1n)
  sessions.commit('a', 1n)
  sessions.commit('a', 1n)
  t.equal(store.find('app', 'c')?.entries.size, 1)
  t.equal(
    codeNameOf(() => sessions.abort('a', 1n)),
    'TransactionCommitted',
  )
  write('b', 1n)
  sessions.abort('b', 1n)
  for (const end of [() => sessions.abort('b', 1n), () => sessions.commit('b', 1n), () => sessions.open('b', 1n)]) {
    t.equal(codeNameOf(end), 'NoSuchTransaction')
  }
  write('c', 1n)
  sessions.discardAll()
  t.equal(
    codeNameOf(() => sessions.commit('c', 1n)),
    'NoSuchTransaction',
  )
  write('d', 1n)
  at(60_001)
  t.equal(
    codeNameOf(() => sessions.open('d', 1n)),
    'NoSuchTransaction',
  )
  t.equal(store.find('app', 'c')?.entries.size, 1)
})
