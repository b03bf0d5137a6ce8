import t from 'tap'
import { Secret } from '../../src/log.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { memberHello, scriptedMongod, silence, startScriptedUpstream } from '../support/scriptedUpstream.js'
import { waitUntil } from '../support/waitUntil.js'

const REPLICA_SET_FIELDS = ['hosts', 'setName', 'setVersion', 'secondary', 'primary', 'me', 'electionId', 'lastWrite']
const hello = memberHello(Object.fromEntries(['topologyVersion', ...REPLICA_SET_FIELDS].map(name => [name, undefined])))
const user = { name: 'root', db: 'admin', password: 'hunter2' }

t.test('the client connects and logs in with its first command', async t => {
  const upstream = await startScriptedUpstream(
    t,
    scriptedMongod({
      user,
      hello,
      other: ({ name }) => (name === 'buildInfo' ? { modules: [], ok: 1 } : { ok: 0, code: 13 }),
    }),
  )
  const client = createAdminClient(new Secret(upstream.uri.replace('//', '//root:hunter2@')))
  t.equal(upstream.accepted(), 0)
  t.match(await client.runCommand({ buildInfo: 1 }), { modules: [], ok: 1 })
  t.match(await client.runCommand({ getCmdLineOpts: 1 }), { ok: 0, code: 13 }, 'an error is a reply')
  t.match(upstream.received.find(({ name }) => name === 'getCmdLineOpts')?.db, 'admin')
  await client.close()
  t.equal((await faultOfAsync(() => client.runCommand({ ping: 1 })))?.kind, 'proxy/shutdown')
})

t.test('a failed login is the reply to every command', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod({ user, hello }))
  const client = createAdminClient(new Secret(upstream.uri.replace('//', '//root:wrong@')))
  t.match(await client.runCommand({ buildInfo: 1 }), { ok: 0, code: 18 })
  await client.close()
})

t.test('a command to an upstream that is down throws upstream/unreachable', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod())
  await upstream.stop()
  const client = createAdminClient(new Secret(upstream.uri), { serverSelectionTimeoutMS: 20 })
  const fault = await faultOfAsync(() => client.runCommand({ ping: 1 }))
  t.equal(fault?.kind, 'upstream/unreachable')
  await client.close()
})

t.test('a client whose first connection failed connects once the upstream is back', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod({ hello }))
  await upstream.stop()
  const client = createAdminClient(new Secret(upstream.uri), { serverSelectionTimeoutMS: 1_000 })
  t.equal((await faultOfAsync(() => client.runCommand({ ping: 1 })))?.kind, 'upstream/unreachable')
  await upstream.start()
  await waitUntil(async () => (await faultOfAsync(() => client.runCommand({ ping: 1 }))) === undefined)
  t.match(await client.runCommand({ ping: 1 }), { ok: 1 })
  await client.close()
})

t.test('an invalid connection string throws config/invalid and is not repeated', async t => {
  const client = createAdminClient(new Secret('mongodb://root:hunter2@h/?tls=perhaps'))
  const fault = await faultOfAsync(() => client.runCommand({ ping: 1 }))
  t.equal(fault?.kind, 'config/invalid')
  t.notMatch(JSON.stringify([fault?.message, fault?.facts]), 'hunter2')
  await client.close()
  t.equal(
    faultOf(() => createAdminClient(new Secret('the connection string is not parsed yet'))),
    undefined,
  )
})

t.test('a client for one member connects to it directly, whatever the connection string says', async t => {
  const secondary = memberHello({ isWritablePrimary: false, secondary: true, hosts: ['a.example.com:1'] })
  const upstream = await startScriptedUpstream(
    t,
    scriptedMongod({
      user,
      hello: secondary,
      other: ({ name }) => (name === 'buildInfo' ? { modules: [], ok: 1 } : { ok: 0 }),
    }),
  )
  for (const uri of [
    'mongodb://root:hunter2@b.example.com,c.example.com/?replicaSet=rs0',
    'mongodb+srv://root:hunter2@rs.example.com/?tls=false&srvMaxHosts=2',
  ]) {
    const client = createAdminClient(new Secret(uri))
    const member = client.forMember(upstream.target.address)
    t.match(await member.runCommand({ buildInfo: 1 }), { modules: [], ok: 1 }, uri)
    await member.close()
    await client.close()
  }
})

t.test('a command behind others that hang fails after the wait queue timeout', async t => {
  const upstream = await startScriptedUpstream(
    t,
    scriptedMongod({ user, hello, other: ({ name }) => (name === 'createUser' ? silence : { ok: 1 }) }),
  )
  const uri = new Secret(upstream.uri.replace('//', '//root:hunter2@'))
  const client = createAdminClient(uri, { maxPoolSize: 1, waitQueueTimeoutMS: 20 })
  // On a busy machine the first connection takes longer than the wait queue timeout. The next command finds it idle.
  while (
    !(await client.runCommand({ ping: 1 }).then(
      () => true,
      () => false,
    ))
  );
  const hanging = faultOfAsync(() => client.runCommand({ createUser: 'x' }))
  await upstream.waitForCommands(1, 'createUser')
  t.match(await faultOfAsync(() => client.runCommand({ ping: 1 })), {
    kind: 'upstream/unreachable',
    facts: { code: 'MongoWaitQueueTimeoutError' },
  })
  await client.close()
  await hanging
})
