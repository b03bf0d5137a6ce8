/**
 * The Go drivers at ECS, EC2 and STS. It runs in the network of support/networkNamespace.ts, where `credentials.ts` starts it: the
 * sandbox listens at AWS's own addresses there.
 *
 * These drivers take a session for over when five minutes of it are left, and then ask for the next one.
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
import { keysOf, logins } from '../support/logins.js'
import { goClient, type Program, provided } from '../support/toolchains.js'

/** With `caches` a driver asks once for as long as a session is good, otherwise at each login. */
const drivers = {
  'Go 2': { folder: 'go-v2', caches: true },
  'Go 1': { folder: 'go-v1', caches: false },
} as const

const places: Record<string, (t: Test, home: TestProxy, seconds: number) => Promise<CredentialSource>> = {
  async ECS(t, home, seconds) {
    const endpoints = await listening(t, home, '169.254.170.2', seconds)
    const env = { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: endpoints.addEcsTask(ordersRole(home)) }
    return { env, session: /^[0-9a-f]{32}$/, requestCount: () => endpoints.issuedKeys().length }
  },

  async EC2(t, home, seconds) {
    const endpoints = await listening(t, home, '169.254.169.254', seconds)
    endpoints.setInstanceRole(ordersRole(home))
    return { env: {}, session: /^i-0[0-9a-f]{16}$/, requestCount: () => endpoints.issuedKeys().length }
  },

  /** At https://sts.amazonaws.com, which in this network is the STS of the house. */
  async 'EKS web identity'(t, home, seconds) {
    const file = fileURLToPath(new URL('../../support/tls/sts.pem', import.meta.url))
    const pem = readFileSync(file)
    const front = createServer({ key: pem, cert: pem }, socket => {
      const inner = connect(home.sts.port, '127.0.0.1')
      socket.pipe(inner).pipe(socket)
      for (const [one, other] of [
        [socket, inner],
        [inner, socket],
      ] as const) {
        one.on('error', () => {})
        one.on('close', () => other.destroy())
      }
    }).listen(443, '127.0.0.1')
    await once(front, 'listening')
    t.teardown(() => front.close())
    const source = await credentialSources['EKS web identity'](t, home, seconds)
    return { ...source, env: { ...source.env, SSL_CERT_FILE: file } }
  },
}

const situations = [
  ['a session that is about to end is followed by another', 303, 3_500, 2],
  ['a session that is good is used again', 3_600, 800, 1],
] as const

for (const [name, { folder, caches }] of Object.entries(drivers)) {
  const { what: program, skip } = await provided(() => goClient(folder))
  t.test(name, { skip }, async t => {
    t.jobs = 3 // an address each
    for (const [place, enter] of Object.entries(places)) {
      t.test(place, { buffered: true }, async t => {
        for (const [what, seconds, ms, keys] of situations) {
          await t.test(what, async t => {
            const home = await startTestProxy(t)
            const { env, session, requestCount } = await enter(t, home, seconds)
            const all = await logins(t, home, program as Program, env, [ms])
            for (const login of all) t.match(login, { error: undefined, session })
            t.equal(requestCount(), caches ? keys : 2, 'so often credentials were asked for')
            // STS gives another session to each who asks.
            t.equal(keysOf(all), place === 'EKS web identity' ? requestCount() : keys)
          })
        }
      })
    }
  })
}

async function listening(t: Test, home: TestProxy, host: string, seconds: number): Promise<CredentialEndpoints> {
  const endpoints = await startCredentialEndpoints({ iam: home.iam, host, port: 80, seconds })
  t.teardown(() => endpoints.close())
  return endpoints
}
