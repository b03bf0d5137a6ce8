import { readFileSync } from 'node:fs'
import t from 'tap'
import { compilePolicy, loadWithPolicy, provisioningOptions, withPolicy } from '../../src/app/policy.js'
import { loadConfig } from '../../src/config/load.js'
import { silentLog } from '../../src/log.js'
import { faultOf } from '../support/faults.js'

const ALICE = 'arn:aws:iam::123456789012:user/alice'
const user = { arn: ALICE, user: 'alice', passwordEnv: 'PASSWORD' }
const rolesRule = { arn: ALICE, roles: ['read@app'] }

/** The sources of a configuration that names these files. `reads` collects the paths that are read. */
function sourcesOf(settings: object, files: Record<string, string | Buffer> = {}) {
  const reads: string[] = []
  const all: Record<string, string | Buffer> = { main: JSON.stringify(settings), ...files }
  const readFile = (path: string) => {
    reads.push(path)
    return { bytes: Buffer.from(all[path] ?? ''), mode: 0o600 }
  }
  return { reads, sources: { file: 'main', args: {}, env: { PASSWORD: 'x' }, readFile } }
}

function problemsOf(settings: object, files?: Record<string, string>): readonly string[] {
  const { sources } = sourcesOf({ upstream: { uri: 'mongodb://a' }, ...settings }, files)
  return faultOf(() => loadWithPolicy(sources))?.data('config/invalid')?.problems ?? []
}

t.test('a loaded configuration carries its rules, denials and upstream', async t => {
  const settings = {
    upstream: { uri: 'mongodb://a,b/?replicaSet=rs0' },
    users: [user],
    deny: { file: 'deny' },
    listen: { advertise: 'proxy.example.com:27017' },
  }
  const { sources } = sourcesOf(settings, { deny: '- account: "999999999999"\n...\n' })
  const { config, policy } = loadWithPolicy(sources)
  t.equal(config.users.length, 1)
  t.same(
    policy.rules.all.map(({ arn }) => arn),
    [ALICE],
  )
  t.match(policy.denials, [{ kind: 'account', value: '999999999999' }])
  t.same(policy.upstream.seeds, ['a:27017', 'b:27017'])
  t.equal(policy.isSingle, false)
})

t.test('the certificates of the upstream are read with the same function as every other file', async t => {
  const pem = readFileSync(new URL('../support/tls/ca.pem', import.meta.url))
  const { reads, sources } = sourcesOf(
    { upstream: { uri: 'mongodb://a/?tls=true&tlsCAFile=/etc/ca.pem' } },
    {
      '/etc/ca.pem': pem,
    },
  )
  loadWithPolicy(sources)
  t.same(reads, ['main', '/etc/ca.pem'])
})

t.test('problems of the settings and of the policy are reported together, each with its source', async t => {
  const problems = problemsOf({
    upstream: { uri: 'mongodb://root:x@a' },
    sts: { quota: 0 },
    users: [{ ...user, arn: 'alice' }],
    deny: { file: 'deny' },
  })
  t.match(problems, [
    /^sts\.quota: /,
    /^deny\.file: a path of 4 characters \(not shown\) is empty \(from main:1:134\)$/,
    /^users, rule 1: .*\(from main:1:\d+\)$/,
    /^upstream\.uri: must not name a user/,
  ])
})

t.test('settings that need each other are checked', async t => {
  for (const [settings, problem] of [
    [{ users: [{ ...user, principalId: 'firstUse' }] }, /^pins\.file: required for principalId firstUse of rule 1/],
    [{ users: [rolesRule] }, /^provision\.secretFile: required for the roles of rule 1$/],
    [{ users: [rolesRule] }, /^upstream\.admin: required for the roles of rule 1/],
    [{ directory: { enabled: true } }, /^upstream\.admin: required for directory\.enabled/],
    [{ directory: { enabled: true } }, /^provision\.secretFile: required for directory\.enabled$/],
    [{ listen: { port: 9216 } }, /^admin\.port: 9216 is also listen\.port/],
    [{ deny: { file: 'deny', adminFile: 'deny' } }, /^deny\.adminFile: is also deny\.file/],
    [
      { provision: { clientSource: ['home'] } },
      /^provision\.clientSource\[0\]: a text of 4 characters is not a network/,
    ],
  ] as const) {
    const problems = problemsOf(settings, { deny: '[]\n...\n' })
    t.ok(
      problems.some(line => problem.test(line)),
      `${problem}: ${problems.join('; ')}`,
    )
  }
  t.same(problemsOf({ users: [user] }), [])
  const invalid = problemsOf({ listen: { host: '/', port: 'x' }, admin: { host: '/', port: 'x' } })
  t.match(invalid, [/^listen\.host: /, /^listen\.port: /, /^admin\.host: /, /^admin\.port: expected/])
  t.notMatch(invalid.join(), 'undefined', 'invalid settings are reported once')
})

t.test('a configuration that was made in code is compiled, or reports its problems', async t => {
  const { sources } = sourcesOf({ upstream: { uri: 'mongodb://a' }, users: [user] })
  const config = loadConfig(sources)
  t.equal(withPolicy(config, sources.readFile).policy.rules.all.length, 1)
  const invalid = { ...config, users: config.users.map(rule => ({ ...rule, arn: 'alice' })) }
  t.match(faultOf(() => withPolicy(invalid, sources.readFile))?.data('config/invalid')?.problems, [/^users, rule 1: /])
  t.equal(compilePolicy(invalid, sources.readFile).problems.length, 1)
})

t.test('users are provisioned only with a master secret', async t => {
  const run = async () => ({ ok: 1 })
  const { sources } = sourcesOf({ upstream: { uri: 'mongodb://a' }, provision: { fleet: 'blue', period: '1h' } })
  const config = loadConfig(sources)
  t.equal(
    provisioningOptions(config, run, silentLog, () => {}),
    undefined,
  )
  const [secret] = [config.upstream.uri]
  const provision = { ...config.provision, secrets: [secret] }
  t.match(
    provisioningOptions({ ...config, provision }, run, silentLog, () => {}),
    { fleet: 'blue', periodMS: 3_600_000 },
  )
})
