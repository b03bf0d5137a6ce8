/**
 * FerretDB as the upstream, a server that nobody of us wrote: the suite of operations.json gives through the proxy what
 * it gives without, and where the sandbox differs from it is written to differences.md. It has no roles: who would need
 * some is told so, and who has a user and a password there is let in.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { type AwsKeys, createClient } from '../support/clients.js'
import { ACCOUNT } from '../support/testProxy.js'
import { operations, type Results, runAll } from './support/operations.js'
import { serve } from './support/proxyProcess.js'
import { ferret } from './support/servers.js'
import { ferretdb, provided } from './support/toolchains.js'

const PASSWORD = 'of alice'
const { what: program, skip } = await provided(ferretdb)
const loggedInAs = (keys: AwsKeys) => ({
  authMechanismProperties: { AWS_CREDENTIAL_PROVIDER: async () => ({ ...keys }) as never },
})

const aws = createIam({ random: randomBytes, now: Date.now })
const alice = aws.createUser({ account: ACCOUNT, name: 'alice' })
const keys = aws.createAccessKey(alice)
const users = [{ arn: alice.arn, user: 'alice', password: PASSWORD }]

t.test('FerretDB directly, through the proxy, and the sandbox', { skip }, async t => {
  const sts = await startSts({ iam: aws })
  t.teardown(() => sts.close())
  const behind = await ferret(t, program ?? [''], { alice: PASSWORD })
  const proxy = await serve(t, {
    upstream: { uri: `mongodb://127.0.0.1:${behind.port}/`, admin: { uri: behind.adminUri } },
    sts: sts.port,
    users,
  })
  const sandbox = await startMongoServer({ now: Date.now, random: randomBytes, root: { name: 'root', password: 'r' } })
  t.teardown(() => sandbox.close())
  const roles = ['readWrite', 'dbAdmin'].map(role => ({ role, db: 'app' }))
  sandbox.createUser({ user: 'alice', password: PASSWORD, roles })
  const proxied = await serve(t, {
    upstream: { uri: `mongodb://127.0.0.1:${sandbox.port}/`, admin: { uri: sandbox.uri } },
    sts: sts.port,
    users,
  })

  const direct = await runAll(t, behind.uriOf('alice', PASSWORD))
  const through = await runAll(t, proxy.uri, loggedInAs(keys))
  const closed = [...through.values()].filter(({ reply }) => reply.closed).length
  t.equal(sts.calls().GetCallerIdentity, 1 + closed, 'one login, and one more for each connection that FerretDB closed')
  const ours = await runAll(t, proxied.uri, loggedInAs(keys))

  t.test('each reply of FerretDB is the same through the proxy', async t => {
    for (const { name } of operations) t.strictSame(through.get(name)?.reply, direct.get(name)?.reply, name)
  })

  t.test('the table of differences is that of today', async t => {
    const file = new URL('differences.md', import.meta.url)
    const now = table(direct, ours)
    if (process.env.TAP_SNAPSHOT === '1') writeFileSync(file, now)
    t.equal(readFileSync(file, 'utf8'), now, 'written anew by TAP_SNAPSHOT=1 npm run test:interop')
  })
})

t.test('FerretDB has no roles: a fault of the configuration, and no harm to other rules', { skip }, async t => {
  const sts = await startSts({ iam: aws })
  t.teardown(() => sts.close())
  const behind = await ferret(t, program ?? [''], { alice: PASSWORD })
  const bob = aws.createUser({ account: ACCOUNT, name: 'bob' })
  const bobs = aws.createAccessKey(bob)
  const parts = {
    upstream: { uri: `mongodb://127.0.0.1:${behind.port}/`, admin: { uri: behind.adminUri } },
    sts: sts.port,
    master: 'a master secret that is long enough for everybody\n',
  }
  const rules = [...users, { arn: bob.arn, roles: ['readWrite@app'] }]
  const SAID = /has no roles, so the proxy cannot create a user.*Give the rule a `user` and a password/

  for (const [name, what] of Object.entries({
    'a rule with roles': { ...parts, users: rules },
    'the directory beside it': { ...parts, users: rules, more: { directory: { enabled: true } } },
  })) {
    t.test(name, async t => {
      const proxy = await serve(t, what)
      const known = await createClient(t, 'mongodb7', proxy.uri, keys)
      const roled = await createClient(t, 'mongodb7', proxy.uri, bobs)
      t.match(await known.db('app').command({ ping: 1 }), { ok: 1 })
      await t.rejects(roled.db('app').command({ ping: 1 }), { code: 262, message: /has no roles/ })
      t.match(await known.db('app').command({ ping: 1 }), { ok: 1 })
      const { code, stdout } = await proxy.run('check')
      t.equal(code, 78)
      const failed = stdout.split('\n').filter(line => !line.startsWith('ok'))
      t.match(failed, [SAID, ''])
      t.equal(failed.length, 2, 'one line and the end')
    })
  }

  t.test('the directory alone, in which nobody can be made', async t => {
    const proxy = await serve(t, { ...parts, users, more: { directory: { enabled: true } } })
    const known = await createClient(t, 'mongodb7', proxy.uri, keys)
    const stranger = await createClient(t, 'mongodb7', proxy.uri, bobs)
    t.match(await known.db('app').command({ ping: 1 }), { ok: 1 })
    await t.rejects(stranger.db('app').command({ ping: 1 }), { code: 18, message: /bob/ })
    const { code, stdout } = await proxy.run('check')
    t.equal(code, 78)
    t.match(stdout, SAID)
  })
})

/** Where MONGODB_URI leads, the same suite: its replies against the documentation. */
if (process.env.MONGODB_URI !== undefined) {
  t.test('the server of MONGODB_URI answers as MongoDB documents', async t => {
    const results = await runAll(t, process.env.MONGODB_URI as string)
    for (const { name } of operations) t.equal(results.get(name)?.deviates, undefined, name)
  })
}

function table(ferretdb: Results, sandbox: Results): string {
  const rows: string[] = []
  let alike = 0
  for (const { name, source, expect, note } of operations) {
    const [theirs, ours] = [ferretdb.get(name), sandbox.get(name)]
    const page = `[${source}](https://www.mongodb.com/docs/manual/reference/${source}/)`
    const wanted = `${code(JSON.stringify(expect))}${note === undefined ? '' : ` (${note})`}`
    if (theirs?.deviates === undefined && ours?.deviates === undefined) alike++
    else rows.push(`| ${name} | ${page} | ${wanted} | ${told(theirs?.deviates)} | ${told(ours?.deviates)} |`)
  }
  return [
    '# Where FerretDB 1.24.2 and the sandbox differ',
    '',
    '<!-- written by TAP_SNAPSHOT=1 npm run test:interop; do not edit -->',
    '',
    `Of the ${operations.length} operations of operations.json ${alike} are answered by both as MongoDB documents. Where the`,
    'sandbox alone answers as expected, the page of the manual vouches for it and no second server does.',
    '',
    '| operation | documented in | expected | FerretDB | sandbox |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}

function told(deviates: string | undefined): string {
  return deviates === undefined ? 'as expected' : code(deviates)
}

function code(text: string): string {
  const short = text.length > 160 ? `${text.slice(0, 159)}…` : text
  return `\`${short.replaceAll('|', '\\|').replaceAll('`', "'")}\``
}
