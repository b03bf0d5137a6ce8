import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { type LogLine, startTestProxy, type TestProxy } from '../support/testProxy.js'

const pathOf = (name: string) => fileURLToPath(new URL(`../support/tls/${name}.pem`, import.meta.url))
const textOf = (name: string) => readFileSync(pathOf(name), 'utf8')

/** A proxy that requires client certificates. */
async function startWithClientCertificates(t: Test, settings: Record<string, string> = {}) {
  const files = { crt: textOf('listener'), key: textOf('listener'), ca: textOf('clientCA') }
  const tls = { 'tls.certFile': 'crt', 'tls.keyFile': 'key', 'tls.clientCAFile': 'ca' }
  const proxy = await startTestProxy(t, { files, settings: { ...tls, ...settings } })
  const keys = proxy.session()
  /** One login of the same session with this certificate; each client has a pool of its own. */
  const login = async (certificate: string | undefined, wanted: Partial<typeof keys> = {}) => {
    const client = await proxy.client(
      'mongodb7',
      { ...keys, ...wanted },
      {
        tls: true,
        tlsCAFile: pathOf('listener'),
        ...(certificate && { tlsCertificateKeyFile: pathOf(certificate) }),
        serverSelectionTimeoutMS: 5_000,
      },
    )
    try {
      return await client.db('app').command({ connectionStatus: 1 })
    } finally {
      await client.close()
    }
  }
  return { ...proxy, login }
}
const calls = ({ sts }: TestProxy) => sts.calls().GetCallerIdentity
const isAuthenticated = (line: LogLine) => line.stage === 'authenticated'

t.test('a cached success replaces the STS call for the same client certificate, and the log says so', async t => {
  const proxy = await startWithClientCertificates(t, { 'sts.successCache': '60s' })
  await proxy.login('workload')
  const before = calls(proxy)
  const { authInfo } = await proxy.login('workload')
  t.match(authInfo.authenticatedUsers, [{ user: 'orders-api' }])
  t.equal(calls(proxy), before)
  const [first, second] = await proxy.closedLines(2, isAuthenticated)
  t.notOk('cached' in (first ?? {}))
  t.match(second, { cached: true, arn: /orders-api/ })
  await proxy.login('workload2')
  t.equal(calls(proxy), before + 1, 'another certificate is another client')
})

t.test('with the same certificate a cached success does not verify the secret key', async t => {
  const proxy = await startWithClientCertificates(t, { 'sts.successCache': '60s' })
  await proxy.login('workload')
  await proxy.login('workload', { secretAccessKey: 'not the secret' })
  await t.rejects(proxy.login('workload2', { secretAccessKey: 'not the secret' }), { code: 18 })
})

t.test('by default no success is cached', async t => {
  const proxy = await startWithClientCertificates(t)
  await proxy.login('workload')
  const before = calls(proxy)
  await proxy.login('workload')
  t.equal(calls(proxy), before + 1)
})

t.test('without a certificate of the client CA the connection fails before hello', async t => {
  const proxy = await startWithClientCertificates(t)
  for (const certificate of [undefined, 'selfSigned', 'expired']) {
    await t.rejects(proxy.login(certificate), { name: 'MongoServerSelectionError' })
  }
  t.equal(calls(proxy), 0)
})

t.test('a client that loops with an expired token costs one STS call', async t => {
  const proxy = await startTestProxy(t)
  const stale = proxy.session(-1)
  for (let i = 0; i < 5; i++) {
    const client = await proxy.client('mongodb7', stale)
    await t.rejects(client.db('app').command({ ping: 1 }), { code: 18, message: /ExpiredToken/ })
    await client.close()
  }
  t.equal(calls(proxy), 1)
})
