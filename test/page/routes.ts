import { connect } from 'node:net'
import t, { type Test } from 'tap'
import type { ResponseStream } from '../../src/admin/http.js'
import { readAssets } from '../../src/page/assets.js'
import { createPageRoutes, PAGE_HEADERS } from '../../src/page/routes.js'
import { READ_TOKEN, startTestAdminServer, type TestAdminOptions } from '../support/adminServer.js'
import { waitForClose } from '../support/sockets.js'
import { waitUntil } from '../support/waitUntil.js'

const assets = readAssets()
const REST = 'HTTP/1.1\r\nHost: localhost\r\n\r\n'

async function start(
  t: Test,
  { isFull = () => false, ...options }: TestAdminOptions & { isFull?: () => boolean } = {},
) {
  const streams: { response: ResponseStream; isPermitted: () => boolean }[] = []
  const routes = createPageRoutes({
    assets,
    renderPage: () => '<!doctype html><p>the page</p>',
    isPermitted: ({ headers }) => headers.authorization === undefined,
    streams: {
      get isFull() {
        return isFull()
      },
      open: (response, isPermitted) => void streams.push({ response, isPermitted }),
    },
  })
  const { server, ask, faults } = await startTestAdminServer(t, { routes, ...options })
  /** Opens a stream by hand, to read or not to read it. */
  const openStream = async () => {
    const socket = connect(server.port, '127.0.0.1')
    t.teardown(() => void socket.destroy())
    socket.on('error', () => {})
    let text = ''
    socket.on('data', chunk => {
      text += chunk
    })
    const { length } = streams
    socket.write(`GET /events ${REST}`)
    await waitUntil(() => streams.length > length)
    const stream = streams.at(-1)
    if (!stream) throw new Error('there is a stream')
    return { ...stream, socket, text: () => text }
  }
  return { server, ask, faults, streams, openStream }
}

t.test('the page has a policy that permits files of ours alone, and is not stored', async t => {
  const { ask } = await start(t)
  const { status, headers, body } = await ask('/')
  t.equal(status, 200)
  t.equal(body, '<!doctype html><p>the page</p>')
  t.match(headers, {
    ...PAGE_HEADERS,
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  t.match(headers['content-security-policy'], /^default-src 'none'; script-src 'self'; style-src 'self'; /)
  t.notMatch(headers['content-security-policy'], /unsafe|\*|https?:/)
})

t.test('page and events need a token where reads do; files need none, because they hold no data', async t => {
  const { ask } = await start(t, { isLocal: false })
  const [file] = assets.files
  for (const [path, token, status] of [
    ['/', undefined, 401],
    ['/events', undefined, 401],
    ['/', READ_TOKEN, 200],
    [file?.address ?? '', undefined, 200],
  ] as const) {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    t.match(await ask(path, { headers }), { status }, path)
  }
  t.match(await ask('/', { headers: { host: 'evil.example.com' } }), { status: 421 })
})

t.test('every file is served with its type, to be cached forever', async t => {
  const { ask } = await start(t)
  const names = assets.files.map(({ address }) => address.replace(/.*\//, ''))
  for (const name of ['status.js', 'status.css', 'uPlot.js', 'uPlot.css', 'stream.js']) t.ok(names.includes(name), name)
  t.same(Object.keys(assets.addresses), names)
  for (const { address, bytes } of assets.files) {
    const { status, headers, body } = await ask(address)
    t.equal(status, 200)
    t.match(headers, {
      'content-type': address.endsWith('.js') ? 'text/javascript; charset=utf-8' : 'text/css; charset=utf-8',
      'cache-control': 'public, max-age=31536000, immutable',
      'content-length': `${bytes.length}`,
    })
    t.equal(body, bytes.toString())
  }
})

t.test('no other file can be reached', async t => {
  const { ask } = await start(t)
  const folder = assets.addresses['status.js']?.replace('status.js', '')
  for (const path of [
    '/assets/',
    `${folder}`,
    `${folder}../status.js`,
    `${folder}tsconfig.json`,
    '/assets/x/status.js',
  ]) {
    t.match(await ask(path), { status: 404 }, path)
  }
})

t.test('a file with other contents has another address', async t => {
  t.match(assets.addresses['status.js'], /^\/assets\/[0-9a-f]{16}\/status\.js$/)
  t.same(readAssets().addresses, assets.addresses)
})

t.test('when all streams are taken, the answer says when to try again', async t => {
  const { ask, streams } = await start(t, { isFull: () => true })
  t.match(await ask('/events'), { status: 503, headers: { 'retry-after': '15' }, body: /too many event streams/ })
  t.equal(streams.length, 0)
})

t.test('a stream stays open, and sends what is written to it', async t => {
  const { openStream } = await start(t)
  const { response, socket, text, isPermitted } = await openStream()
  await waitUntil(() => /^content-type: text\/event-stream\r$/im.test(text()))
  t.notMatch(text(), /content-length/i)
  t.ok(isPermitted())
  response.write(Buffer.from('event: a\ndata: 1\n\n'))
  await waitUntil(() => text().includes('data: 1'))
  t.equal(response.unreadBytes, 0)
  response.end()
  await waitUntil(() => socket.destroyed)
})

t.test('a stream outlives the limits of other connections', async t => {
  const timers: { ms: number; run: () => void; isCancelled: boolean }[] = []
  const { openStream, ask } = await start(t, {
    after(ms, run) {
      const timer = { ms, run, isCancelled: false }
      timers.push(timer)
      return () => {
        timer.isCancelled = true
      }
    },
  })
  const pass = () => timers.filter(timer => !timer.isCancelled).forEach(({ run }) => void run())
  const { response, socket, text } = await openStream()
  pass()
  for (let count = 0; count < 200; count += 1) await ask('/healthz')
  response.write(Buffer.from('still here'))
  await waitUntil(() => text().includes('still here'))
  socket.pause()
  response.write(Buffer.alloc(20_000_000))
  t.ok(response.unreadBytes > 0)
  response.end()
  pass()
  await new Promise<void>(resolve => response.onClose(resolve))
})

t.test('a client that disconnects closes its stream', async t => {
  const { openStream } = await start(t)
  const { response, socket } = await openStream()
  const closed = new Promise<void>(resolve => response.onClose(resolve))
  socket.destroy()
  await closed
  response.write(Buffer.from('nobody reads this'))
  response.end()
  t.pass()
})

t.test('the server closes with its streams', async t => {
  const { openStream, server } = await start(t)
  const { socket } = await openStream()
  await server.close()
  await waitUntil(() => socket.destroyed)
})

t.test('a stream that cannot begin is reported and closed', async t => {
  const routes = {
    '/events': {
      GET: {
        access: 'read' as const,
        summary: 'Events.',
        run: () => ({
          status: 200,
          type: 'text/event-stream',
          body: '',
          stream() {
            throw new Error('a bug')
          },
        }),
      },
    },
  }
  const { ask, faults, server } = await startTestAdminServer(t, { routes })
  const socket = connect(server.port, '127.0.0.1').resume()
  socket.on('error', () => {})
  socket.write(`GET /events ${REST}`)
  await waitForClose(socket)
  t.match(faults, [{ kind: 'internal' }])
  t.match(await ask('/healthz'), { status: 200 })
})
