import { connect, Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { MAX_ADMIN_CONNECTIONS } from '../../src/admin/connections.js'
import { createDenyRoute, type DenyOptions } from '../../src/admin/deny.js'
import { startTestAdminServer, WRITE_TOKEN } from '../support/adminServer.js'
import { faultOfAsync } from '../support/faults.js'
import { waitForClose } from '../support/sockets.js'
import { waitUntil } from '../support/waitUntil.js'

const REST = 'HTTP/1.1\r\nHost: localhost\r\n\r\n'

async function openSockets(t: Test, port: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  t.teardown(() => sockets.forEach(socket => void socket.destroy()))
  for (let number = 0; number < count; number++) {
    const socket = connect(port, '127.0.0.1').resume()
    socket.on('error', () => {})
    sockets.push(socket)
    await new Promise(resolve => socket.once('connect', resolve))
  }
  return sockets
}

/** All that the server answers to these bytes, until it closes the connection. */
async function answerOf(t: Test, port: number, bytes: string): Promise<string> {
  const [socket] = (await openSockets(t, port, 1)) as [Socket]
  let answer = ''
  socket.on('data', chunk => {
    answer += chunk
  })
  socket.write(bytes)
  await waitForClose(socket)
  return answer
}

const started = startTestAdminServer
const noDenials: DenyOptions = {
  list: () => ({ file: [], admin: [] }),
  deny: async () => 0,
  allow: async () => false,
  now: () => 0,
  onChange() {},
}

t.test('/healthz answers 200', async t => {
  const { ask } = await started(t)
  t.match(await ask('/healthz'), { status: 200, body: 'ok\n', headers: { 'cache-control': 'no-store' } })
  t.match(await ask('/healthz?verbose'), { status: 200 })
})

t.test('/readyz answers 200 or 503, with the reasons', async t => {
  let ready = true
  const { ask } = await started(t, { ready: () => ({ ready, body: { ldap: 'off' } }) })
  t.match(await ask('/readyz'), { status: 200, headers: { 'content-type': 'application/json' } })
  ready = false
  const refused = await ask('/readyz')
  t.equal(refused.status, 503)
  t.same(JSON.parse(refused.body), { ready: false, ldap: 'off' })
  t.match(await ask('/healthz'), { status: 200 })
})

t.test('/metrics answers in the Prometheus text format', async t => {
  const { ask } = await started(t)
  t.match(await ask('/metrics'), {
    status: 200,
    body: 'up 1\n',
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
  })
})

t.test('a failing page is a 500 without details', async t => {
  const { ask, faults } = await started(t, {
    metrics: () => Promise.reject(new Error('internal detail')),
    ready: () => {
      throw new Error('internal detail')
    },
  })
  for (const path of ['/metrics', '/readyz']) {
    t.match(await ask(path), { status: 500, body: 'internal error; see the log\n' }, path)
  }
  t.match(faults, [{ kind: 'internal' }, { kind: 'internal' }])
})

t.test('a response shows nothing that must be hidden', async t => {
  const { ask } = await started(t, {
    metrics: async () => 'alice@example.com',
    hide: text => text.replaceAll('alice@example.com', 'hash-1'),
  })
  t.match(await ask('/metrics'), { body: 'hash-1', headers: { 'content-length': '6' } })
})

t.test('other paths are 404, and other methods 405', async t => {
  const { ask } = await started(t)
  for (const path of ['/', '/nope', '/healthz/', '/__proto__', '/constructor']) {
    t.match(await ask(path), { status: 404 }, path)
  }
  for (const method of ['POST', 'HEAD', 'DELETE', 'OPTIONS']) {
    t.match(await ask('/metrics', { method }), { status: 405, headers: { allow: 'GET' } }, method)
  }
  t.notOk('access-control-allow-origin' in (await ask('/metrics', { headers: { origin: 'http://x' } })).headers)
})

t.test('on loopback a Host that is not in admin.hosts is refused', async t => {
  const { ask } = await started(t)
  for (const host of ['evil.example.com', 'evil.example.com:9216', '127.0.0.1.evil.example.com', '10.0.0.1']) {
    t.match(await ask('/metrics', { headers: { host } }), { status: 421 }, host)
  }
  const named = await started(t, { hosts: () => ['prom.example'] })
  for (const [host, status] of [
    ['prom.example:9216', 200],
    ['PROM.example', 200],
    ['evil.example.com', 421],
  ] as const) {
    t.match(await named.ask('/metrics', { headers: { host } }), { status }, host)
  }
  for (const host of ['localhost', 'LOCALHOST:9216', '127.0.0.1', '[::1]:9216']) {
    t.match(await ask('/metrics', { headers: { host } }), { status: 200 }, host)
  }
})

t.test('idle connections do not lock out a request', async t => {
  const { server, ask } = await started(t)
  const silent: Socket[] = []
  t.teardown(() => silent.forEach(socket => void socket.destroy()))
  for (let count = 0; count < 200; count++) {
    const socket = connect(server.port, '127.0.0.1')
    socket.on('error', () => {})
    silent.push(socket)
    await new Promise(resolve => socket.once('connect', resolve))
  }
  for (let times = 0; times < 5; times++) t.match(await ask('/healthz'), { status: 200 })
})

t.test('clients that do not read their answer do not lock out a request', async t => {
  const { server, ask } = await started(t, { metrics: async () => 'x'.repeat(10_000_000) })
  const sockets = await openSockets(t, server.port, 200)
  for (const socket of sockets) socket.pause().write(`GET /metrics ${REST}`)
  for (let times = 0; times < 5; times++) t.match(await ask('/healthz'), { status: 200 })
})

t.test('a thousand idle connections do not lock out a request, and most are closed', async t => {
  const { server, ask } = await started(t)
  const sockets = await openSockets(t, server.port, 1000)
  t.match(await ask('/healthz'), { status: 200 })
  await waitUntil(() => sockets.filter(socket => socket.destroyed).length >= 1000 - MAX_ADMIN_CONNECTIONS)
})

t.test('a connection answers one request and closes, however many are pipelined on any page', async t => {
  let calls = 0
  const count = <T>(value: T): T => {
    calls += 1
    return value
  }
  const { server } = await started(t, {
    ready: () => count({ ready: true, body: {} }),
    metrics: async () => count('up 1\n'),
    routes: {
      '/deny': createDenyRoute({
        ...noDenials,
        list: () => count({ file: [], admin: [] }),
        deny: async () => count(0),
      }),
    },
  })
  const authorization = `Authorization: Bearer ${WRITE_TOKEN}\r\n`
  const body = '{"arn":"arn:aws:iam::123456789012:user/eve"}'
  const post = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`
  for (const [request, called] of [
    [`GET /healthz ${REST}`, 0],
    [`GET /readyz ${REST}`, 1],
    [`GET /metrics ${REST}`, 1],
    [`GET /nope ${REST}`, 0],
    [`GET /deny HTTP/1.1\r\nHost: localhost\r\n${authorization}\r\n`, 1],
    [`POST /deny HTTP/1.1\r\nHost: localhost\r\n${authorization}${post}\r\n${body}`, 1],
  ] as const) {
    for (const size of [2, 59_000, 2_000_000]) {
      calls = 0
      const answer = await answerOf(t, server.port, request.repeat(Math.ceil(size / request.length) + 1))
      t.equal(answer.match(/HTTP\/1\.1 \d/g)?.length, 1, request)
      t.match(answer, /^Connection: close\r$/im, request)
      t.ok(calls <= called, request)
    }
  }
})

t.test('concurrent scrapes share one rendering, and a later one gets its own', async t => {
  let renderings = 0
  let finish = (): void => {}
  const { server, ask } = await started(t, {
    metrics: () =>
      new Promise(resolve => {
        renderings += 1
        finish = () => resolve(`renderings ${renderings}\n`)
      }),
  })
  const answers = Array.from({ length: 20 }, () => answerOf(t, server.port, `GET /metrics ${REST}`))
  await waitUntil(() => renderings === 1)
  t.match(await ask('/healthz'), { status: 200 }, 'the scrapes that came before it have been read')
  finish()
  for (const answer of await Promise.all(answers)) t.match(answer, /renderings 1\n$/)
  const later = ask('/metrics')
  await waitUntil(() => renderings === 2)
  finish()
  t.match(await later, { body: 'renderings 2\n' })
})

t.test('a connection has five seconds for its request, and fifteen for all', async t => {
  const timers: { ms: number; run: () => void; isCancelled: boolean }[] = []
  const { server, ask } = await started(t, {
    metrics: () => new Promise(() => {}),
    after(ms, run) {
      const timer = { ms, run, isCancelled: false }
      timers.push(timer)
      return () => {
        timer.isCancelled = true
      }
    },
  })
  const pass = (ms: number) =>
    timers.filter(timer => timer.ms <= ms && !timer.isCancelled).forEach(({ run }) => void run())
  const [silent, slow, scraping] = (await openSockets(t, server.port, 3)) as [Socket, Socket, Socket]
  slow.write('GET /healthz HTTP/1.1\r\nHost: ')
  scraping.write(`GET /metrics ${REST}`)
  t.match(await ask('/healthz'), { status: 200 })
  pass(4_999)
  t.match(await ask('/healthz'), { status: 200 })
  t.notOk(silent.destroyed || slow.destroyed)
  pass(5_000)
  await Promise.all([waitForClose(silent), waitForClose(slow)])
  t.notOk(scraping.destroyed)
  pass(15_000)
  await waitForClose(scraping)
  await waitUntil(() => timers.every(timer => timer.isCancelled))
})

t.test('a body that is too long or does not come ends with its connection', async t => {
  const { server, ask } = await started(t, {
    routes: { '/deny': createDenyRoute(noDenials) },
  })
  const head = (length: number) =>
    `POST /deny HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${WRITE_TOKEN}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`
  t.match(await answerOf(t, server.port, `${head(1_000_000)}${'x'.repeat(100_000)}`), /^HTTP\/1\.1 413 /)
  const [left] = (await openSockets(t, server.port, 1)) as [Socket]
  left.end(`${head(10)}x`)
  await waitForClose(left)
  t.match(await ask('/healthz'), { status: 200 })
})

t.test('the length of headers is bounded', async t => {
  const { ask } = await started(t)
  t.match(await ask('/healthz', { headers: { x: 'x'.repeat(9000) } }), { status: 431 })
})

t.test('a port in use is a fault that names the address', async t => {
  const { server } = await started(t)
  const fault = await faultOfAsync(() => started(t, { port: server.port }))
  t.equal(fault?.kind, 'listener/address-unavailable')
  t.equal(fault?.detail, `127.0.0.1:${server.port}`)
  t.match(fault?.facts, { code: 'EADDRINUSE' })
})

t.test('close frees the port at once, even if connections are open', async t => {
  const { server } = await started(t)
  const silent = connect(server.port, '127.0.0.1')
  await new Promise(resolve => silent.once('connect', resolve))
  const gone = new Promise(resolve => silent.once('close', resolve))
  silent.on('error', () => {})
  silent.resume()
  await server.close()
  await gone
  const again = await started(t, { port: server.port })
  await again.server.close()
})

t.test('a connection that cannot be accepted does not stop the server', async t => {
  const { listen } = Server.prototype
  const servers: Server[] = []
  t.intercept(Server.prototype, 'listen', {
    value(this: Server, ...args: unknown[]) {
      servers.push(this)
      return Reflect.apply(listen, this, args)
    },
  })
  const { ask } = await started(t)
  servers[0]?.emit('error', Object.assign(new Error('too many open files'), { code: 'EMFILE' }))
  t.equal(servers.length, 1)
  t.match(await ask('/healthz'), { status: 200 })
})
