import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parseTarget } from '../../src/commands/doctor/target.js'
import { doctor } from '../../src/commands/doctor.js'
import { pem, readPem } from '../support/clientListener.js'
import { type AwsKeys, credentialEnvironment } from '../support/clients.js'
import { startCommandRunner } from '../support/commands.js'
import { credentialSources } from '../support/credentialSources.js'
import { program, startDemo } from '../support/demo.js'
import { createTempFolder, runNode } from '../support/program.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { startTestProxy, type TestProxy } from '../support/testProxy.js'

const run = startCommandRunner(t)

type Line = { level: string; question: string; text: string }
type Summary = { ok: boolean; cause: string | null; sentence: string }

/** Runs `doctor --json`. No secret of its environment may be in the output. */
async function examine(t: Test, args: readonly string[], env: Record<string, string>) {
  const { code, stdout, stderr } = await run(['doctor', ...args, '--json'], {
    AWS_EC2_METADATA_DISABLED: 'true',
    ...env,
  })
  t.equal(stderr, '')
  for (const name of ['AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']) {
    const secret = env[name]
    if (secret) t.notOk(stdout.includes(secret), name)
  }
  const lines: (Line & Summary)[] = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  const { ok, cause, sentence } = lines.at(-1) as Summary
  const find = (question: string) => lines.find(line => line.question === question)
  t.equal(code, ok ? 0 : 78)
  return { code, cause, sentence, find }
}

const environmentOf = (proxy: TestProxy, keys: AwsKeys) => ({
  ...credentialEnvironment(keys),
  AWS_ENDPOINT_URL_STS: proxy.sts.url,
})
const addressOf = ({ running }: TestProxy) => `127.0.0.1:${running.port}`

t.test('a login that works is exit code 0, in text and in JSON', async t => {
  const demo = await startDemo(t)
  const env = { ...credentialEnvironment(demo.orders), AWS_ENDPOINT_URL_STS: demo.ready.sts }
  const { code, sentence, find } = await examine(t, [demo.uri('app')], env)
  t.equal(code, 0)
  t.match(sentence, /^Logins work: arn:aws:sts::\d+:assumed-role\/orders-api\/demo logs in as orders-api@admin\.$/)
  t.match(find('login'), { level: 'ok', text: /read@app/ })
  t.match(find('credentials'), { level: 'ok', text: /variable AWS_ACCESS_KEY_ID/ })
  const text = await runNode(t, [program, 'doctor', demo.uri('app')], '', { env })
  t.match(text, { code: 0, stderr: '', stdout: /^ok {4}connection string: complete\n(?:.+\n)+\nLogins work: .*\n$/ })
})

t.test('each question has one finding', async t => {
  const proxy = await startTestProxy(t)
  const env = environmentOf(proxy, proxy.keyOf('alice'))
  const { stdout } = await run(['doctor', addressOf(proxy), '--json'], env)
  const questions = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line).question)
  const expected = 'dns tcp tls hello replicaSet mechanism region credentials aws clock login ldap rule'
  t.same(questions, [...expected.split(' '), undefined])
})

t.test('a wrong port is named, and AWS is asked all the same', async t => {
  const proxy = await startTestProxy(t)
  const { cause, sentence, find } = await examine(t, ['127.0.0.1:1'], environmentOf(proxy, proxy.keyOf('alice')))
  t.equal(cause, 'tcp')
  t.match(sentence, /^Logins fail: TCP to 127\.0\.0\.1:1: nothing listens there; correct the port/)
  t.match(find('aws'), { level: 'ok', text: /user\/alice/ })
  t.match(find('login'), { level: 'note', text: /no server answers/ })
})

t.test('TLS and plain connections that meet are named on both sides', async t => {
  const plain = await startTestProxy(t)
  const first = await examine(t, [addressOf(plain), '--tls'], environmentOf(plain, plain.keyOf('alice')))
  t.equal(first.cause, 'tls')
  t.match(first.sentence, /speaks no TLS on this port; remove tls=true/)
  const secure = await startTestProxy(t, { settings: { 'tls.certFile': 'pem', 'tls.keyFile': 'pem' }, files: { pem } })
  const second = await examine(t, [addressOf(secure)], environmentOf(secure, secure.keyOf('alice')))
  t.equal(second.cause, 'tls')
  t.match(second.sentence, /speaks TLS on this port; add tls=true/)
})

t.test('certificates: an unknown authority, a wrong name, an expired one; the login is then not tried', async t => {
  const folder = createTempFolder(t)
  const file = (name: string) => {
    writeFileSync(`${folder}/${name}.pem`, readPem(name))
    return `${folder}/${name}.pem`
  }
  for (const [name, ca, text] of [
    ['listener', undefined, /not trusted .*add tlsCAFile=FILE/],
    ['misnamed', 'ca', /is for elsewhere\.test, not for 127\.0\.0\.1/],
    ['expired', 'clientCA', /has expired/],
    ['listener', 'listener', undefined],
  ] as const) {
    const files = { pem: readPem(name) }
    const proxy = await startTestProxy(t, { settings: { 'tls.certFile': 'pem', 'tls.keyFile': 'pem' }, files })
    const args = [addressOf(proxy), '--tls', ...(ca === undefined ? [] : ['--tls-ca-file', file(ca)])]
    const { cause, sentence, find } = await examine(t, args, environmentOf(proxy, proxy.keyOf('alice')))
    t.equal(cause, text ? 'tls' : null, name)
    t.match(sentence, text ?? /^Logins work/)
    t.match(find('hello'), { level: 'ok' })
    if (text) t.match(find('login'), { level: 'note', text: /would send it the session token/ })
  }
})

t.test('a client certificate that the proxy requires is named', async t => {
  const folder = createTempFolder(t)
  for (const name of ['listener', 'workload']) writeFileSync(`${folder}/${name}.pem`, readPem(name))
  const settings = { 'tls.certFile': 'pem', 'tls.keyFile': 'pem', 'tls.clientCAFile': 'clientCA' }
  const proxy = await startTestProxy(t, { settings, files: { pem, clientCA: readPem('clientCA') } })
  const args = [addressOf(proxy), '--tls', '--tls-ca-file', `${folder}/listener.pem`]
  const env = environmentOf(proxy, proxy.keyOf('alice'))
  const { cause, sentence } = await examine(t, args, env)
  t.equal(cause, 'hello')
  t.match(sentence, /requires a client certificate .*add tlsCertificateKeyFile=FILE/)
  const certificate = ['--tls-certificate-key-file', `${folder}/workload.pem`]
  t.equal((await examine(t, [...args, ...certificate], env)).cause, null)
})

t.test('an address that fails is a warning if another one of the connection string works', async t => {
  const proxy = await startTestProxy(t)
  const uri = `mongodb://127.0.0.1:1,${addressOf(proxy)}/?authMechanism=MONGODB-AWS`
  const { cause, find } = await examine(t, [uri], environmentOf(proxy, proxy.keyOf('alice')))
  t.equal(cause, null)
  t.match(find('tcp'), { level: 'warning', text: /127\.0\.0\.1:1: nothing listens there/ })
})

t.test('a token that has expired is named before the login that it makes fail', async t => {
  const proxy = await startTestProxy(t)
  const env = environmentOf(proxy, proxy.session(60))
  proxy.advanceAwsClock(61_000)
  const { cause, sentence, find } = await examine(t, [addressOf(proxy)], env)
  t.equal(cause, 'aws')
  t.match(sentence, /AWS refuses the session token, which has expired; renew the session/)
  t.match(find('login'), { level: 'failure', text: /ExpiredToken/ })
})

t.test('a token whose + became a blank is named, and nothing is sent', async t => {
  const proxy = await startTestProxy(t)
  const keys = proxy.session()
  const damaged = { ...keys, sessionToken: keys.sessionToken.replaceAll('+', ' ') }
  const { cause, sentence } = await examine(t, [addressOf(proxy)], environmentOf(proxy, damaged))
  t.equal(cause, 'credentials')
  t.match(sentence, /contains a blank, which was probably a \+/)
  t.equal(proxy.sts.calls().GetCallerIdentity, 0)
})

t.test('the clock is measured against AWS', async t => {
  const proxy = await startTestProxy(t)
  proxy.advanceAwsClock(20 * 60_000)
  const { cause, sentence, find } = await examine(t, [addressOf(proxy)], environmentOf(proxy, proxy.keyOf('alice')))
  t.equal(cause, 'clock')
  t.match(sentence, /the clock of this machine is 20 minutes behind that of AWS.*synchronize/)
  t.match(find('login'), { level: 'failure' })
})

t.test('a principal without a rule is named, with the nearest rule if the configuration is given', async t => {
  const proxy = await startTestProxy(t)
  const env = environmentOf(proxy, proxy.keyOf('mallory'))
  const without = await examine(t, [addressOf(proxy)], env)
  t.equal(without.cause, 'login')
  t.match(
    without.sentence,
    /no rule matches this principal: arn:aws:iam::\d+:user\/mallory .*let its operator add this ARN/,
  )
  const config = `${createTempFolder(t)}/proxy.yaml`
  const users = [{ arn: 'arn:aws:iam::123456789012:user/malory', user: 'm', passwordFile: '/nowhere/secret' }]
  writeFileSync(config, JSON.stringify({ upstream: { uri: 'mongodb://127.0.0.1:1/' }, users }))
  const { cause, sentence } = await examine(t, [addressOf(proxy), '--config', config], env)
  t.equal(cause, 'rule')
  t.match(sentence, /no rule names this principal; nearest miss: rule 1 names user\/malory/)
  const other = await examine(t, [addressOf(proxy), '--config', config], environmentOf(proxy, proxy.keyOf('alice')))
  t.match(other.find('rule'), { level: 'warning', text: /runs with another configuration/ })
})

t.test('the name of the replica set is compared with hello, and the login is tried all the same', async t => {
  const proxy = await startReplicaSetProxy(t)
  const uri = (set: string) =>
    `mongodb://127.0.0.1:${proxy.proxy.port}/?replicaSet=${set}&authMechanism=MONGODB-AWS&authSource=%24external`
  const env = { ...credentialEnvironment(proxy.key), AWS_ENDPOINT_URL_STS: proxy.sts.url }
  const wrong = await examine(t, [uri('rs1')], env)
  t.equal(wrong.cause, 'replicaSet')
  t.match(
    wrong.sentence,
    /^A login succeeds .*but drivers may fail: .*replicaSet=rs1, .*presents rs0.*write replicaSet=rs0/,
  )
  t.equal((await examine(t, [uri('rs0')], env)).cause, null)
})

t.test('an advertised address that cannot be reached is named', async t => {
  const proxy = await startReplicaSetProxy(t, { 'listen.advertise': '127.0.0.1:1' })
  const env = { ...credentialEnvironment(proxy.key), AWS_ENDPOINT_URL_STS: proxy.sts.url }
  const { cause, sentence } = await examine(t, [`127.0.0.1:${proxy.proxy.port}`, '--replica-set', 'rs0'], env)
  t.equal(cause, 'replicaSet')
  t.match(
    sentence,
    /drivers connect to 127\.0\.0\.1:1, because hello names it.*nothing listens.*correct listen\.advertise/,
  )
})

t.test('LDAP authorization is named', async t => {
  const proxy = await startTestProxy(t, { ldapAuthorization: true })
  const { cause, sentence } = await examine(t, [addressOf(proxy)], environmentOf(proxy, proxy.keyOf('alice')))
  t.equal(cause, 'ldap')
  t.match(sentence, /LDAP authorization is on at the upstream/)
})

t.test('a login that the proxy cannot decide (262) names its reason', async t => {
  const proxy = await startTestProxy(t)
  const { cause, sentence } = await examine(t, [addressOf(proxy)], environmentOf(proxy, proxy.keyOf('bob')))
  t.equal(cause, 'login')
  t.match(
    sentence,
    /the proxy answers 262 ExceededTimeLimit: the upstream MongoDB rejected the database user.*correct the password/,
  )
})

t.test('a MongoDB without the proxy is recognized', async t => {
  const proxy = await startTestProxy(t)
  const address = `127.0.0.1:${proxy.mongo.port}`
  const { cause, sentence } = await examine(t, [address], environmentOf(proxy, proxy.keyOf('alice')))
  t.equal(cause, 'mechanism')
  t.match(sentence, /use the address of the proxy/)
})

t.test(
  'a server that accepts and never answers, and a chain that never answers, cost their own time limits',
  async t => {
    const server = createServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1')
    await new Promise(resolve => server.once('listening', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as { port: number }
    const { findings, verdict } = await doctor({
      target: parseTarget(`127.0.0.1:${port}`, {}, () => Buffer.alloc(0)),
      env: {},
      loaded: undefined,
      loadPackage: async () => ({ fromNodeProviderChain: () => () => new Promise(() => {}) }),
      limits: { network: 50, credentials: 50 },
      onFinding: () => {},
    })
    t.equal(verdict.cause, 'hello')
    t.match(findings.find(({ question }) => question === 'credentials')?.text, /the AWS SDK found none within 0\.05 s/)
  },
)

for (const name of ['ECS', 'EKS Pod Identity', 'EKS web identity', 'EC2'] as const) {
  t.test(`credentials of ${name} are found, and their source is named`, async t => {
    const proxy = await startTestProxy(t)
    const { env } = await credentialSources[name](t, proxy, 3_600)
    const { cause, find } = await examine(t, [addressOf(proxy)], { ...env, AWS_ENDPOINT_URL_STS: proxy.sts.url })
    t.equal(cause, null)
    t.match(find('credentials'), { level: 'ok', text: SOURCES[name] })
    t.match(find('aws'), { text: /assumed-role\/orders-api/ })
  })
}

const SOURCES = { ECS: /ECS or EKS/, 'EKS Pod Identity': /ECS or EKS/, 'EKS web identity': /web identity/, EC2: /EC2/ }

t.test('a missing package of the AWS SDK is exit code 78 and the line that installs it', async t => {
  const proxy = await startTestProxy(t)
  const hook = fileURLToPath(new URL('../support/withoutAwsSdk.mjs', import.meta.url))
  const { code, stdout, stderr } = await runNode(t, ['--import', hook, program, 'doctor', addressOf(proxy)])
  t.match({ code, stderr }, { code: 78, stderr: '' })
  t.match(stdout, /^FAIL {2}AWS credentials: .*run: npm install @aws-sdk\/credential-providers@\d/m)
  t.match(stdout, /^ok {4}mechanism: /m)
})

t.test('a wrong command line is exit code 64', async t => {
  for (const args of [[], ['a:1', 'b:1'], ['http://a'], ['a:1', '--log-level', 'info'], ['mongodb://a/', '--tls']]) {
    const { code, stdout } = await run(['doctor', ...args, '--json'])
    t.equal(code, 64, args.join(' '))
    t.match(JSON.parse(stdout), { type: 'fault', kind: 'usage' })
  }
})
