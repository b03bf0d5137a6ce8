import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { ChangeAuditor } from '../../src/app/changeAudit.js'
import { type LoadedConfig, loadWithPolicy } from '../../src/app/policy.js'
import { createEventRecorder } from '../support/audit.js'

const ALICE = 'arn:aws:iam::123456789012:user/alice'
const BOB = 'arn:aws:iam::123456789012:user/bob'
const pem = (name: string) => readFileSync(new URL(`../support/tls/${name}.pem`, import.meta.url), 'utf8')
const base = {
  tls: { certFile: '/tls.pem', keyFile: '/tls.pem' },
  upstream: { uriFile: '/uri', admin: { uri: 'mongodb://root:hunter2@127.0.0.1/' } },
  sts: { proxy: 'https://proxy.example.com', proxyCredentialsFile: '/credentials' },
  admin: { tokenFile: '/token' },
  audit: { sessionName: 'hash', hashKeyFile: '/hash' },
  provision: { secretFile: '/master' },
  users: [
    { arn: ALICE, user: 'alice', passwordFile: '/alice' },
    { arn: BOB, roles: ['read@app'] },
  ],
}
const files: Record<string, string> = {
  '/tls.pem': pem('upstream'),
  '/uri': 'mongodb://hunter2.example.com/',
  '/credentials': 'proxy:hunter2',
  '/token': 'hunter2'.repeat(4),
  '/hash': 'hunter2'.repeat(5),
  '/master': 'hunter2'.repeat(6),
  '/alice': 'hunter2',
}

function load(settings: object = {}, changed: Record<string, string> = {}): LoadedConfig {
  const all: Record<string, string> = { ...files, ...changed, '/proxy.yaml': JSON.stringify({ ...base, ...settings }) }
  const readFile = (path: string) => ({ bytes: Buffer.from(all[path] ?? ''), mode: 0o600 })
  return loadWithPolicy({ file: '/proxy.yaml', args: {}, env: {}, readFile })
}

function start() {
  const { record, events } = createEventRecorder()
  const auditor = new ChangeAuditor({ record, whenWritten: async () => true })
  const secrets = () => events().filter(({ type }) => type === 'secret')
  return {
    auditor,
    events,
    secrets,
    /** What a reload of the configuration above records. */
    reload(...changes: Parameters<typeof load>) {
      const seen = secrets().length
      auditor.recordApplied(load(), load(...changes), [])
      return secrets().slice(seen)
    },
  }
}

t.test('at start every secret is recorded, and no value', async t => {
  const { auditor, events, secrets } = start()
  auditor.recordLoaded(load())
  t.match(secrets(), [
    { change: 'loaded', setting: 'tls.certFile', fingerprint: new X509Certificate(pem('upstream')).fingerprint256 },
    { setting: 'tls.keyFile', file: '/tls.pem', fingerprint: undefined },
    { setting: 'upstream.uri', file: '/uri', actor: { kind: 'file', id: '/uri' } },
    { setting: 'upstream.admin.uri', file: undefined, actor: { kind: 'file', id: '/proxy.yaml' } },
    { setting: 'sts.proxyCredentialsFile' },
    { setting: 'admin.tokenFile' },
    { setting: 'audit.hashKeyFile' },
    { setting: 'provision.secretFile' },
    { setting: 'users', arn: ALICE, change: 'loaded' },
  ])
  t.equal(secrets().length, 9)
  t.notMatch(JSON.stringify(events()), /hunter2/)
  t.ok(secrets().every(({ fileHash }) => fileHash === undefined))
})

t.test('a reload records the secrets that differ, and whether they wait for a restart', async t => {
  const { reload, events } = start()
  t.same(reload(), [])
  t.match(reload({}, { '/token': 'another token, hunter2'.replaceAll(' ', '-') }), [
    { change: 'changed', setting: 'admin.tokenFile', file: '/token', reason: undefined },
  ])
  t.match(reload({}, { '/master': `${'new'.repeat(20)}\n${files['/master']}` }), [
    { change: 'changed', setting: 'provision.secretFile', reason: 'takes effect after a restart' },
  ])
  t.match(reload({ admin: {}, tls: { certFile: '/new.pem', keyFile: '/new.pem' } }, { '/new.pem': pem('misnamed') }), [
    { change: 'changed', setting: 'tls.certFile', file: '/new.pem', fingerprint: /:/ },
    { change: 'changed', setting: 'tls.keyFile', file: '/new.pem' },
    { change: 'removed', setting: 'admin.tokenFile' },
  ])
  t.notMatch(JSON.stringify(events()), /hunter2/)
})

t.test('the password of a rule is recorded with its ARN', async t => {
  const { reload } = start()
  const [alice, bob] = base.users
  t.match(reload({}, { '/alice': 'other' }), [{ change: 'changed', setting: 'users', arn: ALICE }])
  t.match(reload({ users: [bob, alice] }), { length: 0 }, 'another order is not another password')
  t.match(
    reload({
      users: [
        { arn: ALICE, roles: ['read@app'] },
        { arn: BOB, user: 'bob', passwordFile: '/alice' },
      ],
    }),
    [
      { change: 'removed', arn: ALICE },
      { change: 'added', arn: BOB },
    ],
  )
})
