import t from 'tap'
import { jsonResponse } from '../../src/admin/http.js'
import type { Routes } from '../../src/admin/routes.js'
import { READ_TOKEN, startTestAdminServer, TOKENS, WRITE_TOKEN } from '../support/adminServer.js'

const JSON_TYPE = { 'content-type': 'application/json' }
const routes: Routes = {
  '/things': {
    GET: { access: 'read', summary: 'A thing.', run: (_, { token }) => jsonResponse(200, { token: token ?? null }) },
    POST: { access: 'write', summary: 'A thing.', run: (_, { token }) => jsonResponse(200, { token: token ?? null }) },
  },
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

t.test('each access needs its token: on loopback, elsewhere, and without any configured', async t => {
  const local = await startTestAdminServer(t, { routes })
  const remote = await startTestAdminServer(t, { routes, isLocal: false })
  const readers = await startTestAdminServer(t, { routes, tokens: () => TOKENS.filter(({ may }) => may === 'read') })
  const bare = await startTestAdminServer(t, { routes, isLocal: false, tokens: () => [] })
  for (const [token, method, path, expected] of [
    [undefined, 'GET', '/healthz', { local: 200, remote: 200, readers: 200, bare: 200 }],
    [undefined, 'GET', '/readyz', { local: 200, remote: 200, readers: 200, bare: 200 }],
    [undefined, 'GET', '/metrics', { local: 200, remote: 200, readers: 200, bare: 200 }],
    [undefined, 'GET', '/things', { local: 200, remote: 401, readers: 200, bare: 404 }],
    [READ_TOKEN, 'GET', '/things', { local: 200, remote: 200, readers: 200, bare: 404 }],
    [WRITE_TOKEN, 'GET', '/things', { local: 200, remote: 200, readers: 401, bare: 404 }],
    ['a-guessed-token-of-nobody', 'GET', '/things', { local: 401, remote: 401, readers: 401, bare: 404 }],
    [undefined, 'POST', '/things', { local: 401, remote: 401, readers: 404, bare: 404 }],
    [READ_TOKEN, 'POST', '/things', { local: 403, remote: 403, readers: 404, bare: 404 }],
    [WRITE_TOKEN, 'POST', '/things', { local: 200, remote: 200, readers: 404, bare: 404 }],
    ['a-guessed-token-of-nobody', 'POST', '/things', { local: 401, remote: 401, readers: 404, bare: 404 }],
  ] as const) {
    for (const [name, { ask }] of Object.entries({ local, remote, readers, bare })) {
      const headers = { ...JSON_TYPE, ...(token !== undefined && bearer(token)) }
      const answer = await ask(path, { method, headers })
      t.equal(answer.status, expected[name as keyof typeof expected], `${name}: ${method} ${path} with ${token}`)
      t.notMatch(answer.body, /the-token|guessed/)
    }
  }
})

t.test('an operation learns the name of the token', async t => {
  const { ask } = await startTestAdminServer(t, { routes })
  t.same(JSON.parse((await ask('/things')).body), { token: null })
  t.same(JSON.parse((await ask('/things', { headers: bearer(READ_TOKEN) })).body), { token: 'grafana' })
})

t.test('a token that is taken away or may do less is refused at once', async t => {
  let tokens = TOKENS
  const { ask } = await startTestAdminServer(t, { routes, tokens: () => tokens })
  const headers = { ...JSON_TYPE, ...bearer(WRITE_TOKEN) }
  t.match(await ask('/things', { method: 'POST', headers }), { status: 200 })
  tokens = TOKENS.filter(({ name }) => name !== 'ops')
  t.match(await ask('/things', { headers }), { status: 401 })
  t.match(await ask('/things', { method: 'POST', headers }), { status: 404, body: /no token that may write/ })
})

t.test('a web page that reaches the proxy by DNS rebinding can neither read nor write', async t => {
  for (const isLocal of [true, false]) {
    const { ask } = await startTestAdminServer(t, { routes, isLocal, hosts: () => ['proxy.internal'] })
    for (const host of ['evil.example.com', '127.0.0.1.evil.example.com:9216', 'proxy.internal.evil.com']) {
      for (const method of ['GET', 'POST']) {
        const headers = { ...JSON_TYPE, ...bearer(WRITE_TOKEN), host }
        t.match(await ask('/things', { method, headers }), { status: 421 }, `${method} ${host}`)
      }
    }
    const headers = { ...bearer(READ_TOKEN), host: 'Proxy.Internal:9216' }
    t.match(await ask('/things', { headers }), { status: 200 })
  }
})

t.test('a form of a web page cannot write', async t => {
  const { ask, recorded } = await startTestAdminServer(t, { routes })
  const headers = { ...bearer(WRITE_TOKEN), 'content-type': 'text/plain' }
  t.match(await ask('/things', { method: 'POST', headers }), { status: 415 })
  t.match(recorded, [{ status: 415, isRefused: true, caller: { token: 'ops' } }])
})

t.test('a write that forged its method in a header or the query stays a read', async t => {
  const { ask, recorded } = await startTestAdminServer(t, { routes })
  const headers = { 'x-http-method-override': 'POST' }
  t.match(JSON.parse((await ask('/things?_method=POST', { headers })).body), { token: null })
  t.same(recorded, [])
})
