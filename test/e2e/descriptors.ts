/** A proxy whose process may open few files: idle clients must not stop logins and health checks. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { program } from '../support/demo.js'
import { startMongo } from '../support/mongo.js'
import { createTempFolder, runNode, startNode } from '../support/program.js'
import { logInRaw } from '../support/rawLogin.js'
import { waitUntil } from '../support/waitUntil.js'

const skip = process.platform !== 'linux' && 'only Linux shows a process its limits'

/** Starts a proxy as a process with so many descriptors. */
async function startLimited(t: Test, descriptors: number, listen: object = {}) {
  const iam = createIam({ random: randomBytes, now: Date.now })
  const user = iam.createUser({ account: '123456789012', name: 'alice' })
  const sts = await startSts({ iam })
  t.teardown(() => sts.close())
  const { server } = await startMongo(t)
  server.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  const folder = createTempFolder(t)
  const file = join(folder, 'proxy.yaml')
  const configure = (listen: object) =>
    writeFileSync(
      file,
      JSON.stringify({
        listen: { port: 0, ...listen },
        admin: { port: 0 },
        upstream: { uri: `mongodb://127.0.0.1:${server.port}/` },
        sts: { insecure: true, hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }] },
        users: [{ arn: user.arn, user: 'alice', passwordEnv: 'ALICE' }],
      }),
    )
  configure(listen)
  const options = { env: { ALICE: 'of alice' }, descriptors }
  const { child } = startNode(t, [program, 'serve', '--config', file], options)
  const log: Record<string, unknown>[] = []
  const lines = createInterface(child.stderr).on('line', line => log.push(JSON.parse(line)))
  const logged = async (event: string, count = 1) => {
    while (log.filter(line => line.event === event).length < count) await once(lines, 'line')
    return log.filter(line => line.event === event)[count - 1] as Record<string, unknown>
  }
  const { port, adminPort } = (await logged('ready')) as { port: number; adminPort: number }
  const get = async (path: string) => (await fetch(`http://127.0.0.1:${adminPort}${path}`)).text()
  await waitUntil(async () => (await get('/readyz')).includes('"ready":true'))
  const runCheck = () => runNode(t, [program, 'check', '--config', file], '', options)
  return { keys: iam.createAccessKey(user), port, get, log, logged, configure, runCheck }
}

t.test('200 idle clients of one address stop neither logins nor /healthz', { skip }, async t => {
  const { keys, port, get, logged, log } = await startLimited(t, 160)
  const { warning, descriptors, connections } = await logged('limits lowered')
  t.equal(descriptors, 160)
  t.match(warning, /^listen\.connections is 20000, .* needs \d+ file descriptors, .* may open 160 \(ulimit -n\)\./)
  const idle: Socket[] = []
  t.teardown(() => idle.map(socket => socket.destroy()))
  const open = async () => {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    idle.push(socket)
    await once(socket, 'connect')
  }
  for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 20 }, open))
  for (let i = 0; i < 3; i++) {
    t.match(await get('/healthz'), /^ok/)
    const { reply, connection } = await logInRaw(t, port, keys)
    t.equal(reply.done, true)
    t.match(await connection.ask({ ping: 1, $db: 'app' }), { ok: 1 })
  }
  const metrics = await get('/metrics')
  t.match(metrics, /^mongo_iam_proxy_failed_accepts_total 0$/m)
  t.match(metrics, /^mongo_iam_proxy_session_slots\{state="taken"\} 3$/m)
  t.ok(Number(connections) >= 16)
  t.same(
    log.filter(({ event }) => event === 'accept failed'),
    [],
  )
})

t.test('as many sessions as the lowered limits allow can log in, with their sockets upstream', { skip }, async t => {
  const { keys, port, get, logged } = await startLimited(t, 160, { connections: 1_000, perPrincipal: 750 })
  const { sessions } = await logged('limits lowered')
  for (let i = 0; i < Number(sessions); i++) {
    const { reply } = await logInRaw(t, port, keys)
    t.equal(reply.done, true, `session ${i + 1} of ${sessions}`)
  }
  t.match((await logInRaw(t, port, keys)).reply, { code: 262 })
  t.match(await get('/healthz'), /^ok/)
})

t.test('a reload compares its limits with the descriptors, too', { skip }, async t => {
  const { logged, configure, log } = await startLimited(t, 800, { connections: 100 })
  t.same(
    log.filter(({ event }) => event === 'limits lowered'),
    [],
  )
  configure({ connections: 5_000 })
  await logged('configuration reloaded')
  t.match(await logged('limits lowered'), { descriptors: 800 })
  configure({ connections: 110 })
  await logged('configuration reloaded', 2)
  t.equal(log.filter(({ event }) => event === 'limits lowered').length, 1)
})

t.test('check says that the limit is the one of its own shell', { skip }, async t => {
  const { runCheck } = await startLimited(t, 400)
  const { stdout } = await runCheck()
  t.match(stdout, /listen\.connections is 20000, .*may open 400 \(ulimit -n\).*this shell/)
})
