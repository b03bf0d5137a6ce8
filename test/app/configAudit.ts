import { readFileSync } from 'node:fs'
import t from 'tap'
import { ChangeAuditor } from '../../src/app/changeAudit.js'
import { type LoadedConfig, loadWithPolicy } from '../../src/app/policy.js'
import { createReloader } from '../../src/app/reload.js'
import { Fault } from '../../src/errors.js'
import { silentLog } from '../../src/log.js'
import { type AuditLine, createEventRecorder } from '../support/audit.js'

const ALICE = 'arn:aws:iam::123456789012:user/alice'
const APP = 'arn:aws:iam::123456789012:role/app'
const ADMIN = 'arn:aws:iam::123456789012:role/admin'
const pem = (name: string) => readFileSync(new URL(`../support/tls/${name}.pem`, import.meta.url), 'utf8')
const certificate = (name: string) =>
  /-----BEGIN CERT[^-]+-----[^-]+-----END CERT[^-]+-----\n/.exec(pem(name))?.[0] ?? ''
const base = {
  listen: { scope: 'blue', connections: 100 },
  upstream: { uri: 'mongodb://127.0.0.1/', admin: { uri: 'mongodb://root:hunter2@127.0.0.1/' } },
  provision: { secretFile: '/master' },
  deny: { file: '/deny.yaml' },
  users: [
    { arn: ALICE, user: 'alice', passwordFile: '/alice', clientSource: ['10.0.0.0/8'], maxAge: '1h' },
    { arn: APP, roles: ['read@app'], scopes: ['blue'] },
  ],
}
const files: Record<string, string> = {
  '/master': 'hunter2'.repeat(9),
  '/alice': 'hunter2',
  '/deny.yaml': '- { account: "999999999999", why: ticket 1 }\n...\n',
}

function load(settings: object = {}, changed: Record<string, string> = {}): LoadedConfig {
  const all: Record<string, string> = { ...files, ...changed, '/proxy.yaml': JSON.stringify({ ...base, ...settings }) }
  const readFile = (path: string) => ({ bytes: Buffer.from(all[path] ?? ''), mode: 0o600, modified: new Date(1) })
  return loadWithPolicy({
    file: '/proxy.yaml',
    args: { 'log.level': 'warn', 'login.failures': '3' },
    env: {},
    readFile,
  })
}

/** A proxy that reloads, and the events of each reload. */
function start(initial = load()) {
  const { record, events } = createEventRecorder()
  const auditor = new ChangeAuditor({ record, whenWritten: async () => true })
  auditor.recordLoaded(initial)
  const reloader = createReloader(initial, {
    apply() {},
    log: silentLog,
    audit: auditor,
    onOutcome() {},
    onWeakened() {},
  })
  let seen = events().length
  return {
    events,
    reload(...changes: Parameters<typeof load>): AuditLine[] {
      try {
        reloader(load(...changes))
      } catch (thrown) {
        reloader(Fault.from(thrown))
      }
      const all = events()
      const added = all.slice(seen)
      seen = all.length
      return added
    },
  }
}

const FILE = { actor: { kind: 'file', id: '/proxy.yaml' }, file: '/proxy.yaml', fileTime: '1970-01-01T00:00:00.001Z' }
const withoutFile = (events: AuditLine[]) =>
  events.filter(({ type, subject }) => type === 'config' && subject !== 'file')

t.test('at start, the file, each given protection, each rule and each denial are recorded', async t => {
  const events = start()
    .events()
    .filter(({ type }) => type === 'config')
  const { hash } = load().source
  t.match(events[0], {
    ...FILE,
    change: 'loaded',
    subject: 'file',
    fileHash: hash,
    configHash: hash,
    outcome: 'success',
  })
  const settings = events.filter(({ subject }) => subject === 'setting')
  t.match(
    settings.map(({ setting, current, file }) => [setting, current, file]),
    [
      ['listen.connections', '100', '/proxy.yaml'],
      ['upstream.uri', 'not shown', '/proxy.yaml'],
      ['upstream.admin.uri', 'not shown', '/proxy.yaml'],
      ['login.failures', '3', undefined],
      ['deny.file', '/deny.yaml', '/proxy.yaml'],
    ],
  )
  t.match(
    events.filter(({ subject }) => subject === 'rule'),
    [
      {
        ...FILE,
        change: 'loaded',
        arn: ALICE,
        rule: { number: 1, text: `${ALICE} → alice@admin` },
        roles: null,
        current: 'user alice@admin; clientSource 10.0.0.0/8; maxAge 1h',
      },
      { change: 'loaded', arn: APP, rule: { number: 2 }, roles: ['read@app'], current: 'for 1 scopes' },
    ],
  )
  t.match(
    events.filter(({ subject }) => subject === 'denial'),
    [
      {
        actor: { kind: 'file', id: '/deny.yaml' },
        change: 'loaded',
        denial: 'account 999999999999',
        until: null,
        reason: 'ticket 1',
        file: '/deny.yaml',
        fileHash: /^[0-9a-f]{64}$/,
      },
    ],
  )
  t.notMatch(JSON.stringify(events), /hunter2/)
})

t.test('a reload without a change records nothing', async t => {
  t.same(start().reload(), [])
})

t.test('a reload that grants root to a new role is visible', async t => {
  const [file, rule, ...others] = start().reload({ users: [...base.users, { arn: ADMIN, roles: ['root@admin'] }] })
  t.match(file, { change: 'changed', subject: 'file', fileHash: /./ })
  t.match(rule, { ...FILE, change: 'added', subject: 'rule', arn: ADMIN, roles: ['root@admin'], rule: { number: 3 } })
  t.same([rule?.rolesBefore, others], [undefined, []])
})

t.test('a changed rule has its roles and conditions before and after, and what protects less', async t => {
  const [alice, app] = base.users
  const { reload } = start()
  t.match(
    withoutFile(
      reload({
        users: [
          { ...alice, clientSource: ['0.0.0.0/0'] },
          { ...app, roles: ['root@admin'] },
        ],
      }),
    ),
    [
      {
        change: 'changed',
        arn: ALICE,
        roles: null,
        rolesBefore: null,
        previous: 'user alice@admin; clientSource 10.0.0.0/8; maxAge 1h',
        current: 'user alice@admin; clientSource 0.0.0.0/0; maxAge 1h',
        protection: true,
        weakening: 'clientSource also has 0.0.0.0/0',
      },
      { change: 'changed', arn: APP, rolesBefore: ['read@app'], roles: ['root@admin'] },
    ],
  )
  t.match(withoutFile(reload({ users: [{ ...alice, clientSource: ['0.0.0.0/0'] }] })), [
    { change: 'removed', arn: APP, rolesBefore: ['root@admin'], roles: undefined, previous: 'for 1 scopes' },
  ])
})

t.test('another scope is a change, and a rule for other scopes says so', async t => {
  const [alice, app] = base.users
  t.match(withoutFile(start().reload({ users: [alice, { ...app, scopes: ['hunter2'] }] })), [
    { change: 'changed', arn: APP, roles: ['read@app'], reason: 'is for other scopes' },
  ])
})

t.test('another order of rules is a change, and other numbers alone are not', async t => {
  const [alice, app] = base.users
  const { reload } = start()
  t.match(withoutFile(reload({ users: [app, alice] })), [
    {
      subject: 'setting',
      setting: 'users',
      change: 'changed',
      reason: '2 rules have another place in the order',
      previous: `1: ${ALICE}; 2: ${APP}`,
      current: `1: ${APP}; 2: ${ALICE}`,
    },
  ])
  t.match(withoutFile(reload({ users: [{ arn: ADMIN, roles: ['root@admin'] }, app, alice] })), [
    { change: 'added', arn: ADMIN },
  ])
})

t.test('a rule that hides a stricter one is recorded with the stricter one', async t => {
  const open = { arn: 'arn:aws:iam::123456789012:user/*', user: 'any', passwordFile: '/alice' }
  const events = withoutFile(start().reload({ users: [open, ...base.users] }))
  t.match(
    events.find(({ arn }) => arn === ALICE),
    { change: 'changed', protection: true, weakening: /rule 1 decides now: clientSource was removed; .*maxAge/ },
  )
})

t.test('settings are recorded with their text before and after, and when they take effect', async t => {
  const { reload } = start()
  const events = withoutFile(
    reload({
      listen: { connections: 200, port: 1 },
      upstream: { ...base.upstream, uri: 'mongodb://hunter2/?tls=true' },
    }),
  )
  t.match(events, [
    {
      setting: 'listen.port',
      change: 'added',
      previous: undefined,
      current: '1',
      reason: 'takes effect after a restart',
    },
    { setting: 'listen.scope', change: 'removed', previous: 'a text of 4 characters', current: undefined },
    { setting: 'listen.connections', change: 'changed', previous: '100', current: '200', protection: true },
    { setting: 'upstream.uri', change: 'changed', current: 'not shown', reason: /its value .* after a restart/ },
    { arn: APP, change: 'changed', reason: 'is for other scopes' },
  ])
  t.notMatch(JSON.stringify(events), /hunter2/)
  t.match(withoutFile(reload({ listen: { connections: 200, port: 1 } })), [
    { setting: 'upstream.uri', weakening: 'TLS was turned off' },
  ])
})

t.test('other contents of the file of a client CA are recorded', async t => {
  const tls = { certFile: '/crt', keyFile: '/crt', clientCAFile: '/ca' }
  const { reload } = start(load({ tls }, { '/crt': pem('upstream'), '/ca': certificate('upstream') }))
  t.match(reload({ tls }, { '/crt': pem('upstream'), '/ca': certificate('upstream') + certificate('misnamed') }), [
    {
      setting: 'tls.clientCAFile',
      change: 'changed',
      current: '/ca',
      reason: /contents of its file/,
      protection: true,
    },
  ])
})

t.test('denials are recorded with their end, and the removal or shortening of one as a weaker protection', async t => {
  const { reload } = start()
  t.match(reload({}, { '/deny.yaml': `- account: "999999999999"\n  until: 2030-01-01T00:00:00Z\n- ${ALICE}\n...\n` }), [
    {
      subject: 'denial',
      change: 'changed',
      denial: 'account 999999999999',
      previous: 'without end: ticket 1',
      current: 'until 2030-01-01T00:00:00.000Z',
      until: '2030-01-01T00:00:00.000Z',
      protection: true,
      weakening: 'ends at 2030-01-01T00:00:00.000Z',
    },
    { change: 'added', denial: ALICE, until: null, protection: undefined },
  ])
  t.match(reload({}, { '/deny.yaml': '[]\n...\n' }), [
    { change: 'removed', denial: 'account 999999999999', protection: true, weakening: 'was removed' },
    { change: 'removed', denial: ALICE, file: '/deny.yaml' },
  ])
})

t.test('a rejected configuration is recorded with its problems, and what its deny file adds', async t => {
  const { reload } = start()
  const invalid = { users: [{ arn: 'alice', roles: ['root@admin'] }] }
  const [rejected, denial] = reload(invalid, { '/deny.yaml': `${files['/deny.yaml']?.slice(0, -4)}- ${ALICE}\n...\n` })
  t.match(rejected, {
    ...FILE,
    outcome: 'failed',
    change: 'rejected',
    subject: 'file',
    problems: [/users, rule 1/],
    configHash: load().source.hash,
  })
  t.not(rejected?.fileHash, load().source.hash, 'the hash of the rejected file')
  t.match(denial, { change: 'added', subject: 'denial', denial: ALICE, outcome: 'success' })
  t.match(reload(), [{ change: 'removed', denial: ALICE }], 'the next valid one does not have it')
})

t.test('a configuration that cannot be read is recorded as that of the running file', async t => {
  const { record, events } = createEventRecorder()
  const problems = Array.from({ length: 150 }, (_, index) => `problem ${index}`)
  new ChangeAuditor({ record, whenWritten: async () => true }).recordRejected(problems, undefined, load())
  t.match(events(), [{ actor: FILE.actor, file: '/proxy.yaml', fileHash: undefined, outcome: 'failed' }])
  const [event] = events()
  t.match(event?.problems, { 0: 'problem 0', 98: 'problem 98', 99: '51 more problems', length: 100 })
})

t.test('many events are recorded in groups, each after the one before was written', async t => {
  const users = Array.from({ length: 1200 }, (_, index) => ({ arn: `${APP}${index}`, roles: ['read@app'] }))
  const counts: number[] = []
  let recorded = 0
  let release = () => {}
  const auditor = new ChangeAuditor({
    record: () => void recorded++,
    whenWritten() {
      counts.push(recorded)
      return new Promise(resolve => {
        release = () => resolve(true)
      })
    },
  })
  auditor.recordLoaded(load({ users }))
  t.same(counts, [500])
  release()
  await null
  await null
  t.same(counts, [500, 1000])
  auditor.flush()
  t.ok(recorded > 1200, 'the end of the process does not wait')
})
