/**
 * Where driver 7 finds AWS credentials when nobody gives it any, from its environment alone: each source, and that it asks
 * again before a session has ended. `maxIdleTimeMS` has it log in anew without anything having failed.
 */
import t, { type Test } from 'tap'
import { installClient, runTaskWithEnvironment } from '../support/clients.js'
import { type CredentialSource, credentialSources } from '../support/credentialSources.js'
import { startTestProxy, type TestProxy } from '../support/testProxy.js'

t.setTimeout(120_000)
t.jobs = 3
await installClient('mongodb7')

const who = { do: 'command', on: 'admin', command: { connectionStatus: 1 } }
const reader = [{ user: 'orders-api', db: 'admin' }]

/** Two logins, `ms` apart: what they came to, and the access key of each as the proxy logged it. */
async function twice(t: Test, home: TestProxy, { env, session }: CredentialSource, ms: number) {
  const options = { maxPoolSize: 1, maxIdleTimeMS: 400 }
  const { steps } = await runTaskWithEnvironment(
    t,
    'mongodb7',
    { uri: home.uri, options, steps: [who, { do: 'wait', ms }, who] },
    env,
  )
  const lines = await home.closedLines(2, ({ accessKeyId }) => accessKeyId !== undefined)
  const keys = lines.map(({ accessKeyId }) => String(accessKeyId))
  for (const key of keys) t.match(home.iam.key(key)?.caller.arn.split('/')[2], session)
  return { logins: [steps[0], steps[2]], keys }
}

for (const name of ['ECS', 'EKS Pod Identity', 'EKS web identity', 'EC2'] as const) {
  t.test(`${name}: a session that has ended is followed by another`, { buffered: true }, async t => {
    const home = await startTestProxy(t)
    const source = await credentialSources[name](t, home, 3)
    const { logins, keys } = await twice(t, home, source, 3_500)
    for (const login of logins) t.match(login, { value: { reply: { authInfo: { authenticatedUsers: reader } } } })
    t.equal(new Set(keys).size, 2, 'each login with a key of its own')
    t.ok(source.requestCount() >= 2, `credentials were asked for ${source.requestCount()} times`)
    t.equal(home.sts.calls().GetCallerIdentity, 2)
  })
}

for (const name of ['ECS', 'EKS web identity', 'EC2'] as const) {
  t.test(`${name}: while a session is good, nothing is asked again`, { buffered: true }, async t => {
    const home = await startTestProxy(t)
    const source = await credentialSources[name](t, home, 3_600)
    const { logins, keys } = await twice(t, home, source, 800)
    for (const login of logins) t.match(login, { value: { reply: { authInfo: { authenticatedUsers: reader } } } })
    t.equal(new Set(keys).size, 1, 'both logins with the same key')
    t.equal(source.requestCount(), 1)
  })
}

t.test(
  "Lambda's variables: nobody follows a session that has ended, and its next login is told why",
  {
    buffered: true,
  },
  async t => {
    const home = await startTestProxy(t)
    const source = await credentialSources.Lambda(t, home, 8)
    const { logins, keys } = await twice(t, home, source, 8_100)
    t.match(logins[0], { value: { reply: { authInfo: { authenticatedUsers: reader } } } })
    t.match(logins[1], { error: { code: 18, message: /ExpiredToken/ } })
    t.equal(new Set(keys).size, 1)
  },
)
