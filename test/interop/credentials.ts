/**
 * Where clients that are not Node's find AWS credentials when nobody gives them any. PyMongo (by botocore) asks where its
 * environment says; Go's drivers ask at the fixed addresses of AWS, and so in a network of their own (namespace/goCredentials.ts).
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { credentialSources } from '../support/credentialSources.js'
import { startTestProxy } from '../support/testProxy.js'
import { keysOf, logins } from './support/logins.js'
import { namespace } from './support/networkNamespace.js'
import { clients as folder, goClient, type Program, provided, python } from './support/toolchains.js'

t.jobs = 4 // they wait more than they work

const judges = {
  PyMongo: await provided(async (): Promise<Program> => [await python(), join(folder, 'pymongo/run.py')]),
  // They are built here: in there is no registry.
  'Go 2': await provided(() => goClient('go-v2')),
  'Go 1': await provided(() => goClient('go-v1')),
}
const { what: program, skip } = judges.PyMongo

const { what: network, skip: alone } = await provided(namespace)
const inside = 'in a network with the addresses of AWS'
if (network) {
  const [command, ...args] = network
  const file = fileURLToPath(new URL('namespace/goCredentials.ts', import.meta.url))
  t.spawn(command, [...args, process.execPath, ...process.execArgv, file], { buffered: true }, inside)
} else t.test(inside, { skip: alone }, async () => {})

for (const [name, seconds, what] of [
  ['ECS', 4, 'a session that has ended'],
  ['ECS', 64, 'a session that ends in a minute'],
  ['EKS Pod Identity', 4, 'a session that has ended'],
  ['EKS web identity', 4, 'a session that has ended'],
] as const) {
  t.test(`PyMongo, ${name}: ${what} is followed by another`, { skip, buffered: true }, async t => {
    const home = await startTestProxy(t)
    const { env, session, requestCount } = await credentialSources[name](t, home, seconds)
    const all = await logins(t, home, program as Program, env, [4_500])
    for (const login of all) t.match(login, { error: undefined, session })
    t.equal(keysOf(all), 2, 'each login with a key of its own')
    t.comment(`credentials were asked for ${requestCount()} times`)
  })
}

// With less than 12 to 20 minutes left, botocore believes that EC2 has nothing better and moves the end itself.
t.test(
  'PyMongo, EC2: a session that has ended is refused once, and followed by another',
  { skip, buffered: true },
  async t => {
    const home = await startTestProxy(t)
    const { env, session } = await credentialSources.EC2(t, home, 4)
    const all = await logins(t, home, program as Program, env, [4_500, 0])
    for (const login of all) t.match(login, { session })
    t.match(all, [{ error: undefined }, { error: { code: 18, message: /ExpiredToken/ } }, { error: undefined }])
    t.equal(all[1]?.key, all[0]?.key)
    t.equal(keysOf(all), 2)
  },
)

t.test('PyMongo, EC2: while a session is good, nothing is asked again', { skip, buffered: true }, async t => {
  const home = await startTestProxy(t)
  const { env, requestCount } = await credentialSources.EC2(t, home, 3_600)
  const all = await logins(t, home, program as Program, env, [800])
  for (const login of all) t.match(login, { error: undefined })
  t.equal(keysOf(all), 1, 'both logins with the same key')
  t.equal(requestCount(), 1)
})

for (const [name, { what: program, skip }] of Object.entries(judges)) {
  t.test(`${name}, Lambda's variables: nobody follows a session that has ended`, { skip, buffered: true }, async t => {
    const home = await startTestProxy(t)
    const { env } = await credentialSources.Lambda(t, home, 8)
    const all = await logins(t, home, program as Program, env, [8_100])
    t.match(all, [{ error: undefined }, { error: { code: 18, message: /ExpiredToken/ } }])
    t.equal(keysOf(all), 1)
  })
}
