import type { Socket } from 'node:net'
import { Double } from 'bson'
import t from 'tap'
import { findExposedMembers, HelloResponder } from '../../src/app/helloAnswer.js'
import { loadConfig } from '../../src/config/load.js'
import type { Log } from '../../src/log.js'

const request = { legacy: false, helloOk: true }
const signal = new AbortController().signal
const client = { localAddress: '10.0.0.7', localPort: 27017 } as Socket

/** A responder in front of a replica set or a single server, and what it logs. */
function responder(args: Record<string, string>, isReplicaSet = true) {
  const readFile = () => ({ bytes: Buffer.alloc(0), mode: 0 })
  const config = loadConfig({ args: { 'upstream.uri': 'mongodb://a', tls: 'off', ...args }, env: {}, readFile })
  const hello = {
    ok: new Double(1),
    isWritablePrimary: true,
    setName: 'rs0',
    hosts: ['mongo-0:27017'],
    me: 'mongo-0:27017',
    primary: 'mongo-0:27017',
    setVersion: 1,
    maxWireVersion: 21,
  }
  const view = async () => ({ hello, isPrimary: true, isReplicaSet })
  const lines: unknown[][] = []
  const log: Log = (...line) => void lines.push(line)
  return { hello: new HelloResponder({ config, topology: { freshView: view, awaitChange: view }, log }), lines }
}

t.test('clients of a replica set see one member at the advertised address', async t => {
  const { hello, lines } = responder({ 'listen.host': '0.0.0.0', 'listen.advertise': 'proxy.example.com:27017' })
  t.match(await hello.answer(request, 7, signal, client), {
    hosts: ['proxy.example.com:27017'],
    me: 'proxy.example.com:27017',
    primary: 'proxy.example.com:27017',
  })
  t.same(lines, [])
})

t.test('without an advertised address the client socket gives it, and one line warns', async t => {
  const { hello, lines } = responder({ 'listen.host': '0.0.0.0' })
  for (let count = 0; count < 2; count++) {
    t.match(await hello.answer(request, 7, signal, client), { me: '10.0.0.7:27017' })
  }
  t.match(lines, [['warn', 'advertised address missing', { warning: /^listen\.advertise is not set/ }]])
  t.equal(lines.length, 1)
})

t.test('a single server is shown without an address of the proxy', async t => {
  const { hello } = responder({ 'listen.host': '0.0.0.0' }, false)
  t.notMatch(await hello.answer(request, 7, signal, client), { me: '10.0.0.7:27017' })
})

t.test('one line warns that a single server exposes the members of its replica set', async t => {
  const { hello, lines } = responder({ 'listen.host': '0.0.0.0' }, false)
  for (let count = 0; count < 2; count++) await hello.answer(request, 7, signal, client)
  t.match(lines, [['warn', 'upstream members exposed', { warning: /belongs to a replica set.* past the proxy/ }]])
  t.equal(lines.length, 1)
})

t.test('a single server whose only member is the advertised address exposes none', async t => {
  const { hello, lines } = responder({ 'listen.advertise': 'mongo-0:27017' }, false)
  await hello.answer(request, 7, signal, client)
  t.same(lines, [])
})

t.test('a standalone server exposes no member', async t => {
  const view = { hello: { ok: new Double(1), isWritablePrimary: true, maxWireVersion: 21 }, isPrimary: true }
  const { listen } = loadConfig({
    args: { 'upstream.uri': 'mongodb://a' },
    env: {},
    readFile: () => ({ bytes: Buffer.alloc(0), mode: 0 }),
  })
  t.equal(findExposedMembers({ ...view, isReplicaSet: false }, listen), undefined)
})
