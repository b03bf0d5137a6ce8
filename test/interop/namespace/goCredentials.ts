/**
 * The Go drivers with credentials from ECS, EC2 and STS. `credentials.ts` starts this file in the network namespace of
 * support/networkNamespace.ts, where the sandbox listens on the addresses of AWS.
 *
 * The Go drivers replace a session when five minutes of it remain.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { createServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { type CredentialEndpoints, startCredentialEndpoints } from '../../../sandbox/src/aws/credentialEndpoints.js'
import { type CredentialSource, credentialSources, ordersRole } from '../../support/credentialSources.js'
import { startTestProxy, type TestProxy } from '../../support/testProxy.js'
import { countAccessKeys, loginRepeatedly } from '../support/logins.js'
import { buildGoDriver, type Program, prepareOrSkip } from '../support/toolchains.js'

/** A driver that `caches` requests credentials once per session, the other one requests them for each login. */
const drivers = {
  'Go 2': { folder: 'go-v2', caches: true },
  'Go 1': { folder: 'go-v1', caches: false },
} as const

const sources: Record<string, (t: Test, proxy: TestProxy, seconds: number) => Promise<CredentialSource>> = {
  async ECS(t, proxy, seconds) {
    const endpoints = await startEndpoints(t, proxy, '169.254.170.2', seconds)
    const env = { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: endpoints.addEcsTask(ordersRole(proxy)) }
    return { env, session: /^[0-9a-f]{32}$/, requestCount: () => endpoints.issuedKeys().length }
  },

  async EC2(t, proxy, seconds) {
    const endpoints = await startEndpoints(t, proxy, '169.254.169.254', seconds)
    endpoints.setInstanceRole(ordersRole(proxy))
    return { env: {}, session: /^i-0[0-9a-f]{16}$/, requestCount: () => endpoints.issuedKeys().length }
  },

  /** In this namespace https://sts.amazonaws.com leads to the STS of the sandbox. */
  async 'EKS web identity'(t, proxy, seconds) {
    const file = fileURLToPath(new URL('../../support/tls/sts.pem', import.meta.url))
    const pem = readFileSync(file)
    const tlsTerminator = createServer({ key: pem, cert: pem }, client => {
      const sts = connect(proxy.sts.port, '127.0.0.1')
      client.pipe(sts).pipe(client)
      for (const [socket, peer] of [
        [client, sts],
        [sts, client],
      ] as const) {
        socket.on('error', () => {})
        socket.on('close', () => peer.destroy())
      }
    }).listen(443, '127.0.0.1')
    await once(tlsTerminator, 'listening')
    t.teardown(() => tlsTerminator.close())
    const source = await credentialSources['EKS web identity'](t, proxy, seconds)
    return { ...source, env: { ...source.env, SSL_CERT_FILE: file } }
  },
}

/** [test name, lifetime of a session in seconds, pause between the two logins in ms, expected number of sessions] */
const situations = [
  ['a session that is about to expire is replaced', 303, 3_500, 2],
  ['a valid session is used again', 3_600, 800, 1],
] as const

for (const [name, { folder, caches }] of Object.entries(drivers)) {
  const { value: program, skip } = await prepareOrSkip(() => buildGoDriver(folder))
  t.test(name, { skip }, async t => {
    t.jobs = 3 // each source has its own address
    for (const [sourceName, startSource] of Object.entries(sources)) {
      t.test(sourceName, { buffered: true }, async t => {
        for (const [testName, seconds, pauseMS, sessions] of situations) {
          await t.test(testName, async t => {
            const proxy = await startTestProxy(t)
            const { env, session, requestCount } = await startSource(t, proxy, seconds)
            const logins = await loginRepeatedly(t, proxy, program as Program, env, [pauseMS])
            for (const login of logins) t.match(login, { error: undefined, session })
            t.equal(requestCount(), caches ? sessions : 2, 'requests for credentials')
            // STS issues a new session for each request. ECS and EC2 return the same session while it is valid.
            t.equal(countAccessKeys(logins), sourceName === 'EKS web identity' ? requestCount() : sessions)
          })
        }
      })
    }
  })
}

async function startEndpoints(t: Test, proxy: TestProxy, host: string, seconds: number): Promise<CredentialEndpoints> {
  const endpoints = await startCredentialEndpoints({ iam: proxy.iam, host, port: 80, seconds })
  t.teardown(() => endpoints.close())
  return endpoints
}
