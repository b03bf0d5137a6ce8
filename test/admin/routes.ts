import t from 'tap'
import { jsonResponse, textResponse } from '../../src/admin/http.js'
import type { Routes } from '../../src/admin/routes.js'
import { READ_TOKEN, startTestAdminServer, WRITE_TOKEN } from '../support/adminServer.js'

const write = { authorization: `Bearer ${WRITE_TOKEN}`, 'content-type': 'application/json' }
const routes: Routes = {
  '/open': { GET: { access: 'open', summary: 'A thing.', run: () => textResponse(200, 'open') } },
  '/plain': { GET: { access: 'read', summary: 'A thing.', run: () => textResponse(200, 'plain') } },
  '/secret': {
    GET: { access: 'read', summary: 'A thing.', isRecorded: true, run: () => textResponse(200, 'secret') },
    POST: {
      access: 'write',
      summary: 'A thing.',
      run: () => ({ ...jsonResponse(404, 'no such thing'), target: 'thing 7' }),
    },
    DELETE: {
      access: 'write',
      summary: 'A thing.',
      run: () => {
        throw new Error('internal detail')
      },
    },
  },
}

t.test('every write, every read of principals and every refusal is recorded, and nothing else', async t => {
  const { ask, recorded, faults } = await startTestAdminServer(t, { routes })
  for (const [path, options] of [
    ['/open', {}],
    ['/plain', {}],
    ['/nowhere', {}],
    ['/open', { method: 'POST' }],
  ] as const) {
    await ask(path, options)
  }
  t.same(recorded, [])
  await ask('/secret?limit=1')
  await ask('/plain', { headers: { authorization: 'Bearer guessed' } })
  await ask('/secret', { method: 'POST', headers: { ...write, authorization: `Bearer ${READ_TOKEN}` } })
  await ask('/secret', { method: 'POST', headers: write })
  await ask('/secret', { method: 'DELETE', headers: write })
  const address = '127.0.0.1'
  t.match(recorded, [
    { method: 'GET', path: '/secret', status: 200, isRefused: false, caller: { token: undefined, address } },
    { method: 'GET', path: '/plain', status: 401, isRefused: true, caller: { token: undefined, address } },
    { method: 'POST', path: '/secret', status: 403, isRefused: true, caller: { token: 'grafana', address } },
    { method: 'POST', path: '/secret', status: 404, isRefused: false, target: 'thing 7', caller: { token: 'ops' } },
    { method: 'DELETE', path: '/secret', status: 500, isRefused: false, caller: { token: 'ops' } },
  ])
  t.equal(faults.length, 1)
})

t.test('a path that is a name of every object does not exist', async t => {
  const { ask } = await startTestAdminServer(t, { routes })
  for (const path of ['/constructor', '/__proto__', '//secret', '/secret/', '/SECRET']) {
    t.match(await ask(path), { status: 404 }, path)
  }
  t.match(await ask('/secret', { method: 'PUT', headers: write }), {
    status: 405,
    headers: { allow: 'GET, POST, DELETE' },
  })
})
