import { execFileSync } from 'node:child_process'
import t from 'tap'
import { parse } from 'yaml'
import { type FaultKind, faults } from '../../src/errors.js'
import { adviseOn } from '../../src/page/advice.js'
import { compileRules } from '../../src/users/rules.js'

const ROLE = 'arn:aws:sts::123456789012:assumed-role/orders-api/pod-7'

const advise = (fault: FaultKind, changes: Partial<Parameters<typeof adviseOn>[0]> = {}) =>
  adviseOn({
    fault,
    reason: faults[fault].summary,
    remedy: faults[fault].remedy,
    address: '10.20.0.1',
    arn: ROLE,
    denial: null,
    ...changes,
  })

/** What a shell makes of the arguments of a command. */
const argumentsOf = (command: string): string[] =>
  execFileSync('/bin/sh', ['-c', `for a in ${command}; do printf '%s\\0' "$a"; done`], { encoding: 'utf8' })
    .split('\0')
    .slice(0, -1)

t.test('every fault has advice in words, and its text to copy has no unprintable character', async t => {
  for (const fault of Object.keys(faults) as FaultKind[]) {
    const { text, copy = '' } = advise(fault)
    t.match(text, /\S/, fault)
    t.notMatch(copy.replaceAll('\n', ''), /[\p{C}\p{Z}](?<! )/u, fault)
  }
})

t.test('a principal without a rule gets one, in which only the roles are missing', async t => {
  const { text, copy = '' } = advise('users/no-rule')
  t.match(text, /fill in its roles/)
  t.same(parse(copy), [{ arn: 'arn:aws:iam::123456789012:role/orders-api', roles: [] }])
})

t.test('a role of a permission set gets a rule for the set', async t => {
  const name = 'AWSReservedSSO_Data_Admins_0123456789abcdef'
  for (const [partition, rest] of [
    ['aws', {}],
    ['aws-cn', { partition: 'aws-cn' }],
  ] as const) {
    const { copy = '' } = advise('users/no-rule', {
      arn: `arn:${partition}:sts::123456789012:assumed-role/${name}/ada`,
    })
    t.same(parse(copy), [{ sso: { permissionSet: 'Data_Admins', account: '123456789012', ...rest }, roles: [] }])
  }
})

t.test('a hostile ARN stays one value in YAML and one word in a shell', async t => {
  for (const path of [
    `/'"$(id)\`id\`;#{}[]&!|>%@\\/`,
    '/- a/: b/',
    '/"/',
    "/'/",
    '/-d/@x/',
    '/roles:[root@admin]/',
    '/\\u0022/',
  ]) {
    const arn = `arn:aws:iam::123456789012:user${path.replaceAll(' ', '_')}eve`
    const { copy = '' } = advise('users/no-rule', { arn })
    t.same(parse(copy), [{ arn, roles: [] }], arn)
    const [rule] = parse(copy)
    const { rules, problems } = compileRules([{ ...rule, roles: ['read@app'] }])
    t.same(problems, [])
    t.ok(rules.match({ canonical: arn }))
    const undeny = advise('login/denied', { denial: arn })
    t.same(argumentsOf(undeny.copy ?? ''), ['mongo-iam-proxy', 'undeny', arn, '--token-file', 'admin-token'])
    const command = argumentsOf((advise('users/recreated', { arn }).copy ?? '').replace(/\$\(cat admin-token\)/, 'x'))
    t.same(JSON.parse(command[command.indexOf('-d') + 1] ?? ''), { arn })
  }
})

t.test('an ARN that a rule would read as a pattern is not offered', async t => {
  for (const arn of ['arn:aws:iam::123456789012:user/*/eve', 'not an ARN', '', null]) {
    for (const fault of ['users/no-rule', 'users/recreated', 'login/denied'] as const) {
      t.same(advise(fault, { arn, denial: arn }), { text: faults[fault].remedy }, `${fault} ${arn}`)
    }
  }
})

t.test('a denial of another kind has no command', async t => {
  t.same(advise('login/denied', { denial: 'accessKey AKIAEXAMPLE123456789' }), { text: faults['login/denied'].remedy })
})

t.test('the network of a client can be copied', async t => {
  t.equal(advise('users/source-not-allowed').copy, '10.20.0.1/32')
  t.equal(advise('users/source-not-allowed', { address: '::ffff:10.20.0.1' }).copy, '10.20.0.1/32')
  t.equal(advise('users/source-not-allowed', { address: '2001:db8::1' }).copy, '2001:db8::1/128')
  t.same(advise('users/source-not-allowed', { address: 'x' }), { text: faults['users/source-not-allowed'].remedy })
})

t.test('the codes of AWS are explained', async t => {
  for (const [code, text] of [
    ['ExpiredToken', /session of the client has expired/],
    ['SignatureDoesNotMatch', /secret key of the client is wrong/],
    ['InvalidClientTokenId', /access key is inactive/],
    ['AccessDenied', /See `remedy`/],
  ] as const) {
    t.match(advise('sts/refused', { reason: `AWS STS refused the credentials: ${code}: a message` }).text, text)
  }
})

t.test('a fault that this version does not know keeps its remedy', async t => {
  t.same(adviseOn({ fault: 'constructor', reason: '', remedy: 'Look.', address: '', arn: null, denial: null }), {
    text: 'Look.',
  })
})
