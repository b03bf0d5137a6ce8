import t from 'tap'
import { canonicalizeArn, parseArn } from '../../src/identity/arn.js'
import { partitions } from '../../src/identity/partition.js'
import { parseIdentity } from '../../src/identity/reply.js'
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
  const arn = parseArn(said)
  const match = arn && rules.match({ canonical: canonicalizeArn(arn) })
  if (!match || !('rule' in match.decidedBy) || !('user' in match.grant)) return undefined
  return `${match.decidedBy.rule}: ${match.grant.user.name}@${match.grant.user.db}`
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
      rules.rules.match(parseIdentity(said, 'aws')),
      { decidedBy: { rule: 3 }, grant: { user: { name: 'reader', db: 'admin' } } },
      session,
    )
  }
})

t.test('a rule for a session is a problem that says why', async t => {
  const { rules, problems } = compiled([`arn:aws:sts::${A}:assumed-role/R/admin`, 'app'])
  t.match(problems, [/rule 1: .*session name \("admin"\).*never decides.*arn:aws:iam::123456789012:role\/R/])
  t.equal(rules.all.length, 0)
})

t.test('* is any part of a name, and no more than the name', async t => {
  for (const [pattern, fits, fitsNot] of [
    [`iam::${A}:role/app-*`, ['app-', 'app-1', 'app-a*b'], ['app', 'xapp-1', 'App-1']],
    [`iam::${A}:role/*`, ['R', 'app'], []],
    [`iam::${A}:role/a*b*c`, ['abc', 'a1b2c', 'abbcc'], ['ab', 'acb', 'abcd']],
    [`iam::${A}:role/ab*ba`, ['abba', 'ab1ba'], ['aba']],
    [`sts::${A}:assumed-role/app-*/*`, ['app-1'], ['app']],
    [`sts::${A}:assumed-role/app-*`, ['app-1'], ['app']],
  ] as const) {
    for (const p of partitions) {
      const rules = compiled([`arn:${p}:${pattern}`, 'app'])
      t.same(rules.problems, [])
      for (const name of fits.filter(name => !name.includes('*')))
        t.ok(who(rules, `arn:${p}:sts::${A}:assumed-role/${name}/any`), `${pattern} ${name}`)
      for (const name of fitsNot)
        t.notOk(who(rules, `arn:${p}:sts::${A}:assumed-role/${name}/any`), `${pattern} not ${name}`)
    }
  }
})

t.test('the kind, the account, the partition and the path of a user are part of a pattern', async t => {
  const roles = compiled([`arn:aws:iam::${A}:role/*`, 'app'])
  const users = compiled([`arn:aws:iam::${A}:user/team-*/*`, 'app'])
  t.notOk(who(roles, `arn:aws:iam::${A}:user/R`))
  t.notOk(who(roles, `arn:aws:iam::${A}:root`))
  t.notOk(who(roles, `arn:aws:sts::${A}:federated-user/R1`))
  t.notOk(who(roles, `arn:aws:sts::${B}:assumed-role/R/any`))
  t.notOk(who(roles, `arn:aws-cn:sts::${A}:assumed-role/R/any`))
  t.ok(who(users, `arn:aws:iam::${A}:user/team-a/bob`))
  for (const name of ['bob', 'team-a/x/bob', 'x/team-a/bob', 'team/bob']) {
    t.notOk(who(users, `arn:aws:iam::${A}:user/${name}`), name)
  }
  t.notOk(who(users, `arn:aws:sts::${A}:assumed-role/team-a/bob`))
})

t.test('D12: a permission set is itself, and no other whose name goes on', async t => {
  const of = (permissionSet: string, account = A, partition = 'aws') =>
    compileRules([{ sso: { permissionSet, account, partition }, user: 'dba', password }])
  const said = (name: string, account = A) =>
    `arn:aws:sts::${account}:assumed-role/AWSReservedSSO_${name}/ann@example.com`
  const rules = of('Admin')
  t.same(rules.problems, [])
  t.equal(who(rules, said('Admin_0123456789abcdef')), '1: dba@admin')
  for (const name of [
    'Admin_ReadOnly_0123456789abcdef',
    'Admin_0123456789abcde',
    'Admin_0123456789abcdef0',
    'Admin_0123456789ABCDEF',
    'Admin_0123456789abcdeg',
    'Admin',
    'admin_0123456789abcdef',
  ]) {
    t.notOk(who(rules, said(name)), name)
  }
  t.notOk(who(rules, said('Admin_0123456789abcdef', B)), 'another account')
  t.ok(who(of('A.d+m'), said('A.d+m_0123456789abcdef')))
  t.notOk(who(of('A.d+m'), said('Axddm_0123456789abcdef')))
  t.ok(
    who(
      of('Admin', A, 'aws-us-gov'),
      `arn:aws-us-gov:sts::${A}:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/ann`,
    ),
  )
  t.match(of('Admin', '12345').problems, [/not 12 digits/])
  t.match(of('Admin*').problems, [/is not the name of one/])
  t.match(of('Admin', A, 'moon').problems, [/no partition "moon"/])
})

t.test('a wildcard where it would mean strangers is a problem that says so', async t => {
  for (const [arn, said] of [
    ['*', /outside of a name/],
    ['arn:aws:iam::*:role/R', /wildcard in its account/],
    ['arn:aws:iam::12345678901*:role/R', /wildcard in its account/],
    [`arn:*:iam::${A}:role/R`, /wildcard in its partition/],
    [`arn:aws*:iam::${A}:role/R`, /wildcard in its partition/],
    [`arn:aws:iam::${A}:role/prod/*`, /pattern with a path/],
    [`arn:aws:iam::${A}:role/*/R`, /pattern with a path/],
    [`arn:aws:sts::${A}:assumed-role/R/i-*`, /session names/],
    [`arn:aws:sts::${A}:assumed-role/R*/admin`, /session names/],
    [`arn:aws:sts::${A}:federated-user/*`, /one by one/],
    [`arn:aws:iam::${A}:root*`, /one by one/],
    [`arn:aws:iam::${A}:role/AWSReservedSSO_Admin_*`, /longer names as well; write sso/],
    [`arn:aws:iam::${A}:*`, /not the pattern/],
    [`arn:aws:iam::${A}:group/*`, /not the pattern/],
    [`arn:aws:*::${A}:role/R`, /not the pattern/],
    [`arn:aws-moon:iam::${A}:role/*`, /not the pattern/],
    [`arn:aws:iam::${A}:user/*:role/x`, /not the pattern/],
  ] as const) {
    t.match(problemsOf(arn), [said], arn)
    t.notMatch(problemsOf(arn).join(), /\n/)
  }
})

t.test('the first rule wins, whether it names one or many', async t => {
  const one = `arn:aws:iam::${A}:role/app-1`
  const many = `arn:aws:iam::${A}:role/app-*`
  const said = `arn:aws:sts::${A}:assumed-role/app-1/any`
  t.equal(who(compiled([one, 'one'], [many, 'many']), said), '1: one@admin')
  t.equal(who(compiled([many, 'many'], [one, 'one']), said), '1: many@admin')
  t.equal(who(compiled([`arn:aws:iam::${A}:role/*-1`, 'x'], [many, 'many']), said), '1: x@admin')
  t.equal(who(compiled([`arn:aws:iam::${B}:role/*`, 'x'], [many, 'many']), said), '2: many@admin')
  t.match(compiled([many, 'a'], [many, 'b']).problems, [/rule 2: .*same pattern as in rule 1, which wins/])
})

t.test('a rule with scopes counts for the listeners of one of them', async t => {
  const entries = [
    { arn: `arn:aws:iam::${A}:user/x`, user: 'prod', password, scopes: ['prod', 'blue'] },
    { arn: `arn:aws:iam::${A}:user/x`, user: 'test', password, scopes: ['test'] },
    { arn: `arn:aws:iam::${A}:user/x`, user: 'else', password },
  ]
  for (const [scope, wanted] of [
    ['prod', '1: prod@admin'],
    ['blue', '1: prod@admin'],
    ['test', '2: test@admin'],
    ['other', '3: else@admin'],
    [undefined, '3: else@admin'],
  ] as const) {
    const compiled = compileRules(entries, { scope })
    t.same(compiled.problems, [])
    t.equal(who(compiled, `arn:aws:iam::${A}:user/x`), wanted, scope ?? 'no scope')
    t.equal(compiled.rules.all.length + compiled.rules.outOfScope.length, 3)
  }
  t.match(compileRules([...entries, { ...entries[0], scopes: ['blue'] }]).problems, [/rule 4: .*in rule 1, which wins/])
})

t.test('roles are role@database, and of a collection where that can be (R22)', async t => {
  const arn = `arn:aws:iam::${A}:user/x`
  const of = (...roles: string[]) => compileRules([{ arn, roles }])
  t.match(of('readWrite@app', 'read@app.a.b@c', 'my role@x').rules.match({ canonical: arn })?.grant, {
    roles: [
      { role: 'readWrite', db: 'app' },
      { role: 'read', db: 'app', collection: 'a.b@c' },
      { role: 'my role', db: 'x' },
    ],
  })
  for (const [role, said] of [
    ['readWrite', /names no database; write "readWrite@database"/],
    ['@app', /has no name/],
    ['read@', /of a database "", which cannot be/],
    ['read@a b', /cannot be/],
    ['a@b@c', /cannot be/],
    ['dbAdmin@app.orders', /only read and readWrite/],
    ['read@app.', /of a collection that cannot be/],
    ['read@app.system.users', /of a collection that cannot be/],
    ['read@$external', /cannot be/],
  ] as const) {
    t.match(of(role).problems, [said], role)
  }
})

t.test('what a rule asks of a login is in its match', async t => {
  const arn = `arn:aws:iam::${A}:role/R`
  const deleteAfterDate = new Date('2026-12-24T00:00:00Z')
  const clientSource = ['10.1.2.3/8', '::1']
  const { rules, problems } = compileRules([
    { arn, roles: ['read@app'], clientSource, deleteAfterDate, principalId: 'AROACKCEVSQ6C2EXAMPLE', maxAgeMS: 5000 },
  ])
  t.same(problems, [])
  t.match(rules.match({ canonical: arn }), {
    clientSource: [
      [
        { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
        { address: '::1', prefix: 128, family: 'ipv6' },
      ],
    ],
    deleteAfterDate,
    principalId: 'AROACKCEVSQ6C2EXAMPLE',
    maxAgeMS: 5000,
  })
  t.match(compileRules([{ arn, roles: ['read@app'], clientSource: ['10.0.0.0/33', 'home'] }]).problems, [
    /rule 1: "10.0.0.0\/33" is no network/,
    /rule 1: "home" is no network/,
  ])
})

t.test('a pin is an id of the kind that is named, of one principal', async t => {
  const of = (arn: string, principalId: string) => compileRules([{ arn, roles: ['read@app'], principalId }]).problems
  t.same(of(`arn:aws:iam::${A}:role/R`, 'firstUse'), [])
  t.same(of(`arn:aws:iam::${A}:role/R*`, 'firstUse'), [])
  t.same(of(`arn:aws:iam::${A}:user/x`, 'AIDACKCEVSQ6C2EXAMPLE'), [])
  t.match(of(`arn:aws:iam::${A}:user/x`, 'AROACKCEVSQ6C2EXAMPLE'), [/is not firstUse or the AIDA… id of a user/])
  t.match(of(`arn:aws:iam::${A}:role/R`, 'AROACKCEVSQ6C2EXAMPLE:me'), [/is not firstUse or the AROA… id of a role/])
  t.match(of(`arn:aws:iam::${A}:role/R*`, 'AROACKCEVSQ6C2EXAMPLE'), [/of one principal and the rule of many/])
  t.match(of(`arn:aws:iam::${A}:root`, 'firstUse'), [/no id of its own/])
  t.match(of(`arn:aws:sts::${A}:federated-user/carol`, 'firstUse'), [/no id of its own/])
})

t.test('what is no principal is a problem that helps', async t => {
  for (const [arn, said] of [
    ['alice', /is not the ARN/],
    ['', /is not the ARN/],
    [`arn:aws:iam::${A}:user/a?`, /only wildcard is \*/],
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
  const arn = parseArn(`arn:aws:iam::${A}:role/R`)
  t.match(arn && rules.match({ canonical: canonicalizeArn(arn) }), {
    decidedBy: { rule: 1 },
    grant: { user: { name: 'first' } },
  })
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

t.test('a problem names its rule as the file counts, and the line', async t => {
  const entries = ['one', 'two'].map(arn => ({ arn, roles: ['read@app'] }))
  const { problems } = compileRules(entries, {}, [
    { rule: 4, from: 'proxy.yaml:9' },
    { rule: 7, from: 'proxy.yaml:12' },
  ])
  t.match(problems, [/^users, rule 4: .*\(from proxy\.yaml:9\)$/, /^users, rule 7: .*\(from proxy\.yaml:12\)$/])
})
