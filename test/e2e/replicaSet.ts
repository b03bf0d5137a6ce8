import { once } from 'node:events'
import { connect as connectTLS } from 'node:tls'
import { Int32, Long, serialize } from 'bson'
import t from 'tap'
import type { ReplicaSetMember } from '../../sandbox/src/mongo/replicaSet.js'
import { compilePolicy } from '../../src/app/policy.js'
import { loadConfig } from '../../src/config/load.js'
import { EXHAUST_ALLOWED, readReply, writeMessage } from '../../src/wire/message.js'
import { faultOf } from '../support/faults.js'
import { connectRaw } from '../support/mongo.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { createFrameReceiver } from '../support/sockets.js'

t.test('no acknowledged write is lost in ten step-downs', async t => {
  const { set, client, log, proxy } = await startReplicaSetProxy(t)
  const seen = new Set<string>()
  const collections = []
  for (let nth = 0; nth < 3; nth++) {
    const one = await client()
    one.on('serverDescriptionChanged', ({ address }) => seen.add(address))
    collections.push(one.db('app').collection<{ _id: number }>('writes'))
  }
  // One write per client at a time: this driver does not retry a write whose connection another error closed.
  const acknowledged: number[] = []
  for (let round = 0; round < 10; round++) {
    const old = set.primary()
    const during = collections.map((writes, nth) => writes.insertOne({ _id: round * 10 + nth }))
    set.stepDown()
    for (const { insertedId } of await Promise.all(during)) acknowledged.push(insertedId)
    const now = set.primary()
    t.ok(now && now !== old)
  }
  const stored = new Set((await collections[0]?.find().toArray())?.map(({ _id }) => _id))
  t.same(
    acknowledged.filter(id => !stored.has(id)),
    [],
  )
  t.equal(acknowledged.length, 30)
  t.same([...seen], [`127.0.0.1:${proxy.port}`], 'a client knows no address but that of the proxy')
  const closed = log.filter(({ fault }) => fault === 'upstream/stepped-down')
  t.ok(closed.length >= 10, 'sessions were closed at the end of each term')
})

t.test('a hello stream reports each primary, always with the name of the set', async t => {
  const { set, proxy, hosts } = await startReplicaSetProxy(t, { 'listen.advertise': 'Proxy.Example.com:27017' })
  const { send, next, ask } = await connectRaw(t, proxy.port)
  // The monitoring connections of this driver stay open; those of other drivers are closed with the sessions.
  const client = { driver: { name: 'nodejs', version: '7' }, os: { type: 'Linux' } }
  const first = await ask({ hello: 1, client, $db: 'admin' })
  const advertised = {
    setName: 'rs0',
    hosts: ['proxy.example.com:27017'],
    me: 'proxy.example.com:27017',
    secondary: false,
  }
  t.match(first, { ...advertised, isWritablePrimary: true, primary: 'proxy.example.com:27017' })
  t.ok(Long.isLong(first.topologyVersion.counter))
  for (const host of hosts) t.notOk(JSON.stringify(first).includes(host))
  let { topologyVersion } = first
  send({ hello: 1, topologyVersion, maxAwaitTimeMS: new Int32(10_000), $db: 'admin' }, EXHAUST_ALLOWED)
  let responseTo = 2
  for (let round = 0; round < 3; round++) {
    set.stepDown()
    const before = topologyVersion.processId
    for (let known = false; !known; ) {
      const { document, ...reply } = await next()
      t.equal(reply.responseTo, responseTo)
      t.equal(reply.moreToCome, true)
      t.match(document, advertised)
      responseTo = reply.requestID
      topologyVersion = document.topologyVersion
      known = document.isWritablePrimary && !before.equals(topologyVersion.processId)
    }
  }
})

t.test('a driver that streams knows the new primary as soon as the proxy does', async t => {
  const { set, client, log } = await startReplicaSetProxy(t, {}, { electionMS: null })
  // It polls so rarely that only the stream can tell it in time.
  const driver = await client('mongodb7', { heartbeatFrequencyMS: 3_600_000 })
  const known = (type: string) =>
    new Promise<void>(resolve => {
      driver.on('serverDescriptionChanged', function look({ newDescription }) {
        if (newDescription.type !== type) return
        driver.off('serverDescriptionChanged', look)
        resolve()
      })
    })
  await driver.connect()
  for (let round = 0; round < 5; round++) {
    const lost = known('RSOther')
    set.stepDown()
    await lost
    const found = known('RSPrimary')
    const next = set.members()[(round + 1) % 3] as ReplicaSetMember
    set.elect(next)
    await found
    const changes = log.filter(({ event, upstream }) => event === 'upstream state changed' && upstream === next.host)
    t.equal(changes.at(-1)?.writable, true, 'the proxy knew it before the driver')
  }
})

t.test('over TLS the requested server name is advertised where the certificate covers it', async t => {
  const { proxy } = await startReplicaSetProxy(t, {
    'listen.advertise': 'mongo.example.com:27017',
    'tls.certFile': 'pem',
    'tls.keyFile': 'pem',
  })
  for (const [servername, host] of [
    ['proxy.test', 'proxy.test:27017'],
    ['other.test', 'mongo.example.com:27017'],
    [undefined, 'mongo.example.com:27017'],
  ] as const) {
    const socket = connectTLS({
      host: '127.0.0.1',
      port: proxy.port,
      rejectUnauthorized: false,
      ...(servername && { servername }),
    })
    t.teardown(() => socket.destroy())
    await once(socket, 'secureConnect')
    const reply = createFrameReceiver(socket)
    socket.write(writeMessage({ hello: 1, $db: 'admin' }, 1))
    t.same(readReply(await reply()).document.hosts, [host])
  }
})

t.test('sessions work again after every member was down', async t => {
  const { set, client } = await startReplicaSetProxy(t)
  const one = await client()
  await one.db('app').collection('c').insertOne({})
  const members = [...set.members()]
  for (const member of members) await set.kill(member)
  await t.rejects((await client()).db('app').command({ ping: 1 }, { timeoutMS: 300 }))
  for (const member of members) await set.start(member)
  t.equal(await one.db('app').collection('c').countDocuments(), 1)
})

t.test('contradictory settings of a replica set are reported at start', async t => {
  const problems = (uri: string, more: Record<string, string> = {}) => {
    const args = { 'upstream.uri': uri, tls: 'off', 'listen.host': '0.0.0.0', ...more }
    const readFile = () => ({ bytes: serialize({}) as Buffer, mode: 0 })
    return compilePolicy(loadConfig({ args, env: {}, readFile }), readFile).problems
  }
  const set = ['mongodb://a/?replicaSet=rs0', 'mongodb://a,b', 'mongodb+srv://rs.example.com']
  for (const uri of set) {
    t.match(problems(uri), [/^listen\.advertise: required in front of a replica set/], uri)
    t.same(problems(uri, { 'listen.advertise': 'm.example.com:27017' }), [])
    t.same(problems(uri, { 'listen.host': '127.0.0.1' }), [])
  }
  t.same(problems('mongodb://a'), [])
  t.same(problems('mongodb://a/?replicaSet=rs0&directConnection=true'), [])
  t.same(problems('mongodb://a/?replicaSet=rs0', { 'upstream.topology': 'single' }), [])
  t.match(problems('mongodb://a,b', { 'upstream.topology': 'single' }), [/single is for one address/])
  t.match(problems('mongodb://a/?directConnection=true', { 'upstream.topology': 'primary' }), [/contradicts/])
  t.equal(faultOf(() => problems('mongodb://a', { 'listen.advertise': '0.0.0.0:1' }))?.kind, 'config/invalid')
  t.match(
    problems('mongodb://root:x@a/db'),
    [/^upstream\.uri: must not name a user/, /^upstream\.uri: must not name a database/],
    'each problem of the connection string is a line of its own',
  )
  t.match(problems('mongodb://a', { 'listen.port': '9216' }), [/^admin\.port: 9216 is also listen\.port/])
})
