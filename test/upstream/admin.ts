import t from 'tap'
import { Secret } from '../../src/log.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { faultOf, faultOfAsync } from '../support/faults.js'
import { memberHello, scriptedMongod, silence, startScriptedUpstream } from '../support/scriptedUpstream.js'

const set = ['hosts', 'setName', 'setVersion', 'secondary', 'primary', 'me', 'electionId', 'lastWrite']
const hello = memberHello(Object.fromEntries(['topologyVersion', ...set].map(name => [name, undefined])))
const user = { name: 'root', db: 'admin', password: 'hunter2' }

t.test('nothing is connected before the first command; then the driver logs in and asks', async t => {
  const upstream = await startScriptedUpstream(
    t,
    scriptedMongod({
      user,
      hello,
      other: ({ name }) => (name === 'buildInfo' ? { modules: [], ok: 1 } : { ok: 0, code: 13 }),
    }),
  )
  const administrator = createAdminClient(new Secret(upstream.uri.replace('//', '//root:hunter2@')))
  t.equal(upstream.accepted(), 0)
  t.match(await administrator.runCommand({ buildInfo: 1 }), { modules: [], ok: 1 })
  t.match(await administrator.runCommand({ getCmdLineOpts: 1 }), { ok: 0, code: 13 }, 'a refusal is an answer')
  t.match(upstream.received.find(({ name }) => name === 'getCmdLineOpts')?.db, 'admin')
  await administrator.close()
  t.equal((await faultOfAsync(() => administrator.runCommand({ ping: 1 })))?.kind, 'proxy/shutdown')
})

t.test('a wrong password is the answer to every question', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod({ user, hello }))
  const administrator = createAdminClient(new Secret(upstream.uri.replace('//', '//root:wrong@')))
  t.match(await administrator.runCommand({ buildInfo: 1 }), { ok: 0, code: 18 })
  await administrator.close()
})

t.test('an upstream that is down is away', async t => {
  const upstream = await startScriptedUpstream(t, scriptedMongod())
  await upstream.stop()
  const administrator = createAdminClient(new Secret(upstream.uri), { serverSelectionTimeoutMS: 20 })
  const fault = await faultOfAsync(() => administrator.runCommand({ ping: 1 }))
  t.equal(fault?.kind, 'upstream/unreachable')
  await administrator.close()
})

t.test('a connection string that the driver cannot use is a setting, and is not shown', async t => {
  const administrator = createAdminClient(new Secret('mongodb://root:hunter2@h/?tls=perhaps'))
  const fault = await faultOfAsync(() => administrator.runCommand({ ping: 1 }))
  t.equal(fault?.kind, 'config/invalid')
  t.notMatch(JSON.stringify([fault?.message, fault?.facts]), 'hunter2')
  await administrator.close()
  t.equal(
    faultOf(() => createAdminClient(new Secret('nothing is looked at yet'))),
    undefined,
  )
})

t.test('one member is asked directly, whichever it is and whatever the connection string names', async t => {
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
    const administrator = createAdminClient(new Secret(uri))
    const there = administrator.forMember(upstream.target.address)
    t.match(await there.runCommand({ buildInfo: 1 }), { modules: [], ok: 1 }, uri)
    await there.close()
    await administrator.close()
  }
})

t.test('commands that hang keep others waiting for a while and no longer', async t => {
  const upstream = await startScriptedUpstream(
    t,
    scriptedMongod({ user, hello, other: ({ name }) => (name === 'createUser' ? silence : { ok: 1 }) }),
  )
  const uri = new Secret(upstream.uri.replace('//', '//root:hunter2@'))
  const administrator = createAdminClient(uri, { maxPoolSize: 1, waitQueueTimeoutMS: 20 })
  const hanging = faultOfAsync(() => administrator.runCommand({ createUser: 'x' }))
  await upstream.waitForCommands(1, 'createUser')
  t.match(await faultOfAsync(() => administrator.runCommand({ ping: 1 })), {
    kind: 'upstream/unreachable',
    facts: { code: 'MongoWaitQueueTimeoutError' },
  })
  await administrator.close()
  await hanging
})
