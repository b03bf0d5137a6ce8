import t from 'tap'
import { Fault } from '../../src/errors.js'
import { Secret } from '../../src/log.js'
import { logInWithPasswords } from '../../src/provisioning/passwordAttempts.js'
import type { Provisioner, UserCredentials } from '../../src/provisioning/provisioner.js'
import { faultOfAsync } from '../support/faults.js'

const wanted = { arn: 'arn:aws:iam::123456789012:role/orders', roles: [] }
const access = (...passwords: string[]): UserCredentials => ({
  user: { name: wanted.arn, db: 'd' },
  passwords: passwords.map(text => new Secret(text)),
})
const never = new AbortController().signal

/** A provisioner that gives these in turn, and an upstream that takes one password. */
function upstream(
  first: UserCredentials,
  second: UserCredentials | Fault,
  good: string,
  wrong = new Fault('upstream/authentication-failed', '', { code: 18 }),
) {
  const tried: string[] = []
  const provisioner: Provisioner = {
    ensureUser: async () => first,
    handleRefusal: async (_, after) => {
      t.equal(after, first)
      if (second instanceof Fault) throw second
      return second
    },
    syncRoles: async () => {},
  }
  const begin = async ({ password }: { password: Secret }) => {
    tried.push(password.reveal())
    if (password.reveal() !== good) throw wrong
    return 'a connection'
  }
  return { tried, logIn: (signal = never) => logInWithPasswords(provisioner, wanted, begin, signal) }
}

t.test('passwords are tried in order, each once, until one is taken', async t => {
  const { tried, logIn } = upstream(access('a', 'b', 'c'), access(), 'b')
  t.equal(await logIn(), 'a connection')
  t.same(tried, ['a', 'b'])
})

t.test('where none is taken the provisioner is asked again, once', async t => {
  const { tried, logIn } = upstream(access('a', 'b'), access('c'), 'c')
  t.equal(await logIn(), 'a connection')
  t.same(tried, ['a', 'b', 'c'])
  const lost = upstream(access('a'), access('b'), 'c')
  t.match(await faultOfAsync(() => lost.logIn()), { kind: 'upstream/authentication-failed', facts: { code: 18 } })
  t.same(lost.tried, ['a', 'b'])
})

t.test('an error of SCRAM itself is a refused password, too', async t => {
  const { logIn } = upstream(
    access('a', 'b'),
    access(),
    'b',
    new Fault('upstream/authentication-failed', '', { error: 'invalid-proof' }),
  )
  t.equal(await logIn(), 'a connection')
})

t.test('whatever else goes wrong ends it', async t => {
  for (const wrong of [
    new Fault('upstream/unreachable'),
    new Fault('upstream/authentication-failed', '', { code: 334 }),
  ]) {
    const { tried, logIn } = upstream(access('a', 'b'), access(), 'b', wrong)
    t.equal(await faultOfAsync(() => logIn()), wrong)
    t.same(tried, ['a'])
  }
  const nothing = upstream(access('a'), new Fault('provision/conflict'), 'b')
  t.match(await faultOfAsync(() => nothing.logIn()), { kind: 'provision/conflict' })
})

t.test('a client that is gone waits for nothing', async t => {
  const { tried, logIn } = upstream(access('a'), access(), 'a')
  await t.rejects(logIn(AbortSignal.abort(new Error('gone'))), /gone/)
  t.same(tried, [])
})
