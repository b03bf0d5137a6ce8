import { randomBytes } from 'node:crypto'
import t from 'tap'
import { createIam } from '../../src/aws/iam.js'
import { errorOf } from '../support/errors.js'

const account = '123456789012'
const fresh = () => createIam({ random: randomBytes, now: () => 1_000 })

t.test('a user has a path in its ARN, an id and keys', async t => {
  const aws = fresh()
  const alice = aws.createUser({ account, name: 'alice', path: '/staff/eu/' })
  t.equal(alice.arn, `arn:aws:iam::${account}:user/staff/eu/alice`)
  const { accessKeyId, secretAccessKey } = aws.createAccessKey(alice)
  t.match(accessKeyId, /^AKIA/)
  t.equal(secretAccessKey.length, 40)
  t.match(aws.key(accessKeyId), { active: true, caller: { arn: alice.arn, userId: /^AIDA/, account } })
})

t.test('a role session has no path in its ARN, has a session name in its id, and expires', async t => {
  const aws = fresh()
  const role = aws.createRole({ account, name: 'app', path: '/x/', partition: 'aws-cn' })
  const session = aws.assumeRole(role, 'pod-1', 900)
  t.match(session.accessKeyId, /^ASIA/)
  t.same(session.expiration, new Date(901_000))
  t.match(aws.key(session.accessKeyId), {
    session: { token: session.sessionToken, expiration: 901_000 },
    caller: { arn: `arn:aws-cn:sts::${account}:assumed-role/app/pod-1`, userId: `${role.id}:pod-1`, issuer: role },
  })
})

t.test('GetCallerIdentity describes a root, a federated user and a user session', async t => {
  const aws = fresh()
  const alice = aws.createUser({ account, name: 'alice' })
  const caller = (id: string) => {
    const { arn, userId } = aws.key(id)?.caller ?? {}
    return { arn, userId }
  }
  t.equal(aws.root(account), aws.root(account))
  t.same(caller(aws.createAccessKey(aws.root(account)).accessKeyId), {
    arn: `arn:aws:iam::${account}:root`,
    userId: account,
  })
  t.same(caller(aws.federate(alice, 'bob').accessKeyId), {
    arn: `arn:aws:sts::${account}:federated-user/bob`,
    userId: `${account}:bob`,
  })
  t.same(caller(aws.sessionOf(alice).accessKeyId), { arn: alice.arn, userId: alice.id })
})

t.test('names are unique in an account regardless of case and path', async t => {
  const aws = fresh()
  aws.createUser({ account, name: 'alice' })
  t.equal(errorOf(() => aws.createUser({ account, name: 'Alice', path: '/x/' }))?.code, 'invalid')
  t.ok(aws.createUser({ account: '210987654321', name: 'alice' }))
  t.ok(aws.createRole({ account, name: 'alice' }))
})

t.test('invalid names are rejected', async t => {
  const aws = fresh()
  for (const naming of [
    { account: '1234', name: 'alice' },
    { account, name: '' },
    { account, name: 'a/b' },
    { account, name: 'x'.repeat(65) },
    { account, name: 'alice', path: 'x' },
    { account, name: 'alice', path: '/x' },
  ]) {
    t.equal(errorOf(() => aws.createUser(naming))?.code, 'invalid', JSON.stringify(naming))
  }
})

t.test('a role that was created again is a different role', async t => {
  const aws = fresh()
  const first = aws.createRole({ account, name: 'app' })
  aws.deleteRole(first)
  t.notOk(aws.exists(first))
  t.equal(aws.role(first.arn), undefined)
  const second = aws.createRole({ account, name: 'app' })
  t.not(second.id, first.id)
  t.same([aws.exists(first), aws.exists(second)], [false, true])
  t.equal(aws.role(first.arn), second)
})

t.test('a deleted user does not exist; a deactivated key can still be looked up', async t => {
  const aws = fresh()
  const alice = aws.createUser({ account, name: 'alice' })
  const { accessKeyId } = aws.createAccessKey(alice)
  aws.deactivateKey(accessKeyId)
  t.match(aws.key(accessKeyId), { active: false })
  aws.deleteUser(alice)
  t.notOk(aws.exists(alice))
})

t.test('a role has no key of its own, and an unknown key cannot be deactivated', async t => {
  const aws = fresh()
  t.equal(errorOf(() => aws.createAccessKey(aws.createRole({ account, name: 'app' })))?.code, 'invalid')
  t.equal(errorOf(() => aws.deactivateKey('AKIAQAAAAAAAAAAAAAAA'))?.code, 'invalid')
})

t.test('the same random bytes give the same account', async t => {
  const build = () => {
    let count = 0
    const aws = createIam({ random: size => Buffer.alloc(size, count++), now: () => 0 })
    const role = aws.createRole({ account, name: 'app' })
    return [role, aws.createAccessKey(aws.createUser({ account, name: 'alice' })), aws.assumeRole(role, 'pod-1')]
  }
  t.same(build(), build())
})
