/**
 * What a user can rehearse with the demo, without AWS and MongoDB: a failover, a change of the certificate, and users in
 * `$external`. The commands are run by a shell exactly as the demo prints them.
 */
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { installClient } from '../support/clients.js'
import { program } from '../support/demo.js'
import { createTempFolder, startNode } from '../support/program.js'

t.setTimeout(600_000) // the first run installs mongosh
const mongosh = join(await installClient('mongosh'), 'node_modules/mongosh/bin/mongosh.js')

type Result = { code: number; stdout: string; stderr: string }

/** A demo for people: its text, its log, and a shell in which `mongosh` is the real one. */
async function startReadableDemo(t: Test, ...flags: string[]) {
  const args = [program, 'demo', '--port', '0', '--admin-port', '0', '--log-level', 'info', ...flags]
  const { child, exited } = startNode(t, args)
  const log: Record<string, unknown>[] = []
  const waiting = new Set<() => void>()
  createInterface(child.stderr).on('line', line => {
    if (line.startsWith('{')) log.push(JSON.parse(line))
    for (const wake of waiting) wake()
  })
  const lines: string[] = []
  for await (const line of createInterface(child.stdout)) {
    lines.push(line)
    if (line.includes('Ctrl-C')) break
  }
  const proxy = createTempFolder(t)
  const shim = join(proxy, 'mongosh')
  writeFileSync(shim, `#!/bin/sh\nexec '${process.execPath}' '${mongosh}' "$@"\n`)
  chmodSync(shim, 0o755)
  const env = { HOME: proxy, PATH: `${proxy}:${process.env.PATH}`, MONGOSH_TELEMETRY_ENDPOINT: '' }
  return {
    /** The command under the heading that contains this text. */
    command(heading: string): string {
      const start = lines.findIndex(line => line.includes(heading))
      const found = start < 0 ? undefined : lines.slice(start).find(line => /^ {2}(mongosh|cp) /.test(line))
      if (found === undefined) throw new Error(`no command for ${heading} in ${lines.join('\n')}`)
      return found.trim()
    },
    shell: (script: string) =>
      new Promise<Result>(resolve => {
        execFile('sh', ['-c', script], { cwd: proxy, env }, (error, stdout, stderr) =>
          resolve({ code: error ? Number(error.code) : 0, stdout: stdout.trim(), stderr }),
        )
      }),
    /** Resolves once the log has such a line. */
    async logged(accept: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>> {
      for (;;) {
        const found = log.find(accept)
        if (found) return found
        await new Promise<void>(resolve => waiting.add(resolve))
      }
    },
    log,
    stop() {
      child.kill('SIGTERM')
      return exited
    },
  }
}

const evaluate = (command: string, script: string) => `${command} --quiet --eval '${script}'`
const INSERT = 'db.orders.insertOne({ n: 1 }).acknowledged'
const COUNT = 'db.orders.countDocuments()'

t.test('a failover with --replica-set', async t => {
  const demo = await startReadableDemo(t, '--replica-set')
  const alice = demo.command('user/alice:')
  t.match(alice, /\?replicaSet=rs0&/)
  t.match(await demo.shell(evaluate(alice, INSERT)), { code: 0, stdout: 'true' })
  const { primary } = await demo.logged(
    ({ event, writable }) => event === 'upstream state changed' && writable === true,
  )
  t.match(await demo.shell(`${demo.command('Rehearse a failover')} --quiet`), { code: 0, stdout: /ok: 1/ })
  t.match(await demo.shell(evaluate(alice, INSERT)), { code: 0, stdout: 'true' }, 'a client waits for the election')
  t.ok(
    await demo.logged(
      line => line.event === 'upstream state changed' && line.writable === true && line.primary !== primary,
    ),
    'another member is primary',
  )
  t.match(await demo.shell(evaluate(alice, COUNT)), { code: 0, stdout: '2' })
})

t.test('a change of the certificate with --with-tls', async t => {
  const demo = await startReadableDemo(t, '--with-tls')
  const alice = demo.command('user/alice:')
  const [, caFile = ''] = /--tlsCAFile (\S+)/.exec(alice) ?? []
  const [, port = ''] = /127\.0\.0\.1:(\d+)/.exec(alice) ?? []
  const ca = readFileSync(caFile)
  const shownCertificate = async () => {
    const socket = connect({ host: '127.0.0.1', port: Number(port), ca })
    await once(socket, 'secureConnect')
    t.equal(socket.authorized, true)
    const serial = socket.getPeerX509Certificate()?.serialNumber
    socket.destroy()
    return serial
  }
  const first = await shownCertificate()
  t.match(await demo.shell(evaluate(alice, INSERT)), { code: 0, stdout: 'true' })
  const plain = alice.replace(/ --tls --tlsCAFile \S+/, '').replace('/app?', '/app?serverSelectionTimeoutMS=2000&')
  t.not((await demo.shell(evaluate(plain, INSERT))).code, 0, 'a client without TLS is not served')

  t.match(await demo.shell(demo.command('Rehearse a change of the certificate')), { code: 0 })
  t.match(await demo.logged(({ event }) => event === 'configuration reloaded'), {
    applied: ['tls.certFile', 'tls.keyFile'],
  })
  const second = await shownCertificate()
  t.not(second, first)
  t.equal(second, new X509Certificate(readFileSync(join(dirname(caFile), 'server.pem'))).serialNumber)
  t.match(await demo.shell(evaluate(alice, INSERT)), { code: 0, stdout: 'true' })
  t.equal(await demo.stop(), 0)
  t.notOk(existsSync(dirname(caFile)), 'its files are removed')
})

t.test('users in $external with --directory, beside the other flags', async t => {
  const demo = await startReadableDemo(t, '--directory', '--replica-set', '--with-tls')
  const [dora, newcomer] = [demo.command('user/dora:'), demo.command('user/newcomer:')]
  t.match(await demo.shell(evaluate(dora, INSERT)), { code: 0, stdout: 'true' })
  t.match(await demo.shell(evaluate(newcomer, COUNT)), { code: 1, stderr: /no rule matches this principal/ })
  t.match(await demo.shell(`${demo.command('as the DBA')} --quiet`), { code: 0 })
  t.match(await demo.shell(evaluate(newcomer, COUNT)), { code: 0, stdout: '1' })
  t.match(await demo.shell(evaluate(newcomer, INSERT)), { code: 1, stderr: /not authorized/ }, 'the role is read')
  t.match(await demo.shell(evaluate(demo.command('user/alice:'), COUNT)), { code: 0, stdout: '1' }, 'rules still apply')
})
