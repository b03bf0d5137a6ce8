import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { loadDriver } from './support/clients.js'
import { type Demo, startDemo } from './support/demo.js'
import { createTempFolder, startNode } from './support/program.js'

const program = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

/** Runs it to its end. */
function run(t: Test, args: string[], env: Record<string, string> = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>(resolve => {
    const options = { env: { PATH: process.env.PATH, HOME: createTempFolder(t), ...env } }
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
}

t.test('without words, and with --help, it says what there is', async t => {
  for (const args of [[], ['--help'], ['-h'], ['help'], ['check', '--help'], ['users', 'prune', '-h']]) {
    t.match(await run(t, args), { code: 0, stdout: /serve --config FILE/, stderr: '' })
  }
  t.match(await run(t, ['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
  t.match(await run(t, ['settings']), {
    code: 0,
    stdout: /listen\.port .*\n.*--listen-port {2}MONGO_IAM_PROXY_LISTEN_PORT/,
  })
})

t.test('what cannot be understood is exit 64 and a sentence', async t => {
  for (const [args, said] of [
    [['serv'], /there is no command serv/],
    [['constructor'], /there is no command constructor/],
    [['serve', '--prot', '1'], /there is no flag --prot/],
    [['serve', 'proxy.yaml'], /what is proxy\.yaml\?/],
    [['users'], /users wants a word: prune/],
    [['users', 'drop'], /users takes prune, and not drop/],
    [['users', 'prune', 'x'], /what is x\?/],
    [['demo', '--port', 'x'], /--port wants a number/],
    [['demo', '--sts-quota', '0'], /--sts-quota wants a number from 1/],
  ] as const) {
    const { code, stderr } = await run(t, [...args])
    t.equal(code, 64, args.join(' '))
    t.match(stderr, said)
    t.notMatch(stderr, /\n {4}at /, 'no stack')
  }
})

t.test('a wrong configuration is exit 78 and every problem at once', async t => {
  const file = fileURLToPath(new URL('support/wrong.yaml', import.meta.url))
  for (const command of ['serve', 'check']) {
    const { code, stderr } = await run(t, [command, '--config', file], {
      MONGO_IAM_PROXY_LOG_LEVEL: 'loud',
      ALICE: 'x',
    })
    t.equal(code, 78)
    for (const said of [
      /listen\.prot: there is no such setting/,
      /log\.level: /,
      /tls: needed on 0\.0\.0\.0/,
      /users\[0\]\.maxAge: .*wrong\.yaml:5\)/,
      /users, rule 2: .*wildcard.*wrong\.yaml:6\)/,
      /upstream\.uri: /,
    ]) {
      t.match(stderr, said)
    }
  }
  t.match(await run(t, ['serve', '--config', '/nowhere.yaml']), {
    code: 78,
    stderr: /there is no such file \(from \/nowhere\.yaml\)/,
  })
})

t.test('a busy port is exit 69 and a sentence', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  for (const flags of [
    ['--port', `${port}`, '--admin-port', '0'],
    ['--port', '0', '--admin-port', `${port}`],
  ]) {
    const { code, stderr } = await run(t, ['demo', ...flags])
    t.equal(code, 69)
    t.match(stderr, new RegExp(`the address to listen on is taken or not ours: 127\\.0\\.0\\.1:${port}`))
    t.notMatch(stderr, /\n {4}at /, 'no stack')
  }
})

t.test('check says what is fine and what is not', async t => {
  const { ready } = await startDemo(t)
  const sts = new URL(ready.sts).host
  const { username, password, host } = new URL(ready.upstream)
  const args = ['--admin-port', '0', '--upstream-uri', `mongodb://${host}/`, '--upstream-admin-uri', ready.upstream]
  const home = createTempFolder(t)
  const file = `${home}/proxy.yaml`
  writeFileSync(
    file,
    JSON.stringify({
      sts: { insecure: true, hosts: [{ host: 'sts.us-east-1.amazonaws.com', connect: sts }] },
      users: [
        { arn: 'arn:aws:iam::123456789012:user/a', user: decodeURIComponent(username), passwordEnv: 'RIGHT' },
        { arn: 'arn:aws:iam::123456789012:user/b', user: 'root', passwordEnv: 'WRONG' },
      ],
    }),
  )
  const { code, stdout } = await run(t, ['check', '--config', file, ...args], {
    RIGHT: decodeURIComponent(password),
    WRONG: 'no',
  })
  t.equal(code, 78)
  t.match(stdout, /^ok {4}upstream 127\.0\.0\.1:\d+: answers, version /m)
  t.match(stdout, /^ok {4}LDAP authorization: off/m)
  t.match(stdout, /^ok {4}user root@admin \(.*user\/a\): logs in/m)
  t.match(stdout, /^FAIL {2}user root@admin \(.*user\/b\): .*did not accept the database user/m)
  t.match(stdout, /^ok {4}STS sts\.us-east-1\.amazonaws\.com: answers/m)
})

t.test('explain says who somebody is here, and takes one ARN', async t => {
  const file = `${createTempFolder(t)}/proxy.yaml`
  const users = [{ arn: 'arn:aws:iam::123456789012:role/R', user: 'app', passwordEnv: 'PASSWORD' }]
  writeFileSync(file, JSON.stringify({ upstream: { uri: 'mongodb://127.0.0.1:1/' }, users }))
  const explain = (...args: string[]) => run(t, ['explain', ...args, '--config', file], { PASSWORD: 'x' })
  const known = await explain('arn:aws:sts::123456789012:assumed-role/R/any')
  t.equal(known.code, 0)
  t.match(known.stdout, /^decided by +rule 1 of users.*\ndatabase user +app@admin$/m)
  const stranger = await explain('arn:aws:iam::210987654321:role/R')
  t.equal(stranger.code, 0)
  t.match(stranger.stdout, /^refused .*\nnearest +rule 1 names role\/R.*another account/m)
  t.equal((await explain()).code, 64)
  t.equal((await explain('alice')).code, 64)
})

/** A client that is logged in and waits for an answer that takes ten seconds. */
async function waiting(t: Test, { uri, alice }: Demo): Promise<{ answered: Promise<unknown> }> {
  const { MongoClient } = await loadDriver('mongodb7')
  const client = new MongoClient(uri('&directConnection=true'), {
    monitorCommands: true,
    serverSelectionTimeoutMS: 500, // its close wants to end its sessions, and there will be no server
    authMechanismProperties: { AWS_CREDENTIAL_PROVIDER: async () => alice as never },
  })
  t.teardown(() => client.close())
  const admin = client.db('admin')
  const { topologyVersion } = await admin.command({ hello: 1 }, { promoteLongs: false })
  const started = once(client, 'commandStarted')
  const answered = admin.command({ hello: 1, topologyVersion, maxAwaitTimeMS: 3_000 }).catch(error => error)
  await started
  return { answered }
}

t.test('the first line of demo --json is the contract, and nothing else goes to stdout', async t => {
  const { child, exited } = startNode(t, [program, 'demo', '--json', '--port', '0', '--admin-port', '0'])
  let out = ''
  child.stdout.on('data', chunk => {
    out += chunk
  })
  while (!out.includes('\n')) await once(child.stdout, 'data')
  const ready = JSON.parse(out)
  t.same(Object.keys(ready), ['event', 'proxy', 'admin', 'sts', 'upstream', 'principals'])
  t.match(ready, {
    event: 'ready',
    proxy: { host: '127.0.0.1', port: Number },
    admin: /^http:\/\/127\.0\.0\.1:\d+$/,
    upstream: /^mongodb:\/\/root:.+@127\.0\.0\.1:\d+\/\?authSource=admin$/,
  })
  t.match(ready.principals[0], {
    arn: 'arn:aws:iam::123456789012:user/alice',
    accessKeyId: /^AKIA/,
    user: 'alice',
    roles: ['readWrite@app'],
  })
  const role = ready.principals.find((each: { user: string }) => each.user === 'orders-api')
  t.match(role, {
    arn: 'arn:aws:iam::123456789012:role/orders-api',
    accessKeyId: /^ASIA/,
    sessionToken: String,
    roles: ['read@app'],
  })
  const calls = await (await fetch(`${ready.sts}/sandbox/calls`)).json()
  t.match(calls, { GetCallerIdentity: 0, AssumeRole: 0, throttled: 0 })
  t.equal((await fetch(`${ready.admin}/readyz`)).status, 200)
  child.kill('SIGTERM')
  t.equal(await exited, 0)
  t.equal(out.split('\n').length, 2)
})

t.test('SIGTERM lets what runs finish and exits with 0', async t => {
  const running = await startDemo(t)
  const { answered } = await waiting(t, running)
  const code = running.stop()
  t.match(await answered, { ok: 1 })
  t.equal(await code, 0)
})

t.test('a second signal stops at once', async t => {
  const running = await startDemo(t)
  const { answered } = await waiting(t, running)
  running.stop()
  while (!running.log.some(line => line.event === 'draining')) await new Promise(resolve => setImmediate(resolve))
  t.equal(await running.stop(), 0)
  t.match(await answered, { message: String }, 'the operation was cut')
})
