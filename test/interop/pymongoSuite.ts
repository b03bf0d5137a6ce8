/**
 * PyMongo's own test suite, directly and through the proxy. Each test must have the same result, unless
 * `pymongo/differences.json` lists it with the reason. A test that differs runs once more on both sides, because some
 * tests of the suite depend on timing.
 *
 * By default the files run that take about ten minutes. `INTEROP_PYMONGO=all` runs all files that need a server, and
 * `INTEROP_PYMONGO=test_csot.py,test_pooling.py` runs these.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startReplicaSet } from '../../sandbox/src/mongo/replicaSet.js'
import { ACCOUNT } from '../support/testProxy.js'
import { startProxyProcess } from './support/proxyProcess.js'
import { runSuiteFile, type SuiteResults, type SuiteTarget } from './support/pymongoSuite.js'
import { startSecantusdb } from './support/servers.js'
import { installPymongoSuite, installSecantusdb, prepareOrSkip } from './support/toolchains.js'

type FileList = { byDefault: string[]; further: string[] }
type Difference = { tests: string[]; reason: string }
type Server = { port: number; uri: string; adminUri: string }

const readJson = (name: string) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'))
const { byDefault, further }: FileList = readJson('pymongo/files.json')
const differences: Difference[] = readJson('pymongo/differences.json')
const expected = new Set(differences.flatMap(({ tests }) => tests))
const files = chooseFiles(process.env.INTEROP_PYMONGO)

const { value: suite, skip: noSuite } = await prepareOrSkip(installPymongoSuite)
const { value: secantusdb, skip: noSecantusdb } = await prepareOrSkip(installSecantusdb)
/** The user of the suite has the role root, as its documentation requires. */
const USER = 'suite'
const PASSWORD = 'of-the-suite'

const iam = createIam({ random: randomBytes, now: Date.now })
const tester = iam.createUser({ account: ACCOUNT, name: 'tester' })
const key = iam.createAccessKey(tester)

/** Starts SecantusDB with the user of the suite. */
async function startSecantusdbForSuite(t: Test): Promise<Server> {
  const server = await startSecantusdb(t, secantusdb ?? [''], ['--enable-test-commands'])
  await server.command('admin', { createUser: USER, pwd: PASSWORD, roles: ['root'] })
  const uri = `mongodb://127.0.0.1:${server.port}/?replicaSet=secantus`
  return { port: server.port, uri, adminUri: server.adminUri }
}

/** Starts a replica set of one member in the sandbox. Many tests of the suite run on a replica set only. */
async function startSandboxForSuite(t: Test): Promise<Server> {
  const root = { name: 'root', password: 'r' }
  const set = await startReplicaSet({ now: Date.now, random: randomBytes, root, members: 1, electionMS: 100 })
  t.teardown(() => set.close())
  set.createUser({ user: USER, password: PASSWORD, roles: ['root'] })
  const [member] = set.members()
  const port = member?.port ?? 0
  return { port, uri: `mongodb://127.0.0.1:${port}/?replicaSet=rs0`, adminUri: set.uri() }
}

const servers: Record<string, { start: (t: Test) => Promise<Server>; skip: string | false }> = {
  SecantusDB: { start: startSecantusdbForSuite, skip: noSuite || noSecantusdb },
  sandbox: { start: startSandboxForSuite, skip: noSuite },
}

for (const [name, { start, skip }] of Object.entries(servers)) {
  t.test(`the test suite of PyMongo with ${name}`, { skip, timeout: 3_600_000 }, async t => {
    const [one, other] = [await start(t), await start(t)]
    const direct: SuiteTarget = { port: one.port, user: USER, password: PASSWORD }
    const proxied = { ...direct, port: await startProxyFor(t, other), iam: key }
    for (const file of files) {
      t.test(file, async t => {
        // A file that fails in the middle leaves collections behind, and others expect none of the same name.
        await Promise.all([one, other].map(({ adminUri }) => dropDatabases(adminUri)))
        const both = await runOnBoth(t, direct, proxied, file)
        const different = listDifferences(both)
        const again = different.length > 0 ? await runOnBoth(t, direct, proxied, file, different) : both
        const stillDifferent = new Set(listDifferences(again))
        for (const test of different.filter(test => !stillDifferent.has(test)))
          t.comment(`${test}: a result differed once: ${describe(both, test)}`)
        const unexpected = [...stillDifferent].filter(test => !expected.has(test))
        t.same(
          unexpected.map(test => `${test}: ${describe(again, test)}`),
          [],
          'no further differences',
        )
        t.comment(`${both.direct.size} tests: ${summarize(both.direct)}`)
      })
    }
  })
}

function chooseFiles(choice = ''): string[] {
  if (choice === '') return byDefault
  return choice === 'all' ? [...byDefault, ...further] : choice.split(',')
}

async function dropDatabases(uri: string): Promise<void> {
  const client = new MongoClient(uri)
  try {
    const { databases } = await client.db('admin').admin().listDatabases({ nameOnly: true })
    for (const { name } of databases) {
      if (!['admin', 'config', 'local'].includes(name)) await client.db(name).dropDatabase()
    }
  } finally {
    await client.close()
  }
}

type Both = { direct: SuiteResults; proxied: SuiteResults }

async function runOnBoth(
  t: Test,
  direct: SuiteTarget,
  proxied: SuiteTarget,
  file: string,
  only?: string[],
): Promise<Both> {
  const [one, other] = await Promise.all(
    [direct, proxied].map(target => runSuiteFile(t, suite as never, target, file, only)),
  )
  return { direct: one as SuiteResults, proxied: other as SuiteResults }
}

function listDifferences({ direct, proxied }: Both): string[] {
  const names = new Set([...direct.keys(), ...proxied.keys()])
  return [...names].filter(test => direct.get(test)?.outcome !== proxied.get(test)?.outcome)
}

function describe({ direct, proxied }: Both, test: string): string {
  const [one, other] = [direct, proxied].map(results => {
    const { outcome = 'no result', text = '' } = results.get(test) ?? {}
    return `${outcome} ${text}`.trim()
  })
  return `directly: ${one}; through the proxy: ${other}`
}

/** The number of tests by outcome, such as `30 passed, 2 skipped`. */
function summarize(results: SuiteResults): string {
  const counts = new Map<string, number>()
  for (const { outcome } of results.values()) {
    const [kind = ''] = outcome.split(':')
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return [...counts].map(([kind, count]) => `${count} ${kind}`).join(', ')
}

/** Starts the proxy with a rule for the user of the suite. Resolves with its port. */
async function startProxyFor(t: Test, { uri, adminUri }: Server): Promise<number> {
  const sts = await startSts({ iam })
  t.teardown(() => sts.close())
  const proxy = await startProxyProcess(t, {
    upstream: { uri, admin: { uri: adminUri } },
    sts: sts.port,
    users: [{ arn: tester.arn, user: USER, password: PASSWORD }],
    settings: { login: { failures: 100_000 } },
  })
  return Number(new URL(proxy.uri).port)
}
