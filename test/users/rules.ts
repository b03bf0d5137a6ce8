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

/** The match of the ARN that STS reports, as `rule: name@db`. */
const find = ({ rules }: ReturnType<typeof compiled>, said: string) => {
  const arn = parseArn(said)
  const match = arn && rules.match({ canonical: canonicalizeArn(arn) })
  if (!match || !('rule' in match.decidedBy) || !('user' in match.grant)) return undefined
  return `${match.decidedBy.rule}: ${match.grant.user.name}@${match.grant.user.db}`
}

t.test('a user and a role become the database user of their rule', async t => {
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
    t.equal(find(rules, said), wanted, said)
  }
})

t.test('every spelling of a role matches that role, in every partition', async t => {
  for (const p of partitions) {
    for (const arn of [
      `arn:${p}:iam::${A}:role/R`,
      `arn:${p}:iam::${A}:role/a/path/R`,
      `arn:${p}:sts::${A}:assumed-role/R`,
      `arn:${p}:sts::${A}:assumed-role/R/*`,
    ]) {
      t.equal(find(compiled([arn, 'app']), `arn:${p}:sts::${A}:assumed-role/R/any`), '1: app@admin', arn)
    }
  }
})

t.test('a principal with the same name in another account or partition does not match', async t => {
  const rules = compiled([`arn:aws:iam::${A}:role/R`, 'app'], [`arn:aws:iam::${A}:user/u`, 'app'])
  for (const said of [
    `arn:aws:sts::${B}:assumed-role/R/any`,
    `arn:aws-cn:sts::${A}:assumed-role/R/any`,
    `arn:aws-us-gov:sts::${A}:assumed-role/R/any`,
    `arn:aws:iam::${B}:user/u`,
    `arn:aws-cn:iam::${A}:user/u`,
  ]) {
    t.equal(find(rules, said), undefined, said)
  }
})

t.test('the session name does not decide, even if it is the name of another principal', async t => {
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

t.test('a rule for a session is a problem that explains why', async t => {
  const { rules, problems } = compiled([`arn:aws:sts::${A}:assumed-role/R/admin`, 'app'])
  t.match(problems, [/rule 1: .*session name never decides.*write arn:aws:iam::123456789012:role\/R/])
  t.equal(rules.all.length, 0)
})

t.test('* matches any part of a name and nothing beyond it', async t => {
  for (const [pattern, matches, mismatches] of [
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
      for (const name of matches.filter(name => !name.includes('*')))
        t.ok(find(rules, `arn:${p}:sts::${A}:assumed-role/${name}/any`), `${pattern} ${name}`)
      for (const name of mismatches)
        t.notOk(find(rules, `arn:${p}:sts::${A}:assumed-role/${name}/any`), `${pattern} not ${name}`)
    }
  }
})

t.test('a pattern includes the kind, the account, the partition and the path of a user', async t => {
  const roles = compiled([`arn:aws:iam::${A}:role/*`, 'app'])
  const users = compiled([`arn:aws:iam::${A}:user/team-*/*`, 'app'])
  t.notOk(find(roles, `arn:aws:iam::${A}:user/R`))
  t.notOk(find(roles, `arn:aws:iam::${A}:root`))
  t.notOk(find(roles, `arn:aws:sts::${A}:federated-user/R1`))
  t.notOk(find(roles, `arn:aws:sts::${B}:assumed-role/R/any`))
  t.notOk(find(roles, `arn:aws-cn:sts::${A}:assumed-role/R/any`))
  t.ok(find(users, `arn:aws:iam::${A}:user/team-a/bob`))
  for (const name of ['bob', 'team-a/x/bob', 'x/team-a/bob', 'team/bob']) {
    t.notOk(find(users, `arn:aws:iam::${A}:user/${name}`), name)
  }
  t.notOk(find(users, `arn:aws:sts::${A}:assumed-role/team-a/bob`))
})

t.test('a permission set does not match one with a longer name', async t => {
  const of = (permissionSet: string, account = A, partition = 'aws') =>
    compileRules([{ sso: { permissionSet, account, partition }, user: 'dba', password }])
  const said = (name: string, account = A) =>
    `arn:aws:sts::${account}:assumed-role/AWSReservedSSO_${name}/ann@example.com`
  const rules = of('Admin')
  t.same(rules.problems, [])
  t.equal(find(rules, said('Admin_0123456789abcdef')), '1: dba@admin')
  for (const name of [
    'Admin_ReadOnly_0123456789abcdef',
    'Admin_0123456789abcde',
    'Admin_0123456789abcdef0',
    'Admin_0123456789ABCDEF',
    'Admin_0123456789abcdeg',
    'Admin',
    'admin_0123456789abcdef',
  ]) {
    t.notOk(find(rules, said(name)), name)
  }
  t.notOk(find(rules, said('Admin_0123456789abcdef', B)), 'another account')
  t.ok(find(of('A.d+m'), said('A.d+m_0123456789abcdef')))
  t.notOk(find(of('A.d+m'), said('Axddm_0123456789abcdef')))
  t.ok(
    find(
      of('Admin', A, 'aws-us-gov'),
      `arn:aws-us-gov:sts::${A}:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/ann`,
    ),
  )
  t.match(of('Admin', '12345').problems, [/must have 12 digits/])
  t.match(of('Admin*').problems, [/must have 1 to 32 letters/])
  t.match(of('Admin', A, 'moon').problems, [/sso\.partition: a text of 4 characters does not exist/])
})

t.test('a wildcard that would match unrelated principals is a problem that explains why', async t => {
  for (const [arn, said] of [
    ['*', /outside a name/],
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
    [`arn:aws:iam::${A}:role/AWSReservedSSO_Admin_*`, /longer names; write sso/],
    [`arn:aws:iam::${A}:role/AWSReserved*Admin_*`, /longer names; write sso/],
    [`arn:aws:iam::${A}:role/*_Admin_*`, /longer names; write sso/],
    [`arn:aws:iam::${A}:role/AWSReservedSSO_*`, /permission sets/],
    [`arn:aws:sts::${A}:assumed-role/AWS*Admin*/*`, /permission sets/],
    [`arn:aws:iam::${A}:*`, /not a pattern/],
    [`arn:aws:iam::${A}:group/*`, /not a pattern/],
    [`arn:aws:*::${A}:role/R`, /not a pattern/],
    [`arn:aws-moon:iam::${A}:role/*`, /not a pattern/],
    [`arn:aws:iam::${A}:user/*:role/x`, /not a pattern/],
  ] as const) {
    t.match(problemsOf(arn), [said], arn)
    t.notMatch(problemsOf(arn).join(), /\n/)
  }
})

t.test('the first rule wins, whether it is exact or a pattern', async t => {
  const one = `arn:aws:iam::${A}:role/app-1`
  const many = `arn:aws:iam::${A}:role/app-*`
  const said = `arn:aws:sts::${A}:assumed-role/app-1/any`
  t.equal(find(compiled([one, 'one'], [many, 'many']), said), '1: one@admin')
  t.equal(find(compiled([many, 'many'], [one, 'one']), said), '1: many@admin')
  t.equal(find(compiled([`arn:aws:iam::${A}:role/*-1`, 'x'], [many, 'many']), said), '1: x@admin')
  t.equal(find(compiled([`arn:aws:iam::${B}:role/*`, 'x'], [many, 'many']), said), '2: many@admin')
  t.match(compiled([many, 'a'], [many, 'b']).problems, [/rule 2: .*same pattern as in rule 1, which always wins/])
})

t.test('a rule with scopes applies to the listeners of those scopes', async t => {
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
    t.equal(find(compiled, `arn:aws:iam::${A}:user/x`), wanted, scope ?? 'no scope')
    t.equal(compiled.rules.all.length + compiled.rules.outOfScope.length, 3)
  }
  t.match(compileRules([...entries, { ...entries[0], scopes: ['blue'] }]).problems, [
    /rule 4: .*in rule 1, which always wins/,
  ])
})

t.test('roles are written role@database, some with a collection', async t => {
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
    [
      'readWrite',
      /roles\[0\]: a text of 9 characters names no database; write role@database; did you mean readWrite\?/,
    ],
    ['@app', /has no valid name/],
    ['read@', /invalid database name/],
    ['read@a b', /invalid database name/],
    ['a@b@c', /invalid database name/],
    ['dbAdmin@app.orders', /only read and readWrite can/],
    ['read@app.', /invalid collection name/],
    ['read@app.system.users', /invalid collection name/],
    ['read@$external', /invalid database name/],
  ] as const) {
    t.match(of(role).problems, [said], role)
  }
})

t.test('the conditions of a rule are in its match', async t => {
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
    /rule 1: clientSource\[0\]: a text of 11 characters is not a network/,
    /rule 1: clientSource\[1\]: a text of 4 characters is not a network/,
  ])
})

t.test('a principalId has the form of its kind and names a single principal', async t => {
  const of = (arn: string, principalId: string) => compileRules([{ arn, roles: ['read@app'], principalId }]).problems
  t.same(of(`arn:aws:iam::${A}:role/R`, 'firstUse'), [])
  t.same(of(`arn:aws:iam::${A}:role/R*`, 'firstUse'), [])
  t.same(of(`arn:aws:iam::${A}:user/x`, 'AIDACKCEVSQ6C2EXAMPLE'), [])
  t.match(of(`arn:aws:iam::${A}:user/x`, 'AROACKCEVSQ6C2EXAMPLE'), [/must be firstUse or the AIDA… id of a user/])
  t.match(of(`arn:aws:iam::${A}:role/R`, 'AROACKCEVSQ6C2EXAMPLE:me'), [/must be firstUse or the AROA… id of a role/])
  t.match(of(`arn:aws:iam::${A}:role/R*`, 'AROACKCEVSQ6C2EXAMPLE'), [/names one principal and the rule names many/])
  t.match(of(`arn:aws:iam::${A}:root`, 'firstUse'), [/no unique id/])
  t.match(of(`arn:aws:sts::${A}:federated-user/carol`, 'firstUse'), [/no unique id/])
})

t.test('an invalid ARN is a problem that says what to write', async t => {
  for (const [arn, said] of [
    ['alice', /is not the ARN/],
    ['', /is not the ARN/],
    [`arn:aws:iam::${A}:user/a?`, /only wildcard is \*/],
    [A, /write the whole ARN/],
    ['arn:aws:iam::12345678901:user/x', /account of 12 digits/],
    ['arn:aws:iam:::user/x', /account of 12 digits/],
    [`arn:aws:iam::${A}:group/g`, /a group has no credentials/],
    [`arn:aws:iam::${A}:instance-profile/g`, /name its role/],
    [`arn:aws-moon:iam::${A}:user/x`, /is not the ARN/],
    [`arn:aws:iam::${A}:user/x\n`, /is not the ARN/],
  ] as const) {
    t.match(problemsOf(arn), [said], arn)
    t.notMatch(problemsOf(arn).join(), /\n/)
  }
})

t.test('two rules for one principal are a problem, however they spell it', async t => {
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

t.test('a user is written name@database, or as a name in admin', async t => {
  const arn = `arn:aws:iam::${A}:user/x`
  for (const user of ['', '@admin', 'name@', 'a\0b']) t.match(problemsOf(arn, user), [/write name@database/])
  t.match(problemsOf(arn, 'alice@example.com'), [/user: a text of 17 characters has an invalid database name/])
  t.match(problemsOf(arn, `alice@${'d'.repeat(64)}`), [/invalid database name/])
  t.match(problemsOf(arn, 'alice@$external'), [/no password/])
})

t.test('all problems are reported at once, and none contains a password', async t => {
  const { rules, problems } = compiled(['nobody', '@'], [`arn:aws:iam::${A}:user/x`, 'x'], ['*', 'y'])
  t.equal(problems.length, 3)
  t.match(problems, [/^users, rule 1: /, /^users, rule 1: /, /^users, rule 3: /])
  t.equal(rules.all.length, 1)
  t.notMatch(problems.join(), /hunter2/)
  t.notMatch(JSON.stringify(rules.match({ canonical: `arn:aws:iam::${A}:user/x` })), /hunter2/)
})

t.test('a problem names the number of its rule and the line', async t => {
  const entries = ['one', 'two'].map(arn => ({ arn, roles: ['read@app'] }))
  const { problems } = compileRules(entries, {}, [
    { rule: 4, from: 'proxy.yaml:9' },
    { rule: 7, from: 'proxy.yaml:12' },
  ])
  t.match(problems, [/^users, rule 4: .*\(from proxy\.yaml:9\)$/, /^users, rule 7: .*\(from proxy\.yaml:12\)$/])
})
