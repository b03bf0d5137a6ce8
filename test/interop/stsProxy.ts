/**
 * The calls to STS through tinyproxy, a forward proxy by others (`sts.proxy`).
 *
 *     client ─▶ mongo-iam-proxy ──CONNECT──▶ tinyproxy ──▶ TLS ─▶ STS of the sandbox
 *
 * Whatever tinyproxy answers, STS is unavailable then (262). It never refuses a login (18).
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createIam } from '../../sandbox/src/aws/iam.js'
import { type StsServer, startSts } from '../../sandbox/src/aws/sts.js'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { type AwsKeys, createClient } from '../support/clients.js'
import { createTempFolder } from '../support/program.js'
import { logInRaw } from '../support/rawLogin.js'
import { ACCOUNT } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'
import { findFreePort } from './support/childProcess.js'
import { startProxyProcess } from './support/proxyProcess.js'
import { startTinyproxy } from './support/servers.js'
import { findTinyproxy, type Program, prepareOrSkip } from './support/toolchains.js'

const HOST = 'sts.amazonaws.com' // the name in the certificate
const certificateFile = fileURLToPath(new URL('../support/tls/sts.pem', import.meta.url))
const CREDENTIALS = 'egress:pa55word'

const { value: program, skip } = await prepareOrSkip(findTinyproxy)

/** `credentials`: those that the proxy sends. `url`: in place of tinyproxy's. */
type Setup = { allowedPort?: number; credentials?: string; url?: string }

/** The program behind tinyproxy, which requires credentials. `login` resolves with the authenticated
 * users, `logInOnce` with the last reply to a login. */
async function startBehindTinyproxy(t: Test, { allowedPort, credentials, url }: Setup) {
  const iam = createIam({ random: randomBytes, now: Date.now })
  const user = iam.createUser({ account: ACCOUNT, name: 'alice' })
  const keys: AwsKeys = iam.createAccessKey(user)
  const sts = await startSts({ iam })
  t.teardown(() => sts.close())
  const mongo = await startMongoServer({ now: Date.now, random: randomBytes, root: { name: 'root', password: 'r' } })
  t.teardown(() => mongo.close())
  mongo.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  const stsPort = await startTlsTerminator(t, sts)
  const tinyproxy = await startTinyproxy(t, program as Program, {
    allowedPort: allowedPort ?? stsPort,
    credentials: CREDENTIALS,
  })
  const credentialsFile = join(createTempFolder(t), 'credentials')
  if (credentials !== undefined) writeFileSync(credentialsFile, `${credentials}\n`, { mode: 0o600 })
  const proxy = await startProxyProcess(t, {
    upstream: { uri: `mongodb://127.0.0.1:${mongo.port}/`, admin: { uri: mongo.uri } },
    sts: stsPort,
    users: [{ arn: user.arn, user: 'alice', password: 'of alice' }],
    settings: {
      sts: {
        hosts: [{ host: HOST, connect: `127.0.0.1:${stsPort}` }],
        proxy: url ?? tinyproxy.url,
        ...(credentials !== undefined && { proxyCredentialsFile: credentialsFile }),
      },
    },
    env: { NODE_EXTRA_CA_CERTS: certificateFile },
  })
  const login = async (): Promise<unknown> => {
    const client = await createClient(t, 'mongodb7', proxy.uri, keys, { serverSelectionTimeoutMS: 10_000 })
    const { authInfo } = await client.db('app').command({ connectionStatus: 1 })
    return authInfo.authenticatedUsers
  }
  /** A driver would repeat a login that fails with 262. */
  const logInOnce = async (secretAccessKey = keys.secretAccessKey) =>
    (await logInRaw(t, Number(new URL(proxy.uri).port), { ...keys, secretAccessKey })).reply
  return { login, logInOnce, proxy, sts, stsPort, tinyproxy }
}

/** https for the STS of the sandbox. Resolves with its port. */
async function startTlsTerminator(t: Test, sts: StsServer): Promise<number> {
  const pem = readFileSync(certificateFile)
  const server = createServer({ key: pem, cert: pem }, client => {
    const upstream = connect(sts.port, '127.0.0.1')
    client.pipe(upstream).pipe(client)
    for (const [socket, peer] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      socket.on('error', () => {})
      socket.on('close', () => peer.destroy())
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

t.test('with the right credentials, logins are accepted and refused by STS alone', { skip }, async t => {
  const { login, logInOnce, proxy, sts, stsPort, tinyproxy } = await startBehindTinyproxy(t, {
    credentials: CREDENTIALS,
  })
  t.match(await login(), [{ user: 'alice', db: 'admin' }])
  t.equal(sts.calls().GetCallerIdentity, 1)
  await waitUntil(() => tinyproxy.log().includes(`CONNECT 127.0.0.1:${stsPort}`))
  t.match(await logInOnce('guessed'), { code: 18, errmsg: /SignatureDoesNotMatch/ })
  const { stdout } = await proxy.run('check')
  t.match(stdout, `ok    STS ${HOST}`)
})

t.test('after tinyproxy has ended, STS is unavailable until it runs again', { skip }, async t => {
  const { login, logInOnce, proxy, tinyproxy } = await startBehindTinyproxy(t, { credentials: CREDENTIALS })
  await tinyproxy.stop()
  t.match(await logInOnce(), { code: 262 })
  await waitUntil(() => /sts\.proxy: connect ECONNREFUSED/.test(proxy.stderr()))
  await tinyproxy.start()
  t.match(await login(), [{ user: 'alice', db: 'admin' }])
})

/** Each answer of tinyproxy, with the reason in the log. */
const failures: Record<string, { setup: () => Promise<Setup>; why: string }> = {
  'wrong credentials': {
    setup: async () => ({ credentials: 'egress:guessed' }),
    why: 'it answered 401 to CONNECT 127.0.0.1:PORT; check sts.proxyCredentialsFile',
  },
  'no credentials': {
    setup: async () => ({}),
    why: 'it answered 407 to CONNECT 127.0.0.1:PORT; check sts.proxyCredentialsFile',
  },
  'a port to which CONNECT is forbidden': {
    setup: async () => ({ credentials: CREDENTIALS, allowedPort: 443 }),
    why: 'it answered 403 to CONNECT 127.0.0.1:PORT; it must allow this target',
  },
  'a proxy that does not run': {
    setup: async () => ({ credentials: CREDENTIALS, url: `http://127.0.0.1:${await findFreePort()}` }),
    why: 'connect ECONNREFUSED 127.0.0.1:',
  },
}

for (const [name, { setup, why }] of Object.entries(failures)) {
  t.test(`with ${name}, STS is unavailable and no login is refused`, { skip }, async t => {
    const { logInOnce, proxy, sts, stsPort } = await startBehindTinyproxy(t, await setup())
    const reason = `sts.proxy: ${why.replace('PORT', String(stsPort))}`
    t.match(await Promise.all([logInOnce(), logInOnce('guessed')]), [{ code: 262 }, { code: 262 }]) // STS would refuse one
    await waitUntil(() => proxy.stderr().includes(reason))
    t.equal(sts.calls().GetCallerIdentity, 0)
    const { code, stdout } = await proxy.run('check')
    t.equal(code, 78)
    t.ok(stdout.includes(`FAIL  STS ${HOST}: ${reason}`), stdout)
    t.notOk(`${stdout}${proxy.stderr()}`.includes('guessed'), 'no credential is shown')
  })
}
