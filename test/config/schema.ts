import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import { loadConfig } from '../../src/config/load.js'
import { createConfigSchema, SCHEMA_URL } from '../../src/config/schema.js'
import { allSettings } from '../../src/config/settings.js'
import { Fault } from '../../src/errors.js'
import { createRandom, mutate } from '../support/mutations.js'

// `strict` would refuse keywords beside a type that they do not apply to.
const schema = new Ajv({ strict: false }).compile(createConfigSchema())

/** Whether an editor accepts the file. */
const accepts = (yaml: string): boolean => schema(parse(yaml) ?? null)

/** The problems of the file that `check --offline` reports. Settings in variables and flags are not looked at. */
function problemsOf(yaml: string): readonly string[] {
  const args = /^ *uri/m.test(yaml) || /uri(File)?:/.test(yaml) ? {} : { 'upstream.uri': 'mongodb://localhost' }
  const bytes = Buffer.from(yaml)
  try {
    loadConfig({ file: 'proxy.yaml', args, env: {}, readFile: () => ({ bytes, mode: 0o400 }), skipSecrets: true })
    return []
  } catch (thrown) {
    return Fault.from(thrown).data('config/invalid')?.problems?.map(String) ?? ['it is not YAML']
  }
}

const ARN = 'arn: arn:aws:iam::123456789012:role/app'
const rule = (text: string) => `users: [{ ${text} }]`

t.test('what check rejects in the form of a file, the schema rejects', async t => {
  for (const yaml of [
    'port: 27017',
    'listen: { prot: 27017 }',
    'listen: { port: 65536 }',
    'listen: { port: -1 }',
    'listen: { port: 1.5 }',
    'listen: { port: off }',
    'listen: { port: [27017] }',
    'listen: 27017',
    'listen: [{ port: 27017 }]',
    'listen: { host: "a b" }',
    'listen: { advertise: mongo.example.com }',
    'listen: { reauthenticate: never }',
    'listen: { connections: 1 }',
    'listen: { scope: "a b" }',
    'tls: on',
    'tls: false',
    'tls: { certFile: https://example.com/tls.crt }',
    'tls: { password: hunter2 }',
    'upstream: { uri: 5 }',
    'upstream: { uri: mongodb://localhost, uriFile: /run/uri }',
    'upstream: { topology: sharded }',
    'upstream: { admin: { uri: mongodb://localhost, uriFile: /run/uri } }',
    'sts: { hosts: [] }',
    'sts: { hosts: [{ connect: localhost:443 }] }',
    'sts: { hosts: [{ host: sts.amazonaws.com, connect: localhost }] }',
    'sts: { hosts: [sts.amazonaws.com, sts.amazonaws.com] }',
    'sts: { share: 2 }',
    'sts: { quota: 0 }',
    'sts: { insecure: yes please }',
    'login: { queueTimeout: 5 }',
    'login: { queueTimeout: 5 s }',
    'login: { failurePeriod: 1d }',
    'ldap: { assume: on }',
    'admin: { port: none }',
    'admin: { tokens: [{ name: ops, file: /run/ops }] }',
    'admin: { tokens: [{ name: ops, file: /run/ops, may: all }] }',
    'admin: { tokens: { name: ops, file: /run/ops, may: read } }',
    'provision: { database: admin }',
    'provision: { clientSource: [] }',
    'audit: { to: audit.jsonl }',
    'audit: { onFailure: stop }',
    'log: { level: trace }',
    'tracing: { enabled: 1 }',
    'users: {}',
    'users: [arn:aws:iam::123456789012:role/app]',
    rule('user: app, passwordFile: /run/app'),
    rule(`${ARN}, sso: { permissionSet: Admin, account: "123456789012" }, roles: [read@app]`),
    rule('sso: { permissionSet: Admin, account: 123456789012 }, roles: [read@app]'),
    rule(ARN),
    rule(`${ARN}, user: app`),
    rule(`${ARN}, user: app, passwordFile: /run/app, passwordEnv: APP`),
    rule(`${ARN}, user: app, roles: [read@app]`),
    rule(`${ARN}, roles: [read@app], passwordFile: /run/app`),
    rule(`${ARN}, roles: []`),
    rule(`${ARN}, roles: read@app`),
    rule(`${ARN}, user: app, passwordEnv: app_password`),
    rule(`${ARN}, user: app, password: hunter2`),
    rule(`${ARN}, roles: [read@app], maxAge: 12`),
    rule(`${ARN}, roles: [read@app], maxSessions: 0`),
    rule(`${ARN}, roles: [read@app], deleteAfterDate: tomorrow`),
    rule(`${ARN}, roles: [read@app], scopes: []`),
  ]) {
    t.not(problemsOf(yaml).length, 0, `check: ${yaml}`)
    t.notOk(accepts(yaml), `schema: ${yaml}`)
  }
})

t.test('what only check finds, docs/reference/configuration.md names', async t => {
  for (const yaml of [
    'upstream: { uri: localhost }',
    'login: { failurePeriod: 2h }',
    'listen: { port: "70000" }',
    'listen: { host: "1:2" }',
    'sts: { hosts: [eu-west-1] }',
    'sts: { hosts: [sts.amazonaws.com, sts.cn-north-1.amazonaws.com.cn] }',
    'sts: { proxy: http://user:hunter2@proxy.example.com }',
    'sts: { successCache: 5s }',
    'listen: { host: 0.0.0.0 }',
    'login: { queueTimeout: 10s, timeout: 12s }',
    'admin: { tokens: [{ name: a, file: /a, may: read }, { name: a, file: /b, may: read }] }',
    rule(`${ARN}, roles: [read@app], deleteAfterDate: 2026-02-31`),
  ]) {
    t.not(problemsOf(yaml).length, 0, `check: ${yaml}`)
    t.ok(accepts(yaml), `schema: ${yaml}`)
  }
})

t.test('the schema accepts a file with every form of value', async t => {
  for (const yaml of [
    '',
    '---\n...\n',
    'listen:\n  # port: 27017\n',
    'tls: off',
    'listen: { port: "27017", advertise: "[2001:DB8::1]:27017" }',
    'sts: { hosts: "sts.amazonaws.com", insecure: "false", share: "0.5", quota: 600 }',
    'sts: { hosts: [{ host: sts.eu-west-1.amazonaws.com, connect: "vpce-1.example.com:443" }] }',
    'admin: { port: off }',
    'admin: { port: "9216", hosts: "proxy.example.com,localhost" }',
    'audit: { to: /var/log/audit.jsonl }',
    'audit: { to: stderr }',
    rule(`${ARN}, user: app@admin, passwordEnv: APP, maxSessions: "20", maxAge: 12h`),
    rule('sso: { permissionSet: Admin, account: "123456789012" }, roles: [root@admin], deleteAfterDate: 2026-12-24'),
    rule(`${ARN}, roles: [read@app], clientSource: [10.0.0.0/8], principalId: firstUse, scopes: [a]`),
  ]) {
    t.same(problemsOf(yaml), [], `check: ${yaml}`)
    t.ok(accepts(yaml), `schema: ${yaml} ${JSON.stringify(schema.errors)}`)
  }
})

t.test('a file that the proxy accepts is accepted, however it was changed', async t => {
  const random = createRandom(14)
  let accepted = 0
  for (let count = 0; count < 3_000; count++) {
    const yaml = mutate(EVERYTHING, random, 'hunter2')
    if (problemsOf(yaml).length > 0) continue
    accepted++
    if (!accepts(yaml)) t.fail(`${yaml}\n${JSON.stringify(schema.errors)}`)
  }
  t.ok(accepted > 100, `${accepted} files`)
})

t.test('every setting is described, with its default', async t => {
  for (const { keys, path, definition } of allSettings) {
    let node: unknown = createConfigSchema()
    for (const key of keys.filter(key => key !== 'self')) {
      const { properties, anyOf } = node as { properties?: object; anyOf?: { properties: object }[] }
      node = Reflect.get(properties ?? anyOf?.[0]?.properties ?? {}, key)
    }
    t.match(node, path === 'tls' ? { anyOf: [{}, { enum: ['off'] }] } : { description: definition.about }, path)
    if (definition.fallback !== undefined) t.equal(String(Reflect.get(node as object, 'default')), definition.fallback)
  }
})

const root = fileURLToPath(new URL('../..', import.meta.url))

t.test('every example of a configuration names the schema and is accepted', async t => {
  const names = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n')
  const settingNames = new Set(allSettings.map(({ keys: [first = ''] }) => first))
  let examples = 0
  for (const name of names) {
    const text = readFileSync(`${root}/${name}`, 'utf8')
    for (const [, indent = '', block = ''] of text.matchAll(/^( *)```yaml\n([\s\S]*?)^ *```$/gm)) {
      const yaml = block.replace(new RegExp(`^${indent}`, 'gm'), '')
      const [first = ''] = Object.keys(Object(parse(yaml)))
      if (!settingNames.has(first)) continue
      examples++
      t.equal(yaml.split('\n')[0], `# yaml-language-server: $schema=${SCHEMA_URL}`, name)
      t.ok(accepts(yaml), `${name}: ${JSON.stringify(schema.errors)}`)
    }
  }
  t.ok(examples >= 9)
})

const EVERYTHING = `listen: { host: 127.0.0.1, port: 27017, advertise: mongo.example.com:27017, scope: blue }
tls: off
upstream:
  uri: mongodb://localhost:27017/
  topology: primary
sts:
  hosts: [sts.eu-west-1.amazonaws.com]
  quota: 600
  share: 0.9
login: { queueTimeout: 5s, failures: 10, shadow: false }
drain: { delay: 15s, timeout: 30s }
admin:
  port: 9216
  hosts: [proxy.example.com]
audit: { to: stdout, onFailure: serve }
log: { level: info }
users:
  - arn: arn:aws:iam::123456789012:role/app
    user: app
    passwordFile: /run/secrets/app
    maxAge: 12h
    maxSessions: 20
...
`
