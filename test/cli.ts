import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { Int32 } from 'bson'
import t, { type Test } from 'tap'
import { startCommandRunner } from './support/commands.js'
import { type Demo, program, startDemo } from './support/demo.js'
import { createTempFolder, runNode } from './support/program.js'
import { logInRaw } from './support/rawLogin.js'

const run = startCommandRunner(t)

t.test('the program is a process with an exit code', async t => {
  t.match(await runNode(t, [program, '--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
  const { code, stdout, stderr } = await runNode(t, [program, 'serv'])
  t.match({ code, stdout }, { code: 64, stdout: '' })
  t.match(stderr, /there is no such command, a text of 4 characters; did you mean serve\?/)
})

t.test('without arguments and with --help, the program prints its commands', async t => {
  for (const args of [[], ['--help'], ['-h'], ['help'], ['check', '--help'], ['users', 'prune', '-h']]) {
    t.match(await run(args), { code: 0, stdout: /serve --config FILE/, stderr: '' })
  }
  t.match(await run(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
  t.match(await run(['settings']), {
    code: 0,
    stdout: /listen\.port .*\n.*--listen-port {2}MONGO_IAM_PROXY_LISTEN_PORT/,
  })
})

t.test('schema prints the JSON Schema that the documentation has', async t => {
  const page = readFileSync(new URL('../docs/reference/config.schema.json', import.meta.url), 'utf8')
  t.match(await run(['schema']), { code: 0, stdout: page, stderr: '' })
})

t.test('an invalid command line is exit code 64 and a message', async t => {
  for (const [args, message] of [
    [['serv'], /there is no such command, .*; did you mean serve\?/],
    [['constructor'], /there is no such command, a text of 11 characters\n/],
    [['serve', '--prot', '1'], /there is no such flag, a text of 6 characters/],
    [['serve', 'proxy.yaml'], /unexpected argument, a text of 10 characters/],
    [['\u001b[2J\u202e'], /there is no such command, a text of 5 characters\n/],
    [['users'], /users needs one of the subcommands prune, list, grant, revoke/],
    [['users', 'drop'], /users needs one of the subcommands prune, list, grant, revoke, got a text of 4 characters/],
    [['users', 'prune', 'x'], /unexpected argument, a text of 1 character/],
    [['demo', '--port', 'x'], /--port needs a whole number/],
    [['demo', '--upstream-uri', 'mongodb://localhost'], /the demo sets upstream\.uri itself/],
    [['demo', '--sts-quota', '0'], /--sts-quota needs a whole number, at least 1/],
  ] as const) {
    const { code, stderr } = await run([...args])
    t.equal(code, 64, args.join(' '))
    t.match(stderr, message)
    t.notMatch(stderr, /\n {4}at /, 'no stack')
  }
})

t.test('an invalid configuration is exit code 78 and lists every problem', async t => {
  const file = fileURLToPath(new URL('support/wrong.yaml', import.meta.url))
  for (const command of ['serve', 'check']) {
    const { code, stderr } = await run([command, '--config', file], {
      MONGO_IAM_PROXY_LOG_LEVEL: 'loud',
      ALICE: 'x',
    })
    t.equal(code, 78)
    for (const problem of [
      /listen: there is no such setting, a text of 4 characters; did you mean port\? \(from .*wrong\.yaml:\d+:\d+\)/,
      /log\.level: /,
      /tls: required on 0\.0\.0\.0/,
      /users\[0\]\.maxAge: .*wrong\.yaml:5:\d+\)/,
      /users, rule 2: .*wildcard.*wrong\.yaml:6:\d+\)/,
      /upstream\.uri: /,
    ]) {
      t.match(stderr, problem)
    }
  }
  t.match(await run(['serve', '--config', '/nowhere.yaml']), {
    code: 78,
    stderr: /there is no such file \(from --config, \/nowhere\.yaml\)/,
  })
})

t.test('no argument that is wrong is repeated', async t => {
  const uri = 'mongodb://root:hunter2@m/'
  for (const args of [
    ['hunter2'],
    ['serve', 'hunter2'],
    ['serve', '-hunter2'],
    ['serve', `--${uri}`],
    ['serve', `--upstream-uri:${uri}`],
    ['serve', '--config', 'hunter2'],
    ['serve', '--config', uri],
    ['check', '--log-level', uri],
    ['serve', '--upstream-uri', 'mongodb://localhost/', '--listen-host', 'hunter2'],
    ['explain', 'hunter2', '--upstream-uri', 'mongodb://localhost/'],
    ['explain', uri, 'hunter2'],
    ['users', 'hunter2'],
    ['users', 'prune', 'hunter2'],
    ['demo', '--port', 'hunter2'],
    ['demo', '--sts-quota', uri],
    ['settings', 'hunter2'],
  ]) {
    const { code, stdout, stderr } = await run(args)
    t.ok(code !== 0 && stderr.length > 0, args.join(' '))
    t.notMatch(`${stdout}${stderr}`, /hunter2/, args.join(' '))
  }
})

t.test('--require-end-mark refuses a file that may have been cut', async t => {
  const file = `${createTempFolder(t)}/proxy.yaml`
  writeFileSync(file, 'upstream: { uri: mongodb://127.0.0.1:1/ }\n')
  for (const command of [['serve'], ['check'], ['explain', 'arn:aws:iam::123456789012:role/R']]) {
    const { code, stderr } = await run([...command, '--config', file, '--require-end-mark'])
    t.equal(code, 78, command.join(' '))
    t.match(stderr, /may have been cut: it does not end in a line of three dots \(\.\.\.\)/)
  }
  writeFileSync(file, 'upstream: { uri: mongodb://127.0.0.1:1/ }\n...\n')
  const { code } = await run(['explain', 'arn:aws:iam::123456789012:role/R', '--config', file, '--require-end-mark'])
  t.equal(code, 0)
})

t.test('a port in use is exit code 69 and a message', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  for (const flags of [
    ['--port', `${port}`, '--admin-port', '0'],
    ['--port', '0', '--admin-port', `${port}`],
  ]) {
    const { code, stderr } = await run(['demo', ...flags])
    t.equal(code, 69)
    t.match(stderr, new RegExp(`the address to listen on is in use or not available: 127\\.0\\.0\\.1:${port}`))
    t.notMatch(stderr, /\n {4}at /, 'no stack')
  }
})

t.test('explain takes one ARN and shows the rule that decides', async t => {
  const file = `${createTempFolder(t)}/proxy.yaml`
  const users = [{ arn: 'arn:aws:iam::123456789012:role/R', user: 'app', passwordEnv: 'PASSWORD' }]
  writeFileSync(file, JSON.stringify({ upstream: { uri: 'mongodb://127.0.0.1:1/' }, users }))
  const explain = (...args: string[]) => run(['explain', ...args, '--config', file], { PASSWORD: 'x' })
  const known = await explain('arn:aws:sts::123456789012:assumed-role/R/any')
  t.equal(known.code, 0)
  t.match(known.stdout, /^decided by +rule 1 of users.*\ndatabase user +app@admin$/m)
  const unmatched = await explain('arn:aws:iam::210987654321:role/R')
  t.equal(unmatched.code, 0)
  t.match(unmatched.stdout, /^refused .*\nnearest miss +rule 1 names role\/R.*another account/m)
  t.equal((await explain()).code, 64)
  t.equal((await explain('alice')).code, 64)
})

t.test('one demo', async t => {
  const running = await startDemo(t)
  const { ready } = running

  t.test('the first line of demo --json is the contract', async t => {
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
    const role = ready.principals.find(({ user }) => user === 'orders-api')
    t.match(role, {
      arn: 'arn:aws:iam::123456789012:role/orders-api',
      accessKeyId: /^ASIA/,
      sessionToken: String,
      roles: ['read@app'],
    })
    const calls = await (await fetch(`${ready.sts}/sandbox/calls`)).json()
    t.match(calls, { GetCallerIdentity: 0, AssumeRole: 0, throttled: 0 })
    t.equal((await fetch(`${ready.admin}/readyz`)).status, 200)
  })

  t.test('check reports what works and what fails', async t => {
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
    const { code, stdout } = await run(['check', '--config', file, ...args], {
      RIGHT: decodeURIComponent(password),
      WRONG: 'no',
    })
    t.equal(code, 78)
    t.match(stdout, /^ok {4}upstream 127\.0\.0\.1:\d+: answers, version /m)
    t.match(stdout, /^ok {4}LDAP authorization: off/m)
    t.match(stdout, /^ok {4}user root@admin \(.*user\/a\): logs in/m)
    t.match(stdout, /^FAIL {2}user root@admin \(.*user\/b\): .*rejected the database user/m)
    t.match(stdout, /^ok {4}STS sts\.us-east-1\.amazonaws\.com: answers/m)
  })

  t.test('SIGTERM lets a running operation finish and exits with 0, and nothing else went to stdout', async t => {
    const { answered } = await startOperation(t, running, 1_000)
    const code = running.stop()
    t.match(await answered, { ok: 1 })
    t.equal(await code, 0)
    t.equal(running.stdout().split('\n').length, 2)
  })
})

t.test('a second signal stops at once', async t => {
  const running = await startDemo(t)
  const { answered } = await startOperation(t, running, 600_000)
  running.stop()
  await running.logged(({ event }) => event === 'draining')
  t.equal(await running.stop(), 0)
  t.equal(await answered, 'closed', 'the operation was interrupted')
})

/** Has a client that is logged in wait for a reply: a hello that the proxy holds for `ms`, unless something changes. */
async function startOperation(t: Test, { ready, alice }: Demo, ms: number): Promise<{ answered: Promise<unknown> }> {
  const { reply, connection } = await logInRaw(t, ready.proxy.port, alice)
  if (reply.done !== true) throw new Error(`the login failed: ${reply.errmsg}`)
  connection.socket.on('error', () => {})
  const closed = new Promise<string>(resolve => connection.socket.once('close', () => resolve('closed')))
  const { topologyVersion } = await connection.ask({ hello: 1, $db: 'admin' })
  const hello = { hello: 1, topologyVersion, maxAwaitTimeMS: new Int32(ms), $db: 'admin' }
  return { answered: Promise.race([connection.ask(hello), closed]) }
}

/** A configuration in a folder of its own, all of whose secrets are missing. */
function writeWithoutSecrets(t: Test, more: object = {}) {
  const folder = createTempFolder(t)
  const file = `${folder}/proxy.yaml`
  const tls = new URL('support/tls/', import.meta.url)
  const settings = {
    listen: { host: '0.0.0.0', advertise: 'proxy.example.com:27017' },
    tls: { certFile: fileURLToPath(new URL('listener.pem', tls)), keyFile: `${folder}/none.key` },
    upstream: {
      uri: `mongodb://127.0.0.1:1,127.0.0.1:2/?tls=true&tlsCertificateKeyFile=${folder}/none.pem`,
      admin: { uriFile: `${folder}/none.uri` },
    },
    admin: { tokenFile: `${folder}/none.token` },
    provision: { secretFile: `${folder}/none.secret` },
    users: [
      { arn: 'arn:aws:iam::123456789012:user/a', user: 'a', passwordFile: `${folder}/none.password` },
      { arn: 'arn:aws:iam::123456789012:user/b', user: 'b', passwordEnv: 'NONE' },
      { arn: 'arn:aws:iam::123456789012:role/R', roles: ['read@app'] },
    ],
    ...more,
  }
  writeFileSync(file, JSON.stringify(settings))
  return { file, folder, settings }
}
const linesOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))

t.test('check --offline needs no secret and no server, and validates the rest', async t => {
  const { file, folder } = writeWithoutSecrets(t)
  t.match(await run(['check', '--offline', '--config', file]), {
    code: 0,
    stdout: /^ok {4}configuration: valid, without its secret files/m,
    stderr: '',
  })
  t.equal((await run(['check', '--config', file])).code, 78, 'online, the secrets are missing')
  const { file: fromFile } = writeWithoutSecrets(t, {
    upstream: { uriFile: `${folder}/no.uri`, admin: { uriFile: `${folder}/no.admin` } },
  })
  t.equal((await run(['check', '--offline', '--config', fromFile])).code, 0)
  for (const [more, expected] of [
    [{ users: [{ arn: 'arn:aws:iam::123456789012:role/R', roles: ['read'] }] }, /names no database/],
    [{ users: [{ arn: 'arn:aws-cn:iam::123456789012:role/R', roles: ['read@app'] }] }, /partition aws-cn/],
    [{ deny: { file: `${folder}/none.yaml` } }, /deny\.file: cannot read/],
    [{ tls: { certFile: `${folder}/none.crt`, keyFile: `${folder}/none.key` } }, /tls\.certFile: cannot read/],
    [{ upstream: { uri: 'mongodb://127.0.0.1:1/?compressors=zlib', admin: { uriFile: '/none' } } }, /compressors/],
    [{ sts: { hosts: ['eu-west-1'] } }, /write sts\.eu-west-1\.amazonaws\.com/],
  ] as const) {
    const { file } = writeWithoutSecrets(t, more)
    const { code, stderr } = await run(['check', '--offline', '--config', file])
    t.equal(code, 78, `${expected}`)
    t.match(stderr, expected)
  }
})

t.test('check --json prints a finding in each line, and a summary at the end', async t => {
  const { file } = writeWithoutSecrets(t, { pins: { file: '/none/pins.json' } })
  const { code, stdout, stderr } = await run(['check', '--offline', '--json', '--config', file])
  t.match({ code, stderr }, { code: 0, stderr: '' })
  const lines = linesOf(stdout)
  const findings = lines.slice(0, -1)
  for (const finding of findings) {
    t.same(Object.keys(finding), ['version', 'type', 'level', 'question', 'text'])
    t.match(finding, { version: 1, type: 'finding', level: /^(ok|note|warning|failure)$/, text: /./ })
    t.notMatch(finding.text, /^(note|warning): /)
  }
  t.ok(findings.some(({ level, question }) => level === 'warning' && question === 'pins'))
  const counts = (level: string) => findings.filter(finding => finding.level === level).length
  t.same(lines.at(-1), {
    version: 1,
    type: 'summary',
    ok: true,
    findings: { ok: counts('ok'), note: counts('note'), warning: counts('warning'), failure: 0 },
  })
})

t.test('check --json prints the problems of an invalid configuration as findings', async t => {
  const { file } = writeWithoutSecrets(t, { sts: { hosts: ['eu-west-1'] }, listen: { prot: 1 } })
  const { code, stdout, stderr } = await run(['check', '--offline', '--json', '--config', file])
  t.match({ code, stderr }, { code: 78, stderr: '' })
  const lines = linesOf(stdout)
  t.ok(
    lines.some(
      ({ level, question, text }) => level === 'failure' && question === 'configuration' && /eu-west-1/.test(text),
    ),
  )
  t.match(lines.at(-1), { type: 'summary', ok: false, findings: { failure: lines.length - 1 } })
})

t.test('explain --json prints one document', async t => {
  const { file } = writeWithoutSecrets(t, {
    listen: {},
    tls: 'off',
    upstream: { uri: 'mongodb://127.0.0.1:1/' },
    admin: {},
    provision: {},
    users: [{ arn: 'arn:aws:iam::123456789012:user/a', user: 'a', passwordEnv: 'PASSWORD' }],
  })
  const explain = async (arn: string) => {
    const { code, stdout, stderr } = await run(['explain', arn, '--json', '--config', file], { PASSWORD: 'x' })
    t.match({ code, stderr }, { code: 0, stderr: '' })
    return JSON.parse(stdout)
  }
  t.same(await explain('arn:aws:iam::123456789012:user/a'), {
    version: 1,
    principal: 'arn:aws:iam::123456789012:user/a',
    complete: true,
    decidedBy: { rule: 1 },
    denied: false,
    details: [
      { label: 'principal', text: 'arn:aws:iam::123456789012:user/a' },
      { label: 'decided by', text: 'rule 1 of users, arn:aws:iam::123456789012:user/a' },
      { label: 'database user', text: 'a@admin' },
      { label: 'roles', text: 'unknown without upstream.admin' },
    ],
  })
  t.match(await explain('arn:aws:iam::123456789012:user/b'), { decidedBy: null, details: Array })
})

t.test('settings --json prints every setting in one document', async t => {
  const { code, stdout } = await run(['settings', '--json'])
  t.equal(code, 0)
  const { version, settings } = JSON.parse(stdout)
  t.equal(version, 1)
  const find = (path: string) => settings.find((setting: { path: string }) => setting.path === path)
  t.match(find('listen.port'), {
    flag: '--listen-port',
    variable: 'MONGO_IAM_PROXY_LISTEN_PORT',
    default: '27017',
    description: /./,
    reloaded: false,
    secret: false,
  })
  t.match(find('users'), { flag: null, variable: null, default: null, reloaded: true })
  t.match(find('upstream.uri'), { secret: true })
})

t.test('with --json, check, explain and settings end with a fault in JSON if they cannot answer', async t => {
  const { file } = writeWithoutSecrets(t, { sts: { hosts: ['eu-west-1'] }, listen: { prot: 1 } })
  const arn = 'arn:aws:iam::123456789012:user/a'
  for (const [args, expected] of [
    [['explain', arn, '--config', file], { kind: 'config/invalid', exitCode: 78, problems: /eu-west-1/ }],
    [['explain', arn, '--config', '/none.yaml'], { kind: 'config/invalid', exitCode: 78, problems: /no such file/ }],
    [['explain', 'x', '--config', file], { kind: 'config/invalid', exitCode: 78 }],
    [['explain'], { kind: 'usage', exitCode: 64, problems: /explain takes one ARN/ }],
    [['explain', arn, '--confg', file], { kind: 'usage', exitCode: 64, problems: /did you mean --config\?/ }],
    [['check', '--confg', file, '--prot', '1'], { kind: 'usage', exitCode: 64, problems: /--config.*flag/s }],
    [['check', file], { kind: 'usage', exitCode: 64, problems: /unexpected argument/ }],
    [['check', '--config'], { kind: 'usage', exitCode: 64, problems: /--config needs a value/ }],
    [['settings', 'x'], { kind: 'usage', exitCode: 64, problems: /unexpected argument/ }],
    [['settings', '--json=yes'], { kind: 'usage', exitCode: 64, problems: /--json takes no value/ }],
  ] as const) {
    const { code, stdout, stderr } = await run([...args, '--json'])
    t.match({ code, stderr }, { code: expected.exitCode, stderr: '' }, args.join(' '))
    const [fault, ...more] = linesOf(stdout)
    t.same(more, [])
    t.same(Object.keys(fault), ['version', 'type', 'kind', 'exitCode', 'message', 'problems', 'remedy'])
    t.match(
      { ...fault, problems: fault.problems.join('\n') },
      { version: 1, type: 'fault', message: /./, remedy: /./, ...expected },
      args.join(' '),
    )
  }
})

t.test('without --json, a fault is a text on stderr', async t => {
  for (const args of [['explain'], ['check', '--', '--json'], ['settings', 'x'], ['serve', '--json']]) {
    t.match(await run(args), { code: 64, stdout: '', stderr: /^mongo-iam-proxy: / }, args.join(' '))
  }
})
