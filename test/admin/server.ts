import { request } from 'node:http'
import { connect, Server, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { type AdminServerOptions, startAdminServer } from '../../src/admin/server.js'
import type { Fault } from '../../src/errors.js'
import { faultOfAsync } from '../support/faults.js'

async function started(t: Test, sources: Partial<AdminServerOptions> = {}) {
  const server = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    ready: () => ({ ready: true, body: {} }),
    metrics: async () => 'up 1\n',
    ...sources,
  })
  t.teardown(() => server.close())
  const ask = (path: string, { method = 'GET', headers = {} as Record<string, string> } = {}) =>
    new Promise<{ status: number | undefined; headers: Record<string, unknown>; body: string }>((resolve, reject) => {
      request({ host: '127.0.0.1', port: server.port, path, method, headers }, async response =>
        resolve({ status: response.statusCode, headers: response.headers, body: await text(response) }),
      )
        .on('error', reject)
        .end()
    })
  return { server, ask }
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
  const faults: Fault[] = []
  const { ask } = await started(t, {
    metrics: () => Promise.reject(new Error('internal detail')),
    ready: () => {
      throw new Error('internal detail')
    },
    onError: fault => faults.push(fault),
  })
  for (const path of ['/metrics', '/readyz']) {
    t.match(await ask(path), { status: 500, body: 'internal error; see the log\n' }, path)
  }
  t.match(faults, [{ kind: 'internal' }, { kind: 'internal' }])
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
  const again = await startAdminServer({
    host: '127.0.0.1',
    port: server.port,
    ready: () => ({ ready: true, body: {} }),
    metrics: async () => '',
  })
  await again.close()
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
