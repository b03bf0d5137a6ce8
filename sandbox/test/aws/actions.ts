import { randomBytes } from 'node:crypto'
import t from 'tap'
import { actions, findAction } from '../../src/aws/actions.js'
import { type Caller, createIam } from '../../src/aws/iam.js'

const account = '123456789012'
const aws = createIam({ random: randomBytes, now: () => 0 })
const alice = aws.createUser({ account, name: 'alice' })
const callerOf = (id: string) => aws.key(id)?.caller as Caller
const asAlice = callerOf(aws.createAccessKey(alice).accessKeyId)
const asRoot = callerOf(aws.createAccessKey(aws.root(account)).accessKeyId)
const asFederated = callerOf(aws.federate(alice, 'alice').accessKeyId)
const inSession = callerOf(aws.sessionOf(alice).accessKeyId)

const assume = (caller: Caller, arn: string, more: Record<string, string> = {}) =>
  actions.AssumeRole(caller, new URLSearchParams({ RoleArn: arn, RoleSessionName: 'pod-1', ...more }), aws)

t.test('unknown actions are not found', async t => {
  t.equal(findAction('AssumeRole'), 'AssumeRole')
  for (const name of [null, '', 'assumeRole', 'toString', '__proto__']) t.equal(findAction(name), undefined)
})

t.test('a trusted principal can assume a role', async t => {
  const outer = aws.createRole({ account, name: 'outer', trusts: [alice.arn] })
  const inner = aws.createRole({ account, name: 'inner', path: '/deep/', trusts: [outer.arn] })
  const warehouse = aws.createRole({ account, name: 'warehouse', trusts: [`arn:aws:iam::${account}:root`] })
  const outside = { code: 'AccessDenied' }
  const asOuter = aws.assumeRole(outer, 'pod-1').caller
  for (const [caller, role, outcome] of [
    [asAlice, outer, { AssumedRoleUser: { Arn: `arn:aws:sts::${account}:assumed-role/outer/pod-1` } }],
    [inSession, outer, { AssumedRoleUser: { AssumedRoleId: `${outer.id}:pod-1` } }],
    [asOuter, inner, { AssumedRoleUser: { Arn: `arn:aws:sts::${account}:assumed-role/inner/pod-1` } }],
    [asAlice, warehouse, { Credentials: { AccessKeyId: /^ASIA/ } }],
    [asAlice, inner, outside],
    [asOuter, outer, outside],
    [asRoot, warehouse, outside],
    [asFederated, outer, outside],
  ] as const) {
    t.match(assume(caller, role.arn), outcome, `${caller.arn} → ${role.arn}`)
  }
})

t.test('a missing role is denied with the same message', async t => {
  const hidden = aws.createRole({ account, name: 'hidden' })
  const denial = (arn: string) => ({
    code: 'AccessDenied',
    message: `User: ${alice.arn} is not authorized to perform: sts:AssumeRole on resource: ${arn}`,
  })
  for (const arn of [hidden.arn, `${hidden.arn}-not`]) t.same(assume(asAlice, arn), denial(arn))
})

t.test('a session has the requested duration, within limits', async t => {
  const { arn } = aws.createRole({ account, name: 'long', trusts: [alice.arn], maxSessionSeconds: 43_200 })
  const lasting = (seconds: number) => ({ Credentials: { Expiration: new Date(seconds * 1000) } })
  t.match(assume(asAlice, arn), lasting(3600))
  t.match(assume(asAlice, arn, { DurationSeconds: '43200' }), lasting(43_200))
  for (const seconds of ['899', '43201', 'x', '', '-900']) {
    t.match(assume(asAlice, arn, { DurationSeconds: seconds }), { code: 'ValidationError' }, seconds)
  }
  const chained = aws.createRole({
    account,
    name: 'chained',
    trusts: [`arn:aws:iam::${account}:root`],
    maxSessionSeconds: 43_200,
  })
  const asRole = aws.assumeRole(chained, 'pod-1').caller
  t.match(assume(asRole, chained.arn, { DurationSeconds: '3601' }), { code: 'ValidationError' }, 'chained')
})

t.test('malformed parameters are rejected', async t => {
  for (const [name, value] of [
    ['RoleArn', 'app'],
    ['RoleSessionName', 'x'],
    ['RoleSessionName', 'a/b'],
    ['RoleSessionName', 'x'.repeat(65)],
  ] as const) {
    t.match(assume(asAlice, alice.arn, { [name]: value }), { code: 'ValidationError' }, value)
  }
  t.match(actions.AssumeRole(asAlice, new URLSearchParams(), aws), { code: 'ValidationError', message: /null/ })
})

t.test('GetSessionToken returns a session of the user, which cannot open another session', async t => {
  t.match(actions.GetSessionToken(asAlice, new URLSearchParams(), aws), {
    Credentials: { AccessKeyId: /^ASIA/, Expiration: new Date(43_200_000) },
  })
  t.same(actions.GetCallerIdentity(inSession), { Arn: alice.arn, UserId: alice.id, Account: account })
  t.match(actions.GetSessionToken(inSession, new URLSearchParams(), aws), { code: 'AccessDenied' })
  t.match(actions.GetSessionToken(asAlice, new URLSearchParams('DurationSeconds=1'), aws), { code: 'ValidationError' })
})
