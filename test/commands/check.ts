import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { startSts } from '../../sandbox/src/aws/sts.js'
import { startReplicaSet } from '../../sandbox/src/mongo/replicaSet.js'
import { loadWithPolicy } from '../../src/app/policy.js'
import { type CheckOptions, check } from '../../src/commands/check.js'
import { type Finding, formatFinding } from '../../src/commands/findings.js'
import { Secret } from '../../src/log.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { createTempFolder } from '../support/program.js'
import { scriptedMongod, startScriptedUpstream } from '../support/scriptedUpstream.js'
import { waitUntil } from '../support/waitUntil.js'

const root = { name: 'root', password: 'of the set' }
const formatFindings = (findings: Finding[]) => findings.map(finding => formatFinding(finding).replace(/ +/, ' '))

const DENY_FILE = '- arn:aws:iam::123456789012:user/a\n...\n'

/** A replica set of three members, and `check` for a proxy in front of it. `more`: settings, or what makes them of a member. */
async function startCheck(t: Test, more: object | ((member: string) => object) = {}) {
  const sts = await startSts({ iam: createIam({ random: randomBytes, now: Date.now }) })
  t.teardown(() => sts.close())
  const set = await startReplicaSet({ now: Date.now, random: randomBytes, root })
  t.teardown(() => set.close())
  const [first] = set.members()
  const file = JSON.stringify({
    upstream: { uri: `mongodb://${first?.host}/`, admin: { uri: set.uri() } },
    sts: { insecure: true, hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${sts.port}` }] },
    users: [{ arn: 'arn:aws:iam::123456789012:user/a', user: 'root', passwordEnv: 'PASSWORD' }],
    ...(typeof more === 'function' ? more(`${first?.host}`) : more),
  })
  const readFile = (path: string) => ({
    bytes: path.endsWith('.pem') ? readFileSync(path) : Buffer.from(path === '/deny.yaml' ? DENY_FILE : file),
    mode: 0o600,
  })
  const config = loadWithPolicy({ file: 'x', args: {}, env: { PASSWORD: root.password }, readFile })
  return { set, run: async (options?: CheckOptions) => formatFindings(await check(config, options)) }
}

t.test('every member of a replica set is checked, and the primary is named', async t => {
  const { set, run } = await startCheck(t)
  const lines = await run()
  for (const { host } of set.members())
    t.ok(lines.some(line => line.startsWith(`ok upstream ${host}: answers, version`)))
  t.ok(lines.includes(`ok primary: ${set.primary()?.host}`))
  t.ok(lines.some(line => line.startsWith('ok note: ') && line.includes('readPreference=secondary')))
  t.ok(lines.some(line => line.startsWith('ok LDAP authorization: off')))
  t.ok(lines.some(line => line.startsWith('ok user root')))
})

t.test('a member that is used as a single server exposes the others', async t => {
  const { set, run } = await startCheck(t, (member: string) => ({
    upstream: { uri: `mongodb://${member}/?directConnection=true` },
  }))
  const lines = await run()
  t.ok(lines.some(line => line.startsWith('ok warning: ') && line.includes('belongs to a replica set')))
  t.ok(lines.some(line => line.startsWith(`ok upstream ${set.members()[0]?.host}: answers`)))
})

t.test('an unreachable member and a missing primary are failures', async t => {
  const { set, run } = await startCheck(t)
  const last = set.members()[2]
  if (last) await set.kill(last)
  set.stepDown()
  const lines = await run()
  t.ok(lines.some(line => line.startsWith(`FAIL upstream ${last?.host}: `)))
  t.ok(lines.some(line => line.startsWith('FAIL primary: ') && line.includes('there is no primary now')))
  t.ok(lines.some(line => line.startsWith('FAIL user root')))
})

const pem = (name: string) => fileURLToPath(new URL(`../support/tls/${name}`, import.meta.url))

t.test('the client certificate for the upstream must not be that of a database user', async t => {
  for (const [reply, line] of [
    [
      { ok: 1, user: 'CN=workload', dbname: '$external' },
      /^FAIL client certificate for the upstream: logs in as CN=workload\. Drop that user/,
    ],
    [
      { ok: 0, code: 18, errmsg: 'no such user' },
      'ok client certificate for the upstream: belongs to no database user',
    ],
  ] as const) {
    const upstream = await startScriptedUpstream(
      t,
      ({ name }) => (name === 'authenticate' ? reply : { isWritablePrimary: true, ok: 1 }),
      'upstream.pem',
    )
    const { run } = await startCheck(t, {
      upstream: {
        uri: `${upstream.uri}directConnection=true&tls=true&tlsInsecure=true&tlsCertificateKeyFile=${pem('workload.pem')}`,
      },
    })
    const lines = await run()
    t.ok(
      lines.some(text => (typeof line === 'string' ? text === line : line.test(text))),
      lines.join('\n'),
    )
    t.match(upstream.received.find(({ name }) => name === 'authenticate')?.body, {
      mechanism: 'MONGODB-X509',
      $db: '$external',
    })
  }
  const { run } = await startCheck(t)
  t.notOk(
    (await run()).some(text => text.includes('certificate')),
    'without a client certificate there is no finding',
  )
})

t.test('an unreachable upstream fails its checks and not those of STS', async t => {
  const { set, run } = await startCheck(t)
  const [first] = set.members()
  for (const member of set.members()) await set.kill(member)
  const lines = await run()
  t.ok(lines.some(line => line.startsWith(`FAIL upstream ${first?.host}: `)))
  t.ok(lines.some(line => line.startsWith('FAIL LDAP authorization: ')))
  t.ok(lines.some(line => line.startsWith('ok STS ')))
})

t.test('the directory is read, and rules and entries without effect are noted', async t => {
  const { set, run } = await startCheck(t, {
    directory: { enabled: true },
    provision: { secretFile: 'x' },
    users: [
      { arn: 'arn:aws:iam::123456789012:user/a', user: 'root', passwordEnv: 'PASSWORD', deleteAfterDate: '2026-01-01' },
      { arn: 'arn:aws:iam::123456789012:user/b', user: 'root', passwordEnv: 'PASSWORD', scopes: ['prod'] },
      { arn: 'arn:aws:iam::123456789012:role/*', user: 'root', passwordEnv: 'PASSWORD' },
      { arn: 'arn:aws:iam::123456789012:role/S', user: 'root', passwordEnv: 'PASSWORD', clientSource: ['10.0.0.1'] },
    ],
  })
  const superuser = createAdminClient(new Secret(set.uri()))
  t.teardown(() => superuser.close())
  for (const name of ['role/R', 'user/a', 'roles/x']) {
    await superuser.runCommand({ createUser: `arn:aws:iam::123456789012:${name}`, roles: [] }, '$external')
  }
  await superuser.runCommand({ createUser: 'arn:aws:sts::123456789012:assumed-role/R/admin', roles: [] }, '$external')
  const lines = await run()
  t.ok(lines.includes('ok directory: 2 principals in $external'))
  t.ok(lines.some(line => line.startsWith('ok warning: directory: ') && line.includes('names a session')))
  t.ok(lines.some(line => line.startsWith('ok warning: directory: ') && line.includes('roles/x" is ignored')))
  t.ok(lines.includes('ok note: rule 2 is for prod, and listen.scope is not set'))
  t.ok(lines.includes('ok note: rule 4 never decides: rule 3, arn:aws:iam::123456789012:role/*, comes first'))
  t.ok(lines.includes('ok note: rule 1 refuses logins since its deleteAfterDate, 2026-01-01T00:00:00.000Z'))
  for (const member of set.members()) await set.kill(member)
  t.ok((await run()).some(line => line.startsWith('FAIL directory: cannot be read: ')))
})

t.test('the directory of FerretDB 2 and rules with roles in front of it are failures', async t => {
  const user = { name: 'root', db: 'admin', password: root.password }
  const answers: Record<string, Document> = {
    buildInfo: { ok: 1, version: '7.0.77', ferretdb: { version: 'v2.5.0', package: 'docker' } },
    find: { ok: 1, cursor: { id: 0, ns: 'admin.system.users', firstBatch: [] } },
    usersInfo: { ok: 1, users: [] },
    connectionStatus: { ok: 1, authInfo: { authenticatedUsers: [{ user: 'root', db: 'admin' }] } },
    endSessions: { ok: 1 },
  }
  const hello = { ok: 1, isWritablePrimary: true, minWireVersion: 0, maxWireVersion: 21, maxMessageSizeBytes: 48e6 }
  const other = ({ name }: { name: string }) => answers[name] ?? { ok: 0, code: 59, errmsg: 'no such command' }
  const ferretdb = await startScriptedUpstream(t, scriptedMongod({ user, hello, speculates: false, other }))
  const address = `127.0.0.1:${ferretdb.port}`
  const { run } = await startCheck(t, {
    upstream: {
      uri: `mongodb://${address}/?directConnection=true`,
      admin: { uri: `mongodb://root:${encodeURIComponent(root.password)}@${address}/?authMechanism=SCRAM-SHA-256` },
    },
    directory: { enabled: true },
    provision: { secretFile: 'x' },
    users: [{ arn: 'arn:aws:iam::123456789012:user/a', roles: ['read@app'] }],
  })
  const lines = await run()
  t.ok(lines.includes(`ok upstream ${address}: answers, version 7.0.77`), lines.join('\n'))
  t.match(
    lines.find(line => line.includes(' directory: ')),
    /^FAIL directory: .*FerretDB/,
  )
  t.match(
    lines.find(line => line.includes(' provisioned users: ')),
    /^FAIL provisioned users: .*FerretDB/,
  )
})

t.test('the administrator, the roles of rules and the files of the proxy are checked', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'check-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const at = (name: string) => join(folder, name)
  const { set, run } = await startCheck(t, {
    provision: { secretFile: 'x' },
    deny: { adminFile: folder },
    pins: { file: at('none/pins.json') },
    users: [
      { arn: 'arn:aws:iam::123456789012:role/R', roles: ['nosuch@app', 'read@app'] },
      { arn: 'arn:aws:iam::123456789012:user/a', user: 'root', passwordEnv: 'PASSWORD', principalId: 'firstUse' },
    ],
  })
  const lines = await run()
  t.ok(lines.includes('ok upstream.admin: logs in as root@admin'), lines.join('\n'))
  t.ok(lines.includes('ok warning: role nosuch@app does not exist, so logins that need it fail'))
  t.notOk(lines.some(line => line.includes('role read@app does not exist')))
  t.ok(lines.some(line => line.startsWith('FAIL denials of the admin interface: ')))
  t.ok(lines.some(line => line.startsWith('FAIL pins: ')))
  const [member] = set.members()
  const wrong = await startCheck(t, {
    upstream: { uri: `mongodb://${member?.host}/`, admin: { uri: `mongodb://root:wrong@${member?.host}/` } },
  })
  t.ok((await wrong.run()).some(line => /^FAIL upstream.admin: .*Check its address, user and password/.test(line)))
})

/** Servers that accept a connection and do not do what they should. */
const FAULTY_SERVERS: Readonly<Record<string, (socket: Socket) => unknown>> = {
  'never answers': socket => socket.resume(),
  resets: socket => socket.resetAndDestroy(),
  closes: socket => socket.end(),
  'answers garbage': socket => socket.once('data', () => socket.write(randomBytes(4_096))),
  'answers with half of a frame': socket => socket.once('data', () => socket.write(Buffer.from([200, 0, 0, 0, 1, 0]))),
  'answers with half of a response': socket =>
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<')),
}

async function startFaultyServer(t: Test, onConnection: (socket: Socket) => unknown): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket.on('error', () => {}))
    onConnection(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('an STS host that does not answer as it should fails alone, and no finding is lost', async t => {
  for (const [name, onConnection] of Object.entries(FAULTY_SERVERS)) {
    const connect = await startFaultyServer(t, onConnection)
    const good = await startSts({ iam: createIam({ random: randomBytes, now: Date.now }) })
    t.teardown(() => good.close())
    const { run } = await startCheck(t, {
      sts: {
        insecure: true,
        hosts: [
          { host: 'sts.eu-west-1.amazonaws.com', connect },
          { host: 'sts.us-east-1.amazonaws.com', connect: `127.0.0.1:${good.port}` },
        ],
      },
    })
    const reported: string[] = []
    const lines = await run({ timeoutMS: 3_000, onFinding: finding => reported.push(formatFinding(finding)) })
    t.ok(
      lines.some(line => line.startsWith('FAIL STS sts.eu-west-1.amazonaws.com: ')),
      name,
    )
    t.ok(
      lines.some(line => line.startsWith('ok STS sts.us-east-1.amazonaws.com: answers')),
      name,
    )
    t.ok(lines.some(line => line.startsWith('ok user root')))
    t.notOk(lines.some(line => line.includes('bug')))
    t.equal(reported.length, lines.length, 'every finding was reported as it came')
  }
})

t.test('an upstream that does not answer as it should fails its questions, and the others are asked', async t => {
  for (const [name, onConnection] of Object.entries(FAULTY_SERVERS)) {
    const address = await startFaultyServer(t, onConnection)
    const { run } = await startCheck(t, {
      upstream: { uri: `mongodb://${address}/`, admin: { uri: `mongodb://root:x@${address}/` } },
      directory: { enabled: true },
      provision: { secretFile: 'x' },
    })
    const lines = await run({ timeoutMS: 500 })
    for (const subject of [`upstream ${address}`, 'upstream.admin', 'LDAP authorization', 'user root', 'directory']) {
      t.ok(
        lines.some(line => line.startsWith(`FAIL ${subject}`)),
        `${name}: ${subject}`,
      )
    }
    t.ok(
      lines.some(line => line.startsWith('ok STS ')),
      name,
    )
    t.notOk(
      lines.some(line => line.includes('bug')),
      lines.join('\n'),
    )
  }
})

t.test('findings are reported while a later question still waits for its answer', async t => {
  const sockets: Socket[] = []
  const connect = await startFaultyServer(t, socket => sockets.push(socket.resume()))
  const { run } = await startCheck(t, {
    sts: { insecure: true, hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect }] },
  })
  let reported = (_: string): void => {}
  const logsIn = new Promise<string>(resolve => {
    reported = line => void (line.includes('user root') && resolve(line))
  })
  const checked = run({ timeoutMS: 600_000, onFinding: finding => reported(formatFinding(finding)) })
  t.match(await logsIn, /logs in/)
  await waitUntil(() => sockets.length > 0)
  for (const socket of sockets) socket.destroy()
  t.ok((await checked).some(line => line.startsWith('FAIL STS ')))
})

t.test('a server that answers hello with an error has not rejected a user', async t => {
  const upstream = await startScriptedUpstream(t, () => ({ ok: 0, code: 1234, errmsg: 'failing' }))
  const { run } = await startCheck(t, {
    upstream: { uri: `mongodb://127.0.0.1:${upstream.port}/?directConnection=true` },
  })
  const [line] = (await run()).filter(text => text.startsWith(`FAIL upstream 127.0.0.1:${upstream.port}: `))
  t.match(line, /the member answered hello with an error.*failing/)
  t.notMatch(line, /user/)
})

/** A standalone server whose connectionStatus is `status`, with or without TLS. */
function startAdministered(t: Test, status: object, tls?: string) {
  const hello = { isWritablePrimary: true, maxWireVersion: 25, minWireVersion: 0, ok: 1 }
  const script = scriptedMongod({
    hello,
    user: { name: 'iam-proxy', db: 'admin', password: 'hunter2' },
    other: ({ name }) =>
      name === 'connectionStatus' ? { ok: 1, ...status } : { ok: 1, modules: [], version: '8.0.0' },
  })
  return startScriptedUpstream(t, script, tls)
}

t.test('the user of upstream.admin is named as far as the server names it', async t => {
  for (const [users, expected] of [
    [[{ user: 'iam-proxy', db: 'admin' }], 'ok upstream.admin: logs in as iam-proxy@admin'],
    [[{ user: 'iam-proxy' }], 'ok upstream.admin: logs in as iam-proxy'],
    [[{}], 'ok upstream.admin: logs in'],
    ['iam-proxy', /^ok upstream\.admin: connects without a login/],
    [undefined, /^ok upstream\.admin: connects without a login/],
  ] as const) {
    const upstream = await startAdministered(t, users === undefined ? {} : { authInfo: { authenticatedUsers: users } })
    const admin = { uri: `${upstream.uri.replace('//', '//iam-proxy:hunter2@')}directConnection=true` }
    const { run } = await startCheck(t, { upstream: { uri: upstream.uri, admin } })
    const [line = ''] = (await run()).filter(text => text.includes('upstream.admin'))
    t.match(line, expected)
    if (typeof expected === 'string') t.equal(line, expected)
  }
})

t.test('a certificate of the upstream that is not trusted is a failure that names the option', async t => {
  const hosts: [pem: string, options: string, expected: RegExp][] = [
    ['upstream.pem', '', /is not trusted \(.*add tlsCAFile=FILE to upstream\.uri/],
    ['selfSigned.pem', '', /is not trusted \(.*add tlsCAFile=FILE to upstream\.uri/],
    ['misnamed.pem', `&tlsCAFile=${pem('ca.pem')}`, /is for another name/],
    ['expired.pem', `&tlsCAFile=${pem('ca.pem')}`, /has expired/],
  ]
  for (const [name, options, expected] of hosts) {
    const upstream = await startAdministered(t, {}, name)
    const uri = `${upstream.uri}directConnection=true&tls=true${options}`
    const { run } = await startCheck(t, {
      upstream: { uri, admin: { uri: uri.replace('//', '//iam-proxy:hunter2@') } },
    })
    const lines = await run()
    const find = (start: string) => lines.find(line => line.startsWith(start)) ?? ''
    t.match(find('FAIL upstream 127'), expected, name)
    t.match(find('FAIL upstream.admin: ').replace('upstream.admin.uri', 'upstream.uri'), expected, name)
  }
  const plain = await startAdministered(t, {})
  const { run } = await startCheck(t, { upstream: { uri: `${plain.uri}directConnection=true&tls=true` } })
  t.ok((await run({ timeoutMS: 3_000 })).some(line => line.startsWith('FAIL upstream 127')))
})

t.test('a folder that does not exist is a failure that names the setting', async t => {
  const folder = createTempFolder(t)
  const { run } = await startCheck(t, {
    deny: { adminFile: join(folder, 'none', 'deny.yaml') },
    pins: { file: join(folder, 'none', 'pins.json') },
  })
  const lines = await run()
  for (const setting of ['pins.file', 'deny.adminFile']) {
    const [line = ''] = lines.filter(text => text.includes(setting) && text.startsWith('FAIL'))
    t.match(line, new RegExp(`${setting}: the folder ${join(folder, 'none')} does not exist; create it`))
    t.notMatch(line, /bug|ENOENT/)
  }
})

t.test('rules behind an earlier pattern, and rules whose principal is denied, are noted', async t => {
  const grant = { user: 'root', passwordEnv: 'PASSWORD' }
  const { run } = await startCheck(t, {
    deny: { file: '/deny.yaml' },
    users: [
      { arn: 'arn:aws:iam::123456789012:role/orders-*', ...grant },
      { arn: 'arn:aws:iam::123456789012:role/orders-api-*', ...grant },
      { arn: 'arn:aws:iam::123456789012:user/a', ...grant },
      { arn: 'arn:aws:iam::123456789012:role/*', ...grant },
      { sso: { permissionSet: 'Admin', account: '123456789012' }, ...grant },
    ],
  })
  const lines = await run()
  t.ok(lines.some(line => line.startsWith('ok note: rule 2 never decides: rule 1, ')))
  t.ok(lines.some(line => line.startsWith('ok note: rule 5 never decides: rule 4, ')))
  t.notOk(lines.some(line => /rule [14] never decides/.test(line)))
  t.ok(lines.some(line => line.startsWith('ok note: rule 3 admits no login: its principal is denied, by ')))
})
