import t from 'tap'
import { loadWithPolicy } from '../../src/app/policy.js'
import { faultOf } from '../support/faults.js'

const A = '123456789012'
const rule = (arn: string, more: object = {}) => ({ arn, user: 'app', passwordEnv: 'PASSWORD', ...more })
const alice = rule(`arn:aws:iam::${A}:user/alice`)

/** Loads a configuration in memory; `deny` is the text of its deny file. */
function load(settings: object, deny = '') {
  const file = JSON.stringify({ upstream: { uri: 'mongodb://127.0.0.1/' }, ...settings })
  const texts: Record<string, string> = { '/proxy.yaml': file, '/deny.yaml': `${deny}\n...\n`, '/x': 'x'.repeat(40) }
  return loadWithPolicy({
    file: '/proxy.yaml',
    args: {},
    env: { PASSWORD: 'hunter2' },
    readFile: path => ({ bytes: Buffer.from(texts[path] ?? ''), mode: 0o600 }),
  })
}
const warningsOf = (settings: object, deny?: string) => load(settings, deny).config.warnings
const problemsOf = (settings: object) => faultOf(() => load(settings))?.data('config/invalid')?.problems ?? []

t.test('a rule for a partition that no STS host serves is refused by its number', async t => {
  const china = rule(`arn:aws-cn:iam::${A}:role/orders-*`)
  t.match(problemsOf({ users: [alice, china] }), [
    /^users, rule 2: is for the partition aws-cn, and the hosts of sts\.hosts name principals of aws only/,
  ])
  const sso = {
    sso: { permissionSet: 'Admin', account: A, partition: 'aws-us-gov' },
    user: 'a',
    passwordEnv: 'PASSWORD',
  }
  t.match(problemsOf({ users: [sso] }), [/^users, rule 1: is for the partition aws-us-gov/])
  const sts = { hosts: ['sts.cn-north-1.amazonaws.com.cn'] }
  t.match(problemsOf({ sts, users: [alice, china] }), [/^users, rule 1: is for the partition aws, .* of aws-cn only/])
  t.same(problemsOf({ sts, users: [china] }), [])
  t.same(problemsOf({ users: [alice, { ...china, scopes: ['china'] }] }), [], 'a rule for another listener is not')
  const local = { hosts: ['sts.example.com'] }
  t.match(problemsOf({ sts: local, users: [china] }), [/name principals of aws only/], 'a stand-in is of aws')
})

t.test('a denial of such a partition is a warning that names it', async t => {
  const deny = [
    `- arn:aws-cn:iam::${A}:role/orders`,
    `- session: arn:aws-us-gov:sts::${A}:assumed-role/R/pod`,
    `- arn:aws:iam::${A}:role/orders`,
    `- account: "${A}"`,
  ].join('\n')
  t.match(warningsOf({ users: [alice], deny: { file: '/deny.yaml' } }, deny), [
    /^deny\.file: the denial of .*arn:aws-cn:iam::123456789012:role\/orders has no effect/,
    /^deny\.file: the denial of .*arn:aws-us-gov:sts::123456789012:assumed-role\/R\/pod has no effect/,
  ])
  const many = Array.from({ length: 1_000 }, (_, i) => `- arn:aws-cn:iam::${A}:role/r${i}`).join('\n')
  const warnings = warningsOf({ users: [alice], deny: { file: '/deny.yaml' } }, many)
  t.equal(warnings.length, 21)
  t.match(warnings.at(-1), /each of 980 more denials/)
})

t.test('without rules nobody can log in, unless the directory decides', async t => {
  t.match(warningsOf({}), ['users: there are no rules, so no client can log in'])
  t.match(warningsOf({ users: [] }), ['users: there are no rules, so no client can log in'])
  t.match(warningsOf({ listen: { scope: 'a' }, users: [{ ...alice, scopes: ['b'] }] }), [
    'users: no rule is for the scope a, so no client can log in',
  ])
  const upstream = { uri: 'mongodb://127.0.0.1/', admin: { uri: 'mongodb://127.0.0.1/' } }
  t.same(warningsOf({ upstream, directory: { enabled: true }, provision: { secretFile: '/x' } }), [])
})

t.test('settings without a rule that uses them are warnings', async t => {
  t.match(warningsOf({ users: [alice], pins: { file: '/pins.json' } }), [/^pins\.file: has no effect/])
  t.match(warningsOf({ users: [alice], provision: { secretFile: '/x' } }), [/^provision: has no effect/])
  t.match(warningsOf({ users: [alice], listen: { reauthenticate: 'close' } }), [
    /^listen\.reauthenticate: has no effect/,
  ])
  const used = { ...alice, principalId: 'firstUse', maxAge: '1h' }
  t.same(warningsOf({ users: [used], pins: { file: '/pins.json' }, listen: { reauthenticate: 'close' } }), [])
})
