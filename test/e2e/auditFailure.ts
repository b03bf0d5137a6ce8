/** What happens while the audit trail cannot be written. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { parseAuditLines } from '../support/audit.js'
import { type AwsKeys, createClient, requireClients } from '../support/clients.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7')

t.test('on a full disk, refuse answers logins with code 262, and serves again when there is space', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  symlinkSync('/dev/full', path)
  const demo = await startDemo(t, ['--audit-to', path, '--audit-on-failure', 'refuse'])
  await waitUntil(() => demo.events().includes('audit trail failing'))
  t.match(await demo.metrics(), /^mongo_iam_proxy_audit_up 0$/m)
  await t.rejects(demo.logIn(), { code: 262 })
  rmSync(path)
  writeFileSync(path, '')
  await waitUntil(() => demo.events().includes('audit trail restored'))
  await demo.logIn()
  const events = parseAuditLines(readFileSync(path, 'utf8'))
  t.same(
    events.map(({ seq }) => seq),
    events.map((_, index) => index + 1),
    'what waited for the disk is not lost',
  )
  t.ok(events.some(({ type, fault }) => type === 'login.refused' && fault === 'audit/unavailable'))
  t.ok(events.some(({ type }) => type === 'login'))
})

t.test('on a full disk, serve goes on and says so', async t => {
  const demo = await startDemo(t, ['--audit-to', '/dev/full'])
  await waitUntil(() => demo.events().includes('audit trail failing'))
  await demo.logIn()
  t.match(await demo.metrics(), /^mongo_iam_proxy_audit_up 0$/m)
})

t.test('a reader of stdout that stops reading blocks no login, and gets every event when it reads on', async t => {
  const demo = await startDemo(t, ['--audit-to', 'stdout'])
  demo.stdout.pause()
  while (!demo.events().includes('audit trail failing')) await demo.logIn()
  t.match(await demo.metrics(), /^mongo_iam_proxy_audit_up 0$/m)
  await demo.logIn()
  demo.stdout.resume()
  await waitUntil(() => demo.events().includes('audit trail restored'))
  await demo.stop()
  const events = parseAuditLines(demo.output())
  t.equal(events.at(-1)?.type, 'process.stop')
  t.same(
    events.map(({ seq }) => seq),
    events.map((_, index) => index + 1),
    'the numbers have no gap',
  )
})

t.test('a file that cannot be opened ends the start with exit code 78', async t => {
  const cli = new URL('../../dist/cli.js', import.meta.url).pathname
  const args = [cli, 'demo', '--json', '--port', '0', '--audit-to', join(t.testdir(), 'missing', 'audit.jsonl')]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let text = ''
  child.stderr.on('data', chunk => {
    text += chunk
  })
  const [code] = await once(child, 'exit')
  t.equal(code, 78)
  t.match(text, /audit\.to: cannot open .*ENOENT/)
})

type Ready = { proxy: { port: number }; admin: string; principals: AwsKeys[] }
type Demo = {
  /** The names of the events in its log. */
  events(): string[]
  metrics(): Promise<string>
  logIn(): Promise<void>
  stdout: Readable
  /** What it printed after the line that says that it is ready. */
  output(): string
  stop(): Promise<void>
}

async function startDemo(t: Test, more: string[]): Promise<Demo> {
  const cli = new URL('../../dist/cli.js', import.meta.url).pathname
  const args = [cli, 'demo', '--json', '--port', '0', '--admin-port', '0', '--log-level', 'info', ...more]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => end(child))
  const events: string[] = []
  createInterface({ input: child.stderr }).on('line', line => {
    if (line.startsWith('{')) events.push(JSON.parse(line).event)
  })
  let output = ''
  child.stdout.on('data', chunk => {
    output += chunk
  })
  await waitUntil(() => /\{"event":"ready".*\n/.test(output))
  const [line] = /\{"event":"ready".*\n/.exec(output) ?? []
  const ready: Ready = JSON.parse(line ?? '')
  const [principal] = ready.principals
  if (!principal) throw new Error('the demo has no principal')
  const uri = `mongodb://127.0.0.1:${ready.proxy.port}/?authSource=%24external&authMechanism=MONGODB-AWS`
  return {
    events: () => events,
    stdout: child.stdout,
    output: () => output.replace(line ?? '', ''),
    async stop() {
      child.kill('SIGTERM')
      await once(child, 'close')
    },
    metrics: async () => (await fetch(`${ready.admin}/metrics`)).text(),
    async logIn() {
      const client = await createClient(t, 'mongodb7', uri, principal, {
        maxPoolSize: 1,
        serverSelectionTimeoutMS: 5000,
      })
      try {
        await client.connect()
      } finally {
        await client.close()
      }
    },
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}
