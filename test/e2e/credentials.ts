/**
 * The sources from which driver 7 gets AWS credentials that nobody passes to it, from its environment alone, and that it
 * gets new ones once a session has ended. The driver's process logs in, waits for the test, and logs in again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { requireClients, runTaskWithEnvironment } from '../support/clients.js'
import { type CredentialSource, credentialSources } from '../support/credentialSources.js'
import { startHttpServer } from '../support/httpServer.js'
import { startTestProxy, type TestProxy } from '../support/testProxy.js'

await requireClients('mongodb7')
t.jobs = 3

/**
 * The clock of AWS is 10 minutes behind that of the driver, which AWS tolerates. So a session can end for the driver while
 * AWS would accept it for another 10 minutes, however slow the machine is.
 */
const AWS_BEHIND_MS = 600_000
const SESSION_MS = 3_000

const connectionStatus = { do: 'command', on: 'admin', command: { connectionStatus: 1 } }
const reader = [{ user: 'orders-api', db: 'admin' }]

/** Logs in twice, and calls `between` in between. Gives the results, and the access key of each login as logged. */
async function logInTwice(t: Test, proxy: TestProxy, { env, session }: CredentialSource, between = async () => {}) {
  const { port } = await startHttpServer(t, async response => {
    await between()
    response.end()
  })
  const waitForTest = { do: 'waitForTest', url: `http://127.0.0.1:${port}/` }
  const steps = [connectionStatus, { do: 'disconnect' }, waitForTest, { do: 'connect' }, connectionStatus]
  const task = { uri: proxy.uri, options: { maxPoolSize: 1 }, steps }
  const results = (await runTaskWithEnvironment(t, 'mongodb7', task, env)).steps
  const lines = await proxy.closedLines(2, ({ accessKeyId }) => accessKeyId !== undefined)
  const keys = lines.map(({ accessKeyId }) => String(accessKeyId))
  for (const key of keys) t.match(proxy.iam.key(key)?.caller.arn.split('/')[2], session)
  return { logins: [results[0], results[3]?.error ? results[3] : results[4]], keys }
}

for (const name of ['ECS', 'EKS Pod Identity', 'EKS web identity', 'EC2'] as const) {
  t.test(`${name}: a session that has ended is followed by another`, { buffered: true }, async t => {
    const proxy = await startTestProxy(t)
    proxy.advanceAwsClock(-AWS_BEHIND_MS)
    const source = await credentialSources[name](t, proxy, (AWS_BEHIND_MS + SESSION_MS) / 1_000)
    const { logins, keys } = await logInTwice(t, proxy, source, async () => {
      await sleep(SESSION_MS + 500)
      proxy.advanceAwsClock(AWS_BEHIND_MS)
    })
    for (const login of logins) t.match(login, { value: { reply: { authInfo: { authenticatedUsers: reader } } } })
    t.equal(new Set(keys).size, 2, 'each login with a key of its own')
    t.ok(source.requestCount() >= 2, `credentials were requested ${source.requestCount()} times`)
    t.equal(proxy.sts.calls().GetCallerIdentity, 2)
  })
}

for (const name of ['ECS', 'EKS web identity', 'EC2'] as const) {
  t.test(`${name}: a session that has not ended is used again`, { buffered: true }, async t => {
    const proxy = await startTestProxy(t)
    const source = await credentialSources[name](t, proxy, 3_600)
    const { logins, keys } = await logInTwice(t, proxy, source)
    for (const login of logins) t.match(login, { value: { reply: { authInfo: { authenticatedUsers: reader } } } })
    t.equal(new Set(keys).size, 1, 'both logins with the same key')
    t.equal(source.requestCount(), 1)
  })
}

t.test(
  "a session in Lambda's variables has no successor: once it has ended, the login is refused",
  { buffered: true },
  async t => {
    const proxy = await startTestProxy(t)
    const source = await credentialSources.Lambda(t, proxy, 600)
    const { logins, keys } = await logInTwice(t, proxy, source, async () => proxy.advanceAwsClock(601_000))
    t.match(logins[0], { value: { reply: { authInfo: { authenticatedUsers: reader } } } })
    t.match(logins[1], { error: { code: 18, message: /ExpiredToken/ } })
    t.equal(new Set(keys).size, 1)
  },
)
