import t from 'tap'
import { canonical, readArn } from '../../src/identity/arn.js'
import { partitions } from '../../src/identity/partition.js'
import { readIdentity } from '../../src/identity/reply.js'
import { Secret } from '../../src/log.js'
import { compileRules } from '../../src/users/rules.js'
import { identityXML } from '../support/stsReplies.js'

const A = '123456789012'
const B = '210987654321'
const password = new Secret('hunter2')
const compiled = (...rules: [arn: string, user: string][]) =>
  compileRules(rules.map(([arn, user]) => ({ arn, user, password })))
const problemsOf = (arn: string, user = 'app') => compiled([arn, user]).problems

/** Who matches, as `rule: name@db`, by the ARN that STS says. */
const who = ({ rules }: ReturnType<typeof compiled>, said: string) => {
  const arn = readArn(said)
  const match = arn && rules.match({ canonical: canonical(arn) })
  if (!match || !('rule' in match.from) || !('user' in match.gives)) return undefined
  return `${match.from.rule}: ${match.gives.user.name}@${match.gives.user.db}`
}

t.test('a user and a role are who their rule says', async t => {
  const rules = compiled(
    [`arn:aws:iam::${A}:user/alice`, 'alice@admin'],
    [`arn:aws:iam::${A}:user/team/bob`, 'bob'],
    [`arn:aws:iam::${A}:role/orders-api`, 'orders@shop'],
    [`arn:aws:sts::${A}:federated-user/carol`, 'carol@x@admin'],
    [`arn:aws:iam::${A}:root`, 'root'],
  )
  t.same(rules.problems, [])
  t.equal(rules.rules.all.length, 5)
  for (const [said, wanted] of [
    [`arn:aws:iam::${A}:user/alice`, '1: alice@admin'],
    [`arn:aws:iam::${A}:user/team/bob`, '2: bob@admin'],
    [`arn:aws:sts::${A}:assumed-role/orders-api/i-0abc`, '3: orders@shop'],
    [`arn:aws:sts::${A}:federated-user/carol`, '4: carol@x@admin'],
    [`arn:aws:iam::${A}:root`, '5: root@admin'],
    [`arn:aws:iam::${A}:user/bob`, undefined],
    [`arn:aws:iam::${A}:user/Alice`, undefined],
    [`arn:aws:iam::${A}:user/alice2`, undefined],
    [`arn:aws:sts::${A}:federated-user/alice`, undefined],
    [`arn:aws:sts::${A}:assumed-role/alice/alice`, undefined],
    [`arn:aws:sts::${A}:assumed-role/root/root`, undefined],
  ] as const) {
    t.equal(who(rules, said), wanted, said)
  }
})

t.test('every spelling of a role, in every partition, is that role', async t => {
  for (const p of partitions) {
    for (const arn of [
      `arn:${p}:iam::${A}:role/R`,
      `arn:${p}:iam::${A}:role/a/path/R`,
      `arn:${p}:sts::${A}:assumed-role/R`,
      `arn:${p}:sts::${A}:assumed-role/R/*`,
    ]) {
      t.equal(who(compiled([arn, 'app']), `arn:${p}:sts::${A}:assumed-role/R/any`), '1: app@admin', arn)
    }
  }
})

t.test('D14: a principal of the same name in another account or partition is someone else', async t => {
  const rules = compiled([`arn:aws:iam::${A}:role/R`, 'app'], [`arn:aws:iam::${A}:user/u`, 'app'])
  for (const said of [
    `arn:aws:sts::${B}:assumed-role/R/any`,
    `arn:aws-cn:sts::${A}:assumed-role/R/any`,
    `arn:aws-us-gov:sts::${A}:assumed-role/R/any`,
    `arn:aws:iam::${B}:user/u`,
    `arn:aws-cn:iam::${A}:user/u`,
  ]) {
    t.equal(who(rules, said), undefined, said)
  }
})

t.test('D10: a session named like somebody else changes nothing', async t => {
  const rules = compiled(
    [`arn:aws:iam::${A}:user/admin`, 'admin'],
    [`arn:aws:iam::${A}:role/admin`, 'admin'],
    [`arn:aws:iam::${A}:role/reader`, 'reader'],
  )
  for (const session of ['admin', 'root', 'i-0abc', 'alice@example.com']) {
    const Arn = `arn:aws:sts::${A}:assumed-role/reader/${session}`
    const said = identityXML({ Arn, UserId: `AROACKCEVSQ6C2EXAMPLE:${session}`, Account: A })
    t.match(
      rules.rules.match(readIdentity(said, 'aws')),
      { from: { rule: 3 }, gives: { user: { name: 'reader', db: 'admin' } } },
      session,
    )
  }
})

t.test('a rule for a session is a problem that says why', async t => {
  const { rules, problems } = compiled([`arn:aws:sts::${A}:assumed-role/R/admin`, 'app'])
  t.match(problems, [/rule 1: .*session name \("admin"\).*never decides.*arn:aws:iam::123456789012:role\/R/])
  t.equal(rules.all.length, 0)
})

t.test('wildcards are a problem that says so', async t => {
  for (const arn of [
    '*',
    `arn:aws:iam::*:role/R`,
    `arn:*:iam::${A}:role/R`,
    `arn:aws:iam::${A}:role/*`,
    `arn:aws:iam::${A}:role/R?`,
    `arn:aws:iam::${A}:role/prod/*`,
    `arn:aws:iam::${A}:user/*`,
    `arn:aws:sts::${A}:assumed-role/*/*`,
    `arn:aws:sts::${A}:assumed-role/R/i-*`,
    `arn:aws:sts::${A}:federated-user/*`,
  ]) {
    t.match(problemsOf(arn), [/wildcard/], arn)
  }
})

t.test('what is no principal is a problem that helps', async t => {
  for (const [arn, said] of [
    ['alice', /is not the ARN/],
    ['', /is not the ARN/],
    [A, /write the whole of it/],
    ['arn:aws:iam::12345678901:user/x', /account of 12 digits/],
    ['arn:aws:iam:::user/x', /account of 12 digits/],
    [`arn:aws:iam::${A}:group/g`, /groups sign nothing/],
    [`arn:aws:iam::${A}:instance-profile/g`, /the role in it/],
    [`arn:aws-moon:iam::${A}:user/x`, /is not the ARN/],
    [`arn:aws:iam::${A}:user/x\n`, /is not the ARN/],
  ] as const) {
    t.match(problemsOf(arn), [said], arn)
    t.notMatch(problemsOf(arn).join(), /\n/)
  }
})

t.test('one principal has one rule, however it is spelled', async t => {
  const { rules, problems } = compiled(
    [`arn:aws:iam::${A}:role/a/R`, 'first'],
    [`arn:aws:sts::${A}:assumed-role/R/*`, 'second'],
    [`arn:aws:iam::${B}:role/R`, 'third'],
  )
  t.match(problems, [/rule 2: .*same principal as in rule 1/])
  t.equal(problems.length, 1)
  const arn = readArn(`arn:aws:iam::${A}:role/R`)
  t.match(arn && rules.match({ canonical: canonical(arn) }), { from: { rule: 1 }, gives: { user: { name: 'first' } } })
})

t.test('a user is name@database, or a name of admin', async t => {
  const arn = `arn:aws:iam::${A}:user/x`
  for (const user of ['', '@admin', 'name@', 'a\0b']) t.match(problemsOf(arn, user), [/write name@database/])
  t.match(problemsOf(arn, 'alice@example.com'), [/"example.com", which cannot be/])
  t.match(problemsOf(arn, `alice@${'d'.repeat(64)}`), [/cannot be/])
  t.match(problemsOf(arn, 'alice@$external'), [/no password/])
})

t.test('all problems come at once, and none tells a password', async t => {
  const { rules, problems } = compiled(['nobody', '@'], [`arn:aws:iam::${A}:user/x`, 'x'], ['*', 'y'])
  t.equal(problems.length, 3)
  t.match(problems, [/^users, rule 1: /, /^users, rule 1: /, /^users, rule 3: /])
  t.equal(rules.all.length, 1)
  t.notMatch(problems.join(), /hunter2/)
  t.notMatch(JSON.stringify(rules.match({ canonical: `arn:aws:iam::${A}:user/x` })), /hunter2/)
})
