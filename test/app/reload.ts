import t from 'tap'
import { compilePolicy, requirePolicy } from '../../src/app/policy.js'
import { createReloader, mergeLiveSettings, removedProtections } from '../../src/app/reload.js'
import { loadConfig } from '../../src/config/load.js'
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
  admin: { tokenFile: '/token' },
}
const files: Record<string, string> = {
  '/admin': 'mongodb://a:b@127.0.0.1/',
  '/bob': 'of bob',
  '/deny': '- "123456789012"\n...\n',
  '/token': '0123456789abcdefghij',
}

function config(settings: Record<string, unknown> = {}, changed: Record<string, string> = {}) {
  const all: Record<string, string> = { ...files, ...changed, main: JSON.stringify({ ...base, ...settings }) }
  const readFile = (path: string) => ({ bytes: Buffer.from(all[path] ?? ''), mode: 0o600 })
  return loadConfig({ file: 'main', args: {}, env: { ALICE: 'of alice' }, readFile })
}

t.test('nothing changed', async t => {
  t.match(mergeLiveSettings(config(), config()), { applied: [], waiting: [] })
})

t.test('live settings are taken up, the others are named and stay as they were', async t => {
  const next = config({
    listen: { host: '127.0.0.2', connections: 7 },
    sts: { quota: 5, hosts: ['sts.eu-west-1.amazonaws.com'] },
    log: { level: 'debug' },
  })
  const { running, applied, waiting } = mergeLiveSettings(config(), next)
  t.same(applied, ['listen.connections', 'sts.quota', 'log.level'])
  t.same(waiting, ['listen.host', 'sts.hosts'])
  t.match(running, {
    listen: { host: '127.0.0.1', connections: 7 },
    sts: { quota: 5, hosts: [{ host: 'sts.amazonaws.com' }] },
    log: { level: 'debug' },
  })
  t.same(mergeLiveSettings(running, next).waiting, ['listen.host', 'sts.hosts'], 'as long as it is so')
  t.same(mergeLiveSettings(running, next).applied, [])
})

t.test('what a file holds counts as the setting that names it, secrets too', async t => {
  for (const [path, text, setting, list] of [
    ['/bob', 'another', 'users', 'applied'],
    ['/deny', '[]\n...', 'deny.file', 'applied'],
    ['/token', '0123456789abcdefghiX', 'admin.tokenFile', 'applied'],
    ['/admin', 'mongodb://a:c@127.0.0.1/', 'upstream.admin.uri', 'waiting'],
  ] as const) {
    const found = mergeLiveSettings(config(), config({}, { [path]: text }))
    t.same([...found.applied, ...found.waiting], [setting])
    t.same(found[list], [setting])
  }
})

t.test('TLS that comes or goes waits for a restart', async t => {
  const plain = config()
  const secure = { ...plain, tls: { cert: 'c', key: plain.upstream.uri, clientCA: undefined } }
  t.match(mergeLiveSettings(plain, secure), { applied: [], waiting: ['tls'], running: { tls: undefined } })
  t.match(mergeLiveSettings(secure, plain), { applied: [], waiting: ['tls'], running: { tls: { cert: 'c' } } })
  t.match(mergeLiveSettings(secure, { ...secure, tls: { ...secure.tls, cert: 'd' } }), {
    applied: ['tls.certFile'],
    waiting: [],
  })
})

t.test('every setting that differs is named, whichever it is', async t => {
  const running = config()
  for (const { keys, path } of allSettings.filter(({ keys }) => keys.length === 2 && keys[0] !== 'tls')) {
    const [group = '', key = ''] = keys
    const next = {
      ...running,
      [group]: { ...(running as unknown as Record<string, object>)[group], [key]: 'something else' },
    }
    const { applied, waiting } = mergeLiveSettings(running, next)
    t.match([...applied, ...waiting], [/./], path)
  }
})

t.test('rules and denials that are gone are named; another spelling is the same', async t => {
  const before = compilePolicy(config())
  const fewer = config(
    { users: [{ ...base.users[0], user: 'someone' }] },
    { '/deny': '- account: "999999999999"\n...' },
  )
  t.same(removedProtections(before, compilePolicy(fewer)), [{ rule: BOB }, { denial: 'account 123456789012' }])
  t.same(removedProtections(before, compilePolicy(config({}, { '/deny': '- account: "123456789012"\n...' }))), [])
})

/** A proxy that only notes what it is told to take up. */
function running() {
  const lines: unknown[][] = []
  const log: Log = (...line) => void lines.push(line)
  const outcomes: string[] = []
  const adopted: string[][] = []
  const denied: string[][] = []
  const config_ = config()
  const reload = createReloader(
    { config: config_, compiled: requirePolicy(config_) },
    {
      compile: requirePolicy,
      adopt(_, compiled) {
        adopted.push(compiled.rules.all.map(({ arn }) => arn))
        denied.push(compiled.denied.map(formatDenial))
      },
      log,
      counted: outcome => outcomes.push(outcome),
    },
  )
  return { reload, lines, outcomes, adopted, denied }
}

t.test('a good configuration is taken up as a whole, and told', async t => {
  const { reload, lines, outcomes, adopted } = running()
  reload(config({ users: [base.users[0]], listen: { host: '127.0.0.3' } }, { '/deny': '[]\n...' }))
  t.same(adopted, [[ALICE]])
  t.same(outcomes, ['applied'])
  t.match(lines, [
    ['warn', 'rule removed', { rule: BOB }],
    ['warn', 'denial removed', { denial: 'account 123456789012' }],
    ['warn', 'restart required', { settings: ['listen.host'] }],
    ['info', 'configuration reloaded', { applied: ['users', 'deny.file'] }],
  ])
  reload(config())
  t.same(adopted[1], [ALICE, BOB], 'and back')
})

t.test('a bad one keeps the last good one, and each problem is told', async t => {
  const { reload, lines, outcomes, adopted } = running()
  const twice = config(
    { users: [base.users[0], { arn: 'alice', user: 'x@$external', passwordEnv: 'ALICE' }] },
    { '/deny': '- x' },
  )
  reload(twice)
  reload(new Fault('config/invalid', 'a\nb', { problems: ['a', 'b'] }))
  reload(new Fault('internal', undefined, {}, new Error('x')))
  t.same(adopted, [])
  t.same(outcomes, ['rejected', 'rejected', 'rejected'])
  const told = lines.map(([level, , facts]) => [level, (facts as { problem: string }).problem])
  t.match(told, [
    ['error', /users, rule 2: .*ARN/],
    ['error', /users, rule 2: .*\$external/],
    ['error', /deny\.file: does not end in/],
    ['error', 'a'],
    ['error', 'b'],
    ['error', /internal|bug/],
  ])
  reload(config())
  t.same([outcomes.at(-1), lines.length], ['applied', told.length + 1], 'nothing of the bad one is left')
})

t.test('what cannot be taken up changes nothing', async t => {
  const { lines, outcomes } = running()
  const config_ = config()
  const reload = createReloader(
    { config: config_, compiled: requirePolicy(config_) },
    {
      compile: requirePolicy,
      adopt: () => {
        throw new Error('no such key')
      },
      log: (...line) => void lines.push(line),
      counted: outcome => outcomes.push(outcome),
    },
  )
  reload(config({ users: [] }))
  t.same(outcomes, ['rejected'])
  t.equal(lines.filter(([, event]) => String(event).endsWith(' removed')).length, 0)
})

t.test('of a bad one whom its deny file denies is denied, and nobody is let in by it', async t => {
  const { reload, lines, outcomes, adopted, denied } = running()
  const badWith = (text: string, file = '/deny') =>
    new Fault('config/invalid', 'a', { problems: ['a'], deny: { file, adminFile: undefined, text } })
  const ended = '- {account: "123456789012", until: "2000-01-01T00:00:00Z"}\n'
  reload(badWith(`- account: "999999999999"\n${ended}...`))
  t.same(adopted, [[ALICE, BOB]])
  t.same(new Set(denied[0]), new Set(['account 123456789012', 'account 999999999999']))
  t.match(lines, [
    ['error', 'configuration rejected', { problem: 'a' }],
    [
      'warn',
      'deny file reloaded',
      { applied: ['deny.file'], denied: ['account 999999999999', 'account 123456789012'] },
    ],
  ])
  for (const next of [
    badWith(`- account: "999999999999"\n${ended}...`),
    badWith('[]\n...'),
    badWith('- account: "111111111111"'),
    badWith('- account: "111111111111"\n...', '/another'),
    config({ users: [{ arn: 'alice', user: 'x', passwordEnv: 'ALICE' }] }, { '/deny': '[]\n...' }),
  ]) {
    reload(next)
  }
  t.equal(adopted.length, 1)
  reload(
    config(
      { users: [{ arn: 'alice', user: 'x', passwordEnv: 'ALICE' }] },
      { '/deny': `- account: "1${'0'.repeat(11)}"\n...` },
    ),
  )
  t.match(denied[1], [/1/, /9/, /1/, 'account 100000000000'])
  t.same(new Set(outcomes), new Set(['rejected']))
  reload(config({}, { '/deny': '[]\n...' }))
  t.same(denied.at(-1), [], 'a good one says who is denied no more')
  t.equal(lines.filter(([, event]) => String(event).endsWith(' removed')).length, 4)
})
