/**
 * FerretDB, an independent server, as the upstream. The operations of operations.json must have the same replies through the
 * proxy as directly. Where FerretDB and the sandbox answer differently is written to differences.md.
 *
 * FerretDB has no roles. The proxy must report a rule with roles as a configuration problem, and must accept logins by rules
 * with a user and a password.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { type AwsKeys, createClient } from '../support/clients.js'
import { ACCOUNT } from '../support/testProxy.js'
import { operations, type Results, runOperations } from './support/operations.js'
import { startProxyProcess } from './support/proxyProcess.js'
import { startFerretdb } from './support/servers.js'
import { buildFerretdb, prepareOrSkip } from './support/toolchains.js'

const PASSWORD = 'of alice'
const { value: program, skip } = await prepareOrSkip(buildFerretdb)
const credentialOptions = (keys: AwsKeys) => ({
  authMechanismProperties: { AWS_CREDENTIAL_PROVIDER: async () => ({ ...keys }) as never },
})

const iam = createIam({ random: randomBytes, now: Date.now })
const alice = iam.createUser({ account: ACCOUNT, name: 'alice' })
const aliceKeys = iam.createAccessKey(alice)
const users = [{ arn: alice.arn, user: 'alice', password: PASSWORD }]

t.test('FerretDB directly, FerretDB through the proxy, and the sandbox through the proxy', { skip }, async t => {
  const sts = await startSts({ iam })
  t.teardown(() => sts.close())
  const ferretdb = await startFerretdb(t, program ?? [''], { alice: PASSWORD })
  const ferretdbProxy = await startProxyProcess(t, {
    upstream: { uri: `mongodb://127.0.0.1:${ferretdb.port}/`, admin: { uri: ferretdb.adminUri } },
    sts: sts.port,
    users,
  })
  const sandbox = await startMongoServer({ now: Date.now, random: randomBytes, root: { name: 'root', password: 'r' } })
  t.teardown(() => sandbox.close())
  const roles = ['readWrite', 'dbAdmin'].map(role => ({ role, db: 'app' }))
  sandbox.createUser({ user: 'alice', password: PASSWORD, roles })
  const sandboxProxy = await startProxyProcess(t, {
    upstream: { uri: `mongodb://127.0.0.1:${sandbox.port}/`, admin: { uri: sandbox.uri } },
    sts: sts.port,
    users,
  })

  const direct = await runOperations(t, ferretdb.uriFor('alice', PASSWORD))
  const proxied = await runOperations(t, ferretdbProxy.uri, credentialOptions(aliceKeys))
  const closed = [...proxied.values()].filter(({ reply }) => reply.closed).length
  t.equal(sts.calls().GetCallerIdentity, 1 + closed, 'one login, and one more for each connection that FerretDB closed')
  const sandboxResults = await runOperations(t, sandboxProxy.uri, credentialOptions(aliceKeys))

  t.test('each reply of FerretDB is the same through the proxy', async t => {
    for (const { name } of operations) t.strictSame(proxied.get(name)?.reply, direct.get(name)?.reply, name)
  })

  t.test('differences.md is up to date', async t => {
    const file = new URL('differences.md', import.meta.url)
    const expected = renderDifferences(direct, sandboxResults)
    if (process.env.TAP_SNAPSHOT === '1') writeFileSync(file, expected)
    t.equal(readFileSync(file, 'utf8'), expected, 'update it with TAP_SNAPSHOT=1 npm run test:interop')
  })
})

t.test(
  'a server without roles is a configuration problem for rules with roles, and not for others',
  { skip },
  async t => {
    const sts = await startSts({ iam })
    t.teardown(() => sts.close())
    const ferretdb = await startFerretdb(t, program ?? [''], { alice: PASSWORD })
    const bob = iam.createUser({ account: ACCOUNT, name: 'bob' })
    const bobKeys = iam.createAccessKey(bob)
    const options = {
      upstream: { uri: `mongodb://127.0.0.1:${ferretdb.port}/`, admin: { uri: ferretdb.adminUri } },
      sts: sts.port,
      provisioningSecret: 'a provisioning secret that is long enough\n',
    }
    const rules = [...users, { arn: bob.arn, roles: ['readWrite@app'] }]
    const directory = { directory: { enabled: true } }
    const PROBLEM = /has no roles, so the proxy cannot create a user.*Give the rule a `user` and a password/

    for (const [name, proxyOptions] of Object.entries({
      'a rule with roles': { ...options, users: rules },
      'a rule with roles and the directory': { ...options, users: rules, settings: directory },
    })) {
      t.test(name, async t => {
        const proxy = await startProxyProcess(t, proxyOptions)
        const aliceClient = await createClient(t, 'mongodb7', proxy.uri, aliceKeys)
        const bobClient = await createClient(t, 'mongodb7', proxy.uri, bobKeys)
        t.match(await aliceClient.db('app').command({ ping: 1 }), { ok: 1 })
        await t.rejects(bobClient.db('app').command({ ping: 1 }), { code: 262, message: /has no roles/ })
        t.match(await aliceClient.db('app').command({ ping: 1 }), { ok: 1 })
        const { code, stdout } = await proxy.run('check')
        t.equal(code, 78)
        const problems = stdout.split('\n').filter(line => !line.startsWith('ok'))
        t.match(problems, [PROBLEM, ''])
        t.equal(problems.length, 2, 'one problem and the final line break')
      })
    }

    t.test('the directory alone, for which the proxy cannot create users', async t => {
      const proxy = await startProxyProcess(t, { ...options, users, settings: directory })
      const aliceClient = await createClient(t, 'mongodb7', proxy.uri, aliceKeys)
      const bobClient = await createClient(t, 'mongodb7', proxy.uri, bobKeys)
      t.match(await aliceClient.db('app').command({ ping: 1 }), { ok: 1 })
      await t.rejects(bobClient.db('app').command({ ping: 1 }), { code: 18, message: /bob/ })
      const { code, stdout } = await proxy.run('check')
      t.equal(code, 78)
      t.match(stdout, PROBLEM)
    })
  },
)

if (process.env.MONGODB_URI !== undefined) {
  t.test('the server of MONGODB_URI answers as MongoDB documents', async t => {
    const results = await runOperations(t, process.env.MONGODB_URI as string)
    for (const { name } of operations) t.equal(results.get(name)?.deviation, undefined, name)
  })
}

function renderDifferences(ferretdb: Results, sandbox: Results): string {
  const rows: string[] = []
  let matching = 0
  for (const { name, source, expect, note } of operations) {
    const deviations = [ferretdb, sandbox].map(results => results.get(name)?.deviation)
    const page = `[${source}](https://www.mongodb.com/docs/manual/reference/${source}/)`
    const expected = `${code(JSON.stringify(expect))}${note === undefined ? '' : ` (${note})`}`
    if (deviations.every(deviation => deviation === undefined)) matching++
    else rows.push(`| ${[name, page, expected, ...deviations.map(renderDeviation)].join(' | ')} |`)
  }
  return [
    '# Differences between FerretDB 1.24.2 and the sandbox',
    '',
    '<!-- generated by TAP_SNAPSHOT=1 npm run test:interop; do not edit -->',
    '',
    `Both servers answer ${matching} of the ${operations.length} operations in operations.json as MongoDB documents. Where only the sandbox`,
    'answers as expected, the linked page of the manual is the only evidence; no second server confirms it.',
    '',
    '| operation | documented in | expected | FerretDB | sandbox |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}

function renderDeviation(deviation: string | undefined): string {
  return deviation === undefined ? 'as expected' : code(deviation)
}

function code(text: string): string {
  const short = text.length > 160 ? `${text.slice(0, 159)}…` : text
  return `\`${short.replaceAll('|', '\\|').replaceAll('`', "'")}\``
}
