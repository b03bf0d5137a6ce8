import t from 'tap'
import { Fault } from '../../src/errors.js'
import { Secret } from '../../src/log.js'
import { logInWithPasswords } from '../../src/provisioning/passwordAttempts.js'
import type { Provisioner, UserCredentials } from '../../src/provisioning/provisioner.js'
import { faultOfAsync } from '../support/faults.js'

const desired = { arn: 'arn:aws:iam::123456789012:role/orders', roles: [] }
const credentials = (...passwords: string[]): UserCredentials => ({
  user: { name: desired.arn, db: 'd' },
  passwords: passwords.map(text => new Secret(text)),
})
const never = new AbortController().signal

/** A provisioner that returns these credentials in order, and an upstream that accepts one password. */
function createScripted(
  first: UserCredentials,
  second: UserCredentials | Fault,
  good: string,
  wrong = new Fault('upstream/authentication-failed', '', { code: 18 }),
) {
  const tried: string[] = []
  const provisioner: Pick<Provisioner, 'ensureUser' | 'handleRefusal'> = {
    ensureUser: async () => first,
    handleRefusal: async (_, after) => {
      t.equal(after, first)
      if (second instanceof Fault) throw second
      return second
    },
  }
  const connect = async ({ password }: { password: Secret }) => {
    tried.push(password.reveal())
    if (password.reveal() !== good) throw wrong
    return 'a connection'
  }
  return { tried, logIn: (signal = never) => logInWithPasswords(provisioner, desired, connect, signal) }
}

t.test('passwords are tried in order, each once, until one is accepted', async t => {
  const { tried, logIn } = createScripted(credentials('a', 'b', 'c'), credentials(), 'b')
  t.equal(await logIn(), 'a connection')
  t.same(tried, ['a', 'b'])
})

t.test('if all passwords are refused, the provisioner is asked once more', async t => {
  const { tried, logIn } = createScripted(credentials('a', 'b'), credentials('c'), 'c')
  t.equal(await logIn(), 'a connection')
  t.same(tried, ['a', 'b', 'c'])
  const lost = createScripted(credentials('a'), credentials('b'), 'c')
  t.match(await faultOfAsync(() => lost.logIn()), { kind: 'upstream/authentication-failed', facts: { code: 18 } })
  t.same(lost.tried, ['a', 'b'])
})

t.test('a SCRAM error is a refused password', async t => {
  const { logIn } = createScripted(
    credentials('a', 'b'),
    credentials(),
    'b',
    new Fault('upstream/authentication-failed', '', { error: 'invalid-proof' }),
  )
  t.equal(await logIn(), 'a connection')
})

t.test('any other failure ends the login', async t => {
  for (const wrong of [
    new Fault('upstream/unreachable'),
    new Fault('upstream/authentication-failed', '', { code: 334 }),
  ]) {
    const { tried, logIn } = createScripted(credentials('a', 'b'), credentials(), 'b', wrong)
    t.equal(await faultOfAsync(() => logIn()), wrong)
    t.same(tried, ['a'])
  }
  const nothing = createScripted(credentials('a'), new Fault('provision/conflict'), 'b')
  t.match(await faultOfAsync(() => nothing.logIn()), { kind: 'provision/conflict' })
})

t.test('an aborted login does not wait', async t => {
  const { tried, logIn } = createScripted(credentials('a'), credentials(), 'a')
  await t.rejects(logIn(AbortSignal.abort(new Error('gone'))), /gone/)
  t.same(tried, [])
})
