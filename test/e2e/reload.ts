/** The program reloads its configuration when the files change that it was loaded from. */
import { mkdirSync, readlinkSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setImmediate as nextIteration } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createClient, requireClients } from '../support/clients.js'
import { program, startDemo } from '../support/demo.js'
import { createTempFolder, startNode } from '../support/program.js'

await requireClients('mongodb7')

type Line = Record<string, unknown>

/** Runs `serve` in front of the demo's upstream and STS, with its files in a folder as Kubernetes mounts a ConfigMap. */
async function startServe(t: Test) {
  const { ready, alice, orders } = await startDemo(t)
  const { username, password, host } = new URL(ready.upstream)
  const folder = createTempFolder(t)
  const root = { user: decodeURIComponent(username), passwordFile: join(folder, 'password') }
  const rules = [alice, orders].map(({ arn }) => ({ arn, ...root }))
  const settings = {
    listen: { port: 0 },
    admin: { port: 'off' },
    upstream: { uri: `mongodb://${host}/?directConnection=true`, admin: { uri: ready.upstream } },
    sts: { insecure: true, hosts: [{ host: 'sts.us-east-1.amazonaws.com', connect: new URL(ready.sts).host }] },
    deny: { file: join(folder, 'deny.yaml') },
  }
  let version = 0
  /** Writes the files into a new folder, then replaces the symbolic link to the old one. */
  const publish = (files: Record<string, string>): void => {
    const name = `..${++version}`
    mkdirSync(join(folder, name))
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, file), text)
    symlinkSync(name, join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  }
  const yaml = (users: object[]): string =>
    [
      ...Object.entries(settings).map(([key, value]) => `${key}: ${JSON.stringify(value)}`),
      users.length > 0 ? 'users:' : 'users: []',
      ...users.map(rule => `  - ${JSON.stringify(rule)}`),
      '',
    ].join('\n')
  const files = { 'proxy.yaml': yaml(rules), 'deny.yaml': '[]\n...\n', password: decodeURIComponent(password) }
  publish(files)
  for (const name of Object.keys(files)) symlinkSync(join('..data', name), join(folder, name))

  const { child } = startNode(t, [program, 'serve', '--config', join(folder, 'proxy.yaml')])
  const log: Line[] = []
  let wake = (): void => {}
  createInterface(child.stderr).on('line', line => {
    log.push(JSON.parse(line))
    wake()
  })
  /** Resolves with the first matching line after the first `from` ones. */
  const logged = async (is: (line: Line) => boolean, from = 0): Promise<Line> => {
    for (;;) {
      const found = log.slice(from).find(is)
      if (found) return found
      await new Promise<void>(resolve => {
        wake = resolve
      })
    }
  }
  const { port } = await logged(({ event }) => event === 'ready')
  const uri = `mongodb://127.0.0.1:${port}/?authSource=%24external&authMechanism=MONGODB-AWS`
  const login = async (keys = alice) => {
    const client = await createClient(t, 'mongodb7', uri, keys, { maxPoolSize: 1 })
    await client.db('app').command({ ping: 1 })
    return client
  }
  return { folder, files, publish, yaml, rules, log, logged, login, alice, orders, child }
}

const is =
  (event: string, facts: Line = {}) =>
  (line: Line) =>
    line.event === event && Object.entries(facts).every(([key, value]) => line[key] === value)

t.test('a replaced symbolic link, a renamed file and SIGHUP reload the configuration', async t => {
  const { folder, files, publish, log, logged, login, alice, orders, child, yaml, rules } = await startServe(t)
  await login()
  await login(orders)

  publish({ ...files, 'deny.yaml': `- ${alice.arn}\n...\n` })
  t.match(await logged(is('connection closed', { fault: 'login/revoked' })), {
    arn: alice.arn,
    denial: alice.arn,
  })
  await t.rejects(login(), { code: 18 })

  let from = log.length
  publish({ ...files, 'deny.yaml': '[]\n...\n' })
  await logged(is('configuration reloaded'), from)
  t.match(await logged(is('denial removed'), from), { level: 'warn', denial: alice.arn })
  await login()

  from = log.length
  renameSync(join(folder, 'proxy.yaml'), join(folder, 'old'))
  writeFileSync(join(folder, 'proxy.new'), yaml(rules.slice(0, 1)))
  renameSync(join(folder, 'proxy.new'), join(folder, 'proxy.yaml'))
  t.match(await logged(is('connection closed', { fault: 'login/revoked' }), from), { arn: /assumed-role\/orders-api/ })
  t.match(await logged(is('rule removed'), from), { pattern: orders.arn })

  from = log.length
  child.kill('SIGHUP')
  t.match(await logged(is('configuration reloaded'), from), { applied: [] }, 'by request, though nothing changed')
})

t.test('a denial applies although the password file of a rule is missing', async t => {
  const { files, publish, logged, login, alice, orders, log } = await startServe(t)
  await login()
  const { password: _, ...others } = files
  publish({ ...others, 'deny.yaml': `- ${alice.arn}\n...\n` })
  t.match(await logged(is('connection closed', { fault: 'login/revoked' })), {
    arn: alice.arn,
    denial: alice.arn,
  })
  await t.rejects(login(), { code: 18 })
  await login(orders)
  t.ok(log.some(({ problem }) => /passwordFile: cannot read/.test(`${problem}`)))
})

t.test('a denial applies although the configuration file is invalid', async t => {
  const { files, publish, logged, login, alice, orders, log } = await startServe(t)
  await login()
  publish({ ...files, 'proxy.yaml': 'users: [' })
  t.match(await logged(is('configuration rejected', { level: 'error' })), { problem: /not YAML/ })
  publish({ ...files, 'proxy.yaml': 'users: [', 'deny.yaml': `- ${alice.arn}\n...\n` })
  t.match(await logged(is('connection closed', { fault: 'login/revoked' })), {
    arn: alice.arn,
    denial: alice.arn,
  })
  await t.rejects(login(), { code: 18 })
  await login(orders)
  t.same(
    log.filter(({ event }) => `${event}`.endsWith(' removed')),
    [],
  )
})

t.test('a configuration file that was cut has no effect, and its deny file still denies', async t => {
  const { files, publish, logged, login, alice, orders, yaml, rules, log } = await startServe(t)
  await login()
  const whole = `${yaml(rules)}...\n`
  publish({ ...files, 'proxy.yaml': whole })
  await logged(is('configuration reloaded'))
  const cut = whole.slice(0, whole.indexOf('deny:'))
  publish({ ...files, 'proxy.yaml': cut })
  t.match(await logged(is('configuration rejected')), { problem: /may have been cut.*restart the proxy to do without/ })
  publish({ ...files, 'proxy.yaml': cut, 'deny.yaml': `- ${alice.arn}\n...\n` })
  t.match(await logged(is('connection closed', { fault: 'login/revoked' })), { denial: alice.arn })
  await login(orders)
  const from = log.length
  publish({ ...files, 'proxy.yaml': whole })
  await logged(is('configuration reloaded'), from)
  await login()
})

t.test('a reload that loses the deny file says so', async t => {
  const { files, publish, logged, yaml, rules, log } = await startServe(t)
  publish({ ...files, 'proxy.yaml': yaml(rules).replace(/^deny:.*\n/m, '') })
  t.match(await logged(is('protection weakened')), { level: 'warn', setting: 'deny.file', weakening: 'was removed' })
  t.equal(log.filter(is('protection weakened')).length, 1)
})

t.test('a file that is read while it is written neither grants nor removes access', async t => {
  const { folder, log, logged, login, yaml, rules, alice } = await startServe(t)
  const client = await login()
  const path = join(folder, readlinkSync(join(folder, '..data')), 'proxy.yaml')
  const whole = yaml([...rules].reverse())
  const cut = whole.lastIndexOf('  - ') // the list is good without its last entry, which is alice's
  for (let round = 0; round < 5; round++) {
    // Both at once: the proxy reads at some moment in between, and trusts only two equal reads.
    writeFileSync(path, whole.slice(0, cut))
    writeFileSync(path, whole)
    await nextIteration()
  }
  await logged(is('configuration reloaded'))
  t.same(
    log.filter(({ event }) => `${event}`.endsWith(' removed')),
    [],
  )
  t.match(await client.db('app').command({ ping: 1 }), { ok: 1 })

  let from = log.length
  writeFileSync(join(folder, readlinkSync(join(folder, '..data')), 'deny.yaml'), `- ${alice.arn}\n`)
  t.match(await logged(is('configuration rejected', { level: 'error' }), from), {
    problem: /deny\.file: must end in/,
  })
  from = log.length
  writeFileSync(path, 'users: [')
  t.match(await logged(is('configuration rejected', { level: 'error' }), from), { problem: /not YAML.*proxy\.yaml:1/ })
  t.match(await client.db('app').command({ ping: 1 }), { ok: 1 }, 'the last valid configuration stays in force')
  await login()
})

t.test('the log level follows the file', async t => {
  const { folder, log, logged, login, yaml, rules, files, publish } = await startServe(t)
  t.same(log.filter(is('login succeeded')), [])
  publish({ ...files, 'proxy.yaml': `${yaml(rules)}log: { level: debug }\n` })
  await logged(is('configuration reloaded'))
  await login()
  await logged(is('login succeeded'))
  t.ok(folder)
})
