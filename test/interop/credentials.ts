/**
 * How clients other than the Node.js driver find AWS credentials by themselves. PyMongo uses botocore, which takes the
 * endpoints from the environment. The Go drivers use the fixed addresses of AWS, so their tests run in a network namespace
 * (namespace/goCredentials.ts).
 */
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { credentialSources } from '../support/credentialSources.js'
import { startTestProxy } from '../support/testProxy.js'
import { countAccessKeys, loginRepeatedly } from './support/logins.js'
import { createNetworkNamespace } from './support/networkNamespace.js'
import { buildGoDriver, installPymongo, type Program, prepareOrSkip } from './support/toolchains.js'

t.jobs = 4 // these tests mostly wait

const clients = {
  PyMongo: await prepareOrSkip(installPymongo),
  // Build the Go drivers here: the namespace cannot reach a registry.
  'Go 2': await prepareOrSkip(() => buildGoDriver('go-v2')),
  'Go 1': await prepareOrSkip(() => buildGoDriver('go-v1')),
}
const { value: program, skip } = clients.PyMongo

const { value: namespace, skip: noNamespace } = await prepareOrSkip(createNetworkNamespace)
const namespaceTest = 'the Go drivers in a network namespace with the addresses of AWS'
if (namespace) {
  const [command, ...args] = namespace
  const file = fileURLToPath(new URL('namespace/goCredentials.ts', import.meta.url))
  t.spawn(command, [...args, process.execPath, ...process.execArgv, file], { buffered: true }, namespaceTest)
} else t.test(namespaceTest, { skip: noNamespace }, async () => {})

for (const [source, seconds, situation] of [
  ['ECS', 4, 'an expired session'],
  ['ECS', 64, 'a session that expires within a minute'],
  ['EKS Pod Identity', 4, 'an expired session'],
  ['EKS web identity', 4, 'an expired session'],
] as const) {
  t.test(`PyMongo, ${source}: ${situation} is replaced`, { skip, buffered: true }, async t => {
    const proxy = await startTestProxy(t)
    const { env, session, requestCount } = await credentialSources[source](t, proxy, seconds)
    const logins = await loginRepeatedly(t, proxy, program as Program, env, [4_500])
    for (const login of logins) t.match(login, { error: undefined, session })
    t.equal(countAccessKeys(logins), 2, 'each login has its own access key')
    t.comment(`${requestCount()} requests for credentials`)
  })
}

// If less than 12 to 20 minutes (chosen at random) remain, botocore assumes an EC2 outage and extends the session locally.
t.test('PyMongo, EC2: an expired session is refused once, and then replaced', { skip, buffered: true }, async t => {
  const proxy = await startTestProxy(t)
  const { env, session } = await credentialSources.EC2(t, proxy, 4)
  const logins = await loginRepeatedly(t, proxy, program as Program, env, [4_500, 0])
  for (const login of logins) t.match(login, { session })
  t.match(logins, [{ error: undefined }, { error: { code: 18, message: /ExpiredToken/ } }, { error: undefined }])
  t.equal(logins[1]?.key, logins[0]?.key)
  t.equal(countAccessKeys(logins), 2)
})

t.test('PyMongo, EC2: a valid session is cached', { skip, buffered: true }, async t => {
  const proxy = await startTestProxy(t)
  const { env, requestCount } = await credentialSources.EC2(t, proxy, 3_600)
  const logins = await loginRepeatedly(t, proxy, program as Program, env, [800])
  for (const login of logins) t.match(login, { error: undefined })
  t.equal(countAccessKeys(logins), 1, 'both logins have the same access key')
  t.equal(requestCount(), 1)
})

for (const [name, { value: program, skip }] of Object.entries(clients)) {
  t.test(`${name}, Lambda: an expired session from variables is not replaced`, { skip, buffered: true }, async t => {
    const proxy = await startTestProxy(t)
    const { env } = await credentialSources.Lambda(t, proxy, 8)
    const logins = await loginRepeatedly(t, proxy, program as Program, env, [8_100])
    t.match(logins, [{ error: undefined }, { error: { code: 18, message: /ExpiredToken/ } }])
    t.equal(countAccessKeys(logins), 1)
  })
}
