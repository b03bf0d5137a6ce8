import { readFileSync } from 'node:fs'
import t from 'tap'
import { type LoadedConfig, loadWithPolicy } from '../../src/app/policy.js'
import { createReloader, findRemovedEntries, mergeLiveSettings, type ReloadOptions } from '../../src/app/reload.js'
import { allSettings } from '../../src/config/settings.js'
import { Fault } from '../../src/errors.js'
import type { Log } from '../../src/log.js'
import { formatDenial } from '../../src/revocation/denials.js'

const ALICE = 'arn:aws:iam::123456789012:user/alice'
const BOB = 'arn:aws:iam::123456789012:user/bob'
const base = {
  listen: { host: '127.0.0.1' },
  upstream: { uri: 'mongodb://127.0.0.1/', admin: { uriFile: '/admin' } },
  users: [
    { arn: ALICE, user: 'alice', passwordEnv: 'ALICE' },
    { arn: BOB, user: 'bob', passwordFile: '/bob' },
  ],
  deny: { file: '/deny' },
  admin: { tokenFile: '/token', tokens: [{ name: 'ops', file: '/ops', may: 'write' }] },
}
const files: Record<string, string> = {
  '/admin': 'mongodb://a:b@127.0.0.1/',
  '/bob': 'of bob',
  '/deny': '- "123456789012"\n...\n',
  '/token': '0123456789abcdefghij',
  '/ops': 'ops-ops-ops-ops-ops-ops',
}

/** Loads the base configuration with these groups of settings and these files replaced. */
function load(settings: Record<string, unknown> = {}, changed: Record<string, string> = {}): LoadedConfig {
  const all: Record<string, string> = { ...files, ...changed, main: JSON.stringify({ ...base, ...settings }) }
  const readFile = (path: string) => ({ bytes: Buffer.from(all[path] ?? ''), mode: 0o600 })
  return loadWithPolicy({ file: 'main', args: {}, env: { ALICE: 'of alice' }, readFile })
}
const configOf = (...changes: Parameters<typeof load>) => load(...changes).config
const policyOf = (...changes: Parameters<typeof load>) => load(...changes).policy

t.test('an unchanged configuration has no changes', async t => {
  t.match(mergeLiveSettings(configOf(), configOf()), { applied: [], needRestart: [] })
})

t.test('live settings take their new value, the others are named and keep theirs', async t => {
  const next = configOf({
    listen: { host: '127.0.0.2', connections: 7 },
    sts: { quota: 5, hosts: ['sts.eu-west-1.amazonaws.com'] },
    log: { level: 'debug' },
  })
  const { config, applied, needRestart } = mergeLiveSettings(configOf(), next)
  t.same(applied, ['listen.connections', 'sts.quota', 'log.level'])
  t.same(needRestart, ['listen.host', 'sts.hosts'])
  t.match(config, {
    listen: { host: '127.0.0.1', connections: 7 },
    sts: { quota: 5, hosts: [{ host: 'sts.amazonaws.com' }] },
    log: { level: 'debug' },
  })
  t.same(mergeLiveSettings(config, next).needRestart, ['listen.host', 'sts.hosts'], 'until the restart')
  t.same(mergeLiveSettings(config, next).applied, [])
})

t.test('a changed file is a change of the setting that names it, also for secrets', async t => {
  for (const [path, text, setting, list] of [
    ['/bob', 'another', 'users', 'applied'],
    ['/deny', '[]\n...', 'deny.file', 'applied'],
    ['/token', '0123456789abcdefghiX', 'admin.tokenFile', 'applied'],
    ['/ops', 'ops-ops-ops-ops-ops-opX', 'admin.tokens', 'applied'],
    ['/admin', 'mongodb://a:c@127.0.0.1/', 'upstream.admin.uri', 'needRestart'],
  ] as const) {
    const merged = mergeLiveSettings(configOf(), configOf({}, { [path]: text }))
    t.same([...merged.applied, ...merged.needRestart], [setting])
    t.same(merged[list], [setting])
  }
})

t.test('turning TLS on or off needs a restart', async t => {
  const plain = configOf()
  const secure = { ...plain, tls: { cert: 'c', key: plain.upstream.uri, clientCA: undefined } }
  t.match(mergeLiveSettings(plain, secure), { applied: [], needRestart: ['tls'], config: { tls: undefined } })
  t.match(mergeLiveSettings(secure, plain), { applied: [], needRestart: ['tls'], config: { tls: { cert: 'c' } } })
  t.match(mergeLiveSettings(secure, { ...secure, tls: { ...secure.tls, cert: 'd' } }), {
    applied: ['tls.certFile'],
    needRestart: [],
  })
})

t.test('every setting that differs is named', async t => {
  const running = configOf()
  for (const { keys, path } of allSettings.filter(({ keys }) => keys.length === 2 && keys[0] !== 'tls')) {
    const [group = '', key = ''] = keys
    const next = {
      ...running,
      [group]: { ...(running as unknown as Record<string, object>)[group], [key]: 'something else' },
    }
    const { applied, needRestart } = mergeLiveSettings(running, next)
    t.match([...applied, ...needRestart], [/./], path)
  }
})

t.test('removed rules and denials are named; another spelling is the same denial', async t => {
  const before = policyOf()
  const fewer = policyOf(
    { users: [{ ...base.users[0], user: 'someone' }] },
    { '/deny': '- account: "999999999999"\n...' },
  )
  t.same(findRemovedEntries(before, fewer), [{ pattern: BOB }, { denial: 'account 123456789012' }])
  t.same(findRemovedEntries(before, policyOf({}, { '/deny': '- account: "123456789012"\n...' })), [])
})

const silentReloadAudit = { recordApplied() {}, recordRejected() {}, recordDenials() {} }

/** A reloader whose proxy only records what is applied. */
function recordingReloader(apply: ReloadOptions['apply'] = () => {}) {
  const lines: unknown[][] = []
  const log: Log = (...line) => void lines.push(line)
  const outcomes: string[] = []
  const applied: string[][] = []
  const denied: string[][] = []
  const weakened: number[] = []
  const reloader = createReloader(load(), {
    apply(next) {
      apply(next)
      applied.push(next.policy.rules.all.map(({ arn }) => arn))
      denied.push(next.policy.denials.map(formatDenial))
    },
    log,
    audit: silentReloadAudit,
    onOutcome: outcome => outcomes.push(outcome),
    onWeakened: count => void weakened.push(count),
  })
  /** Loads and reloads as the file watcher does: a failed load is reloaded as its fault. */
  const reload = (...changes: Parameters<typeof load>): boolean => reloader(attempt(...changes))
  return { reload, reloadFault: (fault: Fault) => reloader(fault), lines, outcomes, applied, denied, weakened }
}

function attempt(...changes: Parameters<typeof load>): LoadedConfig | Fault {
  try {
    return load(...changes)
  } catch (thrown) {
    return Fault.from(thrown)
  }
}

t.test('a valid configuration is applied as a whole and logged', async t => {
  const { reload, lines, outcomes, applied } = recordingReloader()
  reload({ users: [base.users[0]], listen: { host: '127.0.0.3' } }, { '/deny': '[]\n...' })
  t.same(applied, [[ALICE]])
  t.same(outcomes, ['applied'])
  t.match(lines, [
    ['warn', 'rule removed', { pattern: BOB }],
    ['warn', 'denial removed', { denial: 'account 123456789012' }],
    ['warn', 'restart required', { settings: ['listen.host'] }],
    ['info', 'configuration reloaded', { applied: ['users', 'deny.file'] }],
  ])
  reload()
  t.same(applied[1], [ALICE, BOB], 'and back')
})

t.test('an invalid configuration keeps the last valid one, and each problem is logged', async t => {
  const { reload, reloadFault, lines, outcomes, applied } = recordingReloader()
  reload({ users: [base.users[0], { arn: 'alice', user: 'x@$external', passwordEnv: 'ALICE' }] }, { '/deny': '- x' })
  reloadFault(new Fault('config/invalid', 'a\nb', { problems: ['a', 'b'] }))
  reloadFault(new Fault('internal', undefined, {}, new Error('x')))
  t.same(applied, [])
  t.same(outcomes, ['rejected', 'rejected', 'rejected'])
  const problems = lines.map(([level, , facts]) => [level, (facts as { problem: string }).problem])
  t.match(problems, [
    ['error', /users, rule 2: .*ARN/],
    ['error', /users, rule 2: .*\$external/],
    ['error', /deny\.file: must end in/],
    ['error', 'a'],
    ['error', 'b'],
    ['error', /internal|bug/],
  ])
  reload()
  t.same([outcomes.at(-1), lines.length], ['applied', problems.length + 1], 'nothing of the invalid one is left')
})

t.test('each protection that a reload removes or widens is logged by name and counted', async t => {
  const { reload, lines, weakened } = recordingReloader()
  const strict = { users: [{ ...base.users[0], clientSource: ['10.0.0.0/8'] }, base.users[1]], pins: { file: '/pins' } }
  t.equal(reload(strict), true)
  lines.length = 0
  reload({ deny: {}, admin: {} })
  t.match(lines, [
    ['warn', 'denial removed', { denial: 'account 123456789012' }],
    ['warn', 'protection weakened', { setting: 'admin.tokenFile', weakening: 'was removed' }],
    ['warn', 'protection weakened', { setting: 'admin.tokens', weakening: 'was removed' }],
    ['warn', 'protection weakened', { setting: 'deny.file', weakening: 'was removed' }],
    ['warn', 'protection weakened', { setting: 'pins.file', weakening: 'was removed' }],
    ['warn', 'protection weakened', { setting: 'users', pattern: ALICE, weakening: 'clientSource was removed' }],
    ['info', 'configuration reloaded'],
  ])
  t.same(weakened, [0, 6])
  reload({ deny: {}, admin: {}, log: { level: 'warn' } })
  t.same(weakened, [0, 6, 0], 'once, although pins.file still waits for a restart')
  t.equal(reload({ users: [{ arn: 'alice' }], deny: {} }), false)
  t.same(weakened, [0, 6, 0], 'a rejected configuration weakens nothing')
})

t.test('a rule that needs a setting which waits for a restart is rejected', async t => {
  const { reload, lines, outcomes, applied } = recordingReloader()
  reload({ users: [{ ...base.users[0], principalId: 'firstUse' }], pins: { file: '/pins' } })
  t.same([outcomes, applied], [['rejected'], []])
  t.match(lines, [['error', 'configuration rejected', { problem: /^pins\.file: required for principalId firstUse/ }]])
})

t.test('a configuration that cannot be applied changes nothing', async t => {
  const { reload, lines, outcomes } = recordingReloader(() => {
    throw new Error('no such key')
  })
  reload({ users: [] })
  t.same(outcomes, ['rejected'])
  t.equal(lines.filter(([, event]) => String(event).endsWith(' removed')).length, 0)
})

t.test('the new denials of an invalid configuration take effect, and its deny file removes none', async t => {
  const { reload, reloadFault, lines, outcomes, applied, denied } = recordingReloader()
  const invalidWith = (text: string, file = '/deny') =>
    new Fault('config/invalid', 'a', { problems: ['a'], deny: { file, text } })
  const ended = '- {account: "123456789012", until: "2000-01-01T00:00:00Z"}\n'
  reloadFault(invalidWith(`- account: "999999999999"\n${ended}...`))
  t.same(applied, [[ALICE, BOB]])
  t.same(new Set(denied[0]), new Set(['account 123456789012', 'account 999999999999']))
  t.match(lines, [
    ['error', 'configuration rejected', { problem: 'a' }],
    ['warn', 'deny file reloaded', { denials: ['account 999999999999', 'account 123456789012'] }],
  ])
  const invalidUser = { users: [{ arn: 'alice', user: 'x', passwordEnv: 'ALICE' }] }
  for (const fault of [
    invalidWith(`- account: "999999999999"\n${ended}...`),
    invalidWith('[]\n...'),
    invalidWith('- account: "111111111111"'),
    invalidWith('- account: "111111111111"\n...', '/another'),
  ]) {
    reloadFault(fault)
  }
  reload(invalidUser, { '/deny': '[]\n...' })
  t.equal(applied.length, 1)
  reload(invalidUser, { '/deny': `- account: "1${'0'.repeat(11)}"\n...` })
  t.match(denied[1], [/1/, /9/, /1/, 'account 100000000000'])
  t.same(new Set(outcomes), new Set(['rejected']))
  reload({}, { '/deny': '[]\n...' })
  t.same(denied.at(-1), [], 'a valid configuration removes denials')
  t.equal(lines.filter(([, event]) => String(event).endsWith(' removed')).length, 4)
})

t.test('a renewed certificate of the upstream needs a restart, which the log names', async t => {
  const pem = (name: string) => readFileSync(new URL(`../support/tls/${name}.pem`, import.meta.url), 'utf8')
  const upstream = { uri: 'mongodb://127.0.0.1/?tls=true&tlsCAFile=/ca' }
  const loaded = (name: string) => load({ upstream, directory: { enabled: false } }, { '/ca': pem(name) })
  const lines: unknown[] = []
  const applied: LoadedConfig[] = []
  const reload = createReloader(loaded('ca'), {
    apply: next => void applied.push(next),
    log: (_level, event, fields) => void lines.push([event, fields]),
    audit: silentReloadAudit,
    onOutcome: () => {},
    onWeakened: () => {},
  })
  reload(loaded('ca'))
  t.same(lines.splice(0), [['configuration reloaded', { applied: [] }]])
  reload(loaded('clientCA'))
  t.same(lines[0], ['restart required', { settings: ['upstream.uri'] }])
  t.same(
    applied.map(({ policy }) => policy.upstreamCertificates[0]?.fingerprint),
    Array(2).fill(loaded('ca').policy.upstreamCertificates[0]?.fingerprint),
    'the certificate in use is the one from the start',
  )
})
