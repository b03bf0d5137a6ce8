/** The commands that ask a running proxy, from the command line to its admin interface and back. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { requireClients } from '../support/clients.js'
import { startCommandRunner } from '../support/commands.js'
import { createTempFolder } from '../support/program.js'
import { ACCOUNT, startTestProxy } from '../support/testProxy.js'

await requireClients('mongodb7')

const TOKEN = 'a-token-of-ops-that-may-write'
const ROLE = `arn:aws:iam::${ACCOUNT}:role/orders-api`
const run = startCommandRunner(t)

async function start(t: Test) {
  const folder = createTempFolder(t)
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, `${TOKEN}\n`)
  const proxy = await startTestProxy(t, {
    settings: { 'admin.port': '0', 'admin.tokenFile': '/write', 'deny.adminFile': join(folder, 'denied.yaml') },
    files: { '/write': TOKEN },
  })
  const url = `http://127.0.0.1:${proxy.running.adminPort}`
  const command = (...args: string[]) => run([...args, '--admin', url, '--token-file', tokenFile])
  const client = await proxy.client('mongodb7', proxy.session(), { maxPoolSize: 1, retryReads: false })
  await client.db('app').command({ ping: 1 })
  return { proxy, command, url }
}

t.test('status and sessions show the running proxy, as text and as JSON', async t => {
  const { command } = await start(t)
  t.match(await command('status'), { code: 0, stdout: /state +ready\n.*primary/s })
  const json = JSON.parse((await command('status', '--json')).stdout)
  t.match(json, { version: 1, answer: { ready: true, sessions: { open: 1 } } })
  t.match(await command('sessions'), {
    code: 0,
    stdout: /assumed-role\/orders-api\/pod-7 .*orders-api@admin\n1 sessions/,
  })
})

t.test('a session is closed, and a principal is denied and admitted again', async t => {
  const { proxy, command } = await start(t)
  const [{ id }] = JSON.parse((await command('sessions', '--json')).stdout).answer.items
  t.match(await command('sessions', 'close', id), { code: 0, stdout: /^closed / })
  await proxy.closedLines(1, ({ fault }) => fault === 'connection/closed-by-admin')
  t.match(await command('sessions', 'close', id), { code: 78, stderr: /404: there is no such session/ })
  t.match(await command('deny', ROLE, '--why', 'ticket 4711'), { code: 0, stdout: /^denied .*; 0 sessions closed/ })
  t.match(
    proxy.audit().find(({ type }) => type === 'denied'),
    { denial: ROLE, reason: 'ticket 4711' },
  )
  t.match(await command('undeny', ROLE), { code: 0 })
  t.match(await command('undeny', ROLE), { code: 78, stderr: /404/ })
})

t.test('a wrong command line, a wrong token and a proxy that does not answer have an exit code', async t => {
  const { command, url } = await start(t)
  t.match(await command('deny', ROLE), { code: 64, stderr: /needs --why/ })
  t.match(await command('deny', '--why', 'x'), { code: 64, stderr: /one argument, ARN/ })
  t.match(await command('status', 'now'), { code: 64, stderr: /no argument/ })
  t.match(await command('sessions', '--sts-quota', '5'), { code: 64 })
  t.match(await run(['status', '--admin', 'ftp://x']), { code: 64, stderr: /URL/ })
  t.match(await run(['undeny', ROLE, '--admin', url]), { code: 78, stderr: /401/ })
  t.match(await run(['status', '--admin', 'http://127.0.0.1:1']), { code: 78, stderr: /cannot be reached/ })
  t.match(await run(['status', '--admin', url, '--token-file', '/nowhere/token']), { code: 64, stderr: /ENOENT/ })
})
