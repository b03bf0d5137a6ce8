import t, { type Test } from 'tap'
import { createDenyRoute, type DenialChange, type DenyOptions } from '../../src/admin/deny.js'
import { Fault } from '../../src/errors.js'
import type { Denial } from '../../src/revocation/denials.js'
import { startTestAdminServer, type TestAdminOptions, WRITE_TOKEN } from '../support/adminServer.js'

const ALICE = 'arn:aws:iam::123456789012:user/alice'
const good = { authorization: `Bearer ${WRITE_TOKEN}`, 'content-type': 'application/json' }

async function started(t: Test, parts: Partial<DenyOptions> = {}, server: TestAdminOptions = {}) {
  const done: [string, Denial][] = []
  const changes: DenialChange[] = []
  const { ask: askPath, faults } = await startTestAdminServer(t, {
    hosts: () => ['proxy.internal'],
    ...server,
    routes: {
      '/deny': createDenyRoute({
        now: () => Date.parse('2026-11-22T12:00:00Z'),
        list: () => ({ file: [{ kind: 'account', value: '123456789012', why: 'left' }], admin: [] }),
        deny: async denial => done.push(['deny', denial]) + 2,
        allow: async denial => done.push(['allow', denial]) > 0,
        onChange: change => changes.push(change),
        ...parts,
      }),
    },
  })
  const ask = (method: string, headers: Record<string, string> = good, body = '') =>
    askPath('/deny', { method, headers, body })
  return { ask, done, changes, failed: faults }
}

t.test('an entry is added, listed and removed', async t => {
  const { ask, done } = await started(t)
  const added = await ask('POST', good, JSON.stringify({ arn: ALICE, why: 'left', until: '2026-12-24T00:00:00Z' }))
  t.equal(added.status, 200)
  t.same(JSON.parse(added.body), { denied: { arn: ALICE, why: 'left', until: '2026-12-24T00:00:00.000Z' }, closed: 3 })
  const taken = await ask('DELETE', { ...good, 'content-type': 'application/json; charset=utf-8' }, `"${ALICE}"`)
  t.same([taken.status, JSON.parse(taken.body)], [200, { allowed: { arn: ALICE } }])
  t.match(done, [
    ['deny', { kind: 'arn', value: ALICE, why: 'left', until: new Date('2026-12-24T00:00:00Z') }],
    ['allow', { kind: 'arn', value: ALICE }],
  ])
  const list = await ask('GET')
  t.same(JSON.parse(list.body), { file: [{ account: '123456789012', why: 'left' }], admin: [] })
})

t.test('a denial without effect is added, and the answer has a warning', async t => {
  const { ask, done } = await started(t, { findWarning: ({ value }) => `the denial of ${value} has no effect` })
  const { status, body } = await ask('POST', good, `"${ALICE}"`)
  t.equal(status, 200)
  t.match(JSON.parse(body), { denied: { arn: ALICE }, warning: `the denial of ${ALICE} has no effect` })
  t.equal(done.length, 1)
})

t.test('no change works without the token', async t => {
  const { ask, done } = await started(t)
  for (const method of ['POST', 'DELETE']) {
    for (const authorization of [
      undefined,
      '',
      WRITE_TOKEN,
      `Basic ${WRITE_TOKEN}`,
      'Bearer',
      'Bearer x',
      `Bearer ${WRITE_TOKEN}x`,
      `Bearer ${WRITE_TOKEN.slice(1)}`,
    ]) {
      const { authorization: _, ...rest } = good
      const headers = { ...rest, ...(authorization !== undefined && { authorization }) }
      const answer = await ask(method, headers, `"${ALICE}"`)
      t.match(answer, { status: 401, headers: { 'www-authenticate': 'Bearer' } }, `${method} ${authorization}`)
    }
  }
  t.same(done, [])
})

t.test('changes are reported with the name of the token', async t => {
  const { ask, changes } = await started(t)
  await ask('POST', good, `"${ALICE}"`)
  await ask('DELETE', good, `"${ALICE}"`)
  const caller = { token: 'ops', address: '127.0.0.1', port: Number }
  t.match(changes, [
    { type: 'denied', denial: { value: ALICE }, closed: 3, caller },
    { type: 'undenied', denial: { value: ALICE }, caller },
  ])
})

t.test('a web page has no access: by DNS rebinding, with a form, or by CORS', async t => {
  const { ask, done } = await started(t)
  for (const host of [
    'evil.example.com',
    'evil.example.com:9216',
    '127.0.0.1.evil.example.com',
    '10.0.0.1',
    'proxy.internal.evil.com',
  ])
    t.match(await ask('POST', { ...good, host }, `"${ALICE}"`), { status: 421 }, host)
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/jsonp',
    '',
  ])
    t.match(await ask('POST', { ...good, 'content-type': type }, `"${ALICE}"`), { status: 415 }, type)
  const preflight = await ask('OPTIONS', {
    origin: 'https://evil.example.com',
    'access-control-request-method': 'POST',
  })
  t.match(preflight, { status: 405, headers: { allow: 'GET, POST, DELETE' } })
  const answered = await ask('GET', { ...good, origin: 'https://evil.example.com' })
  for (const { headers } of [preflight, answered]) {
    t.same(
      Object.keys(headers).filter(name => name.startsWith('access-control')),
      [],
    )
  }
  t.same(done, [])
  for (const host of ['localhost:9216', '[::1]:1', 'Proxy.Internal:9216']) {
    t.match(await ask('GET', { ...good, host }), { status: 200 }, host)
  }
})

t.test('an invalid entry is answered with its problem', async t => {
  const { ask, done } = await started(t)
  for (const [body, said] of [
    ['', /not JSON/],
    ['{', /not JSON/],
    ['123456789012', /put it in quotes/],
    ['{"arn":"x"}', /arn: must be the full ARN/],
    ['{"arns":[]}', /unknown key, a text of 4 characters; did you mean arn\?/],
    ['null', /must be an ARN/],
    ['{"__proto__":{"arn":"x"}}', /./],
  ] as const) {
    t.match(await ask('POST', good, body), { status: 400, body: said }, body)
  }
  t.same(done, [])
})

t.test('an expired entry is rejected', async t => {
  const { ask, done } = await started(t)
  const late = await ask('POST', good, JSON.stringify({ arn: ALICE, until: '2026-11-22T12:00:00Z' }))
  t.match(late, { status: 400, body: /until: is in the past/ })
  t.same(done, [])
})

t.test('the length of a body is bounded, with and without Content-Length', async t => {
  const { ask, done } = await started(t)
  const fits = JSON.stringify({ arn: ALICE }).padEnd(64 * 1024)
  t.match(await ask('POST', good, fits), { status: 200 })
  t.match(await ask('POST', good, `${fits} `), { status: 413 })
  t.match(await ask('POST', { ...good, 'transfer-encoding': 'chunked' }, `${fits} `.repeat(20)), { status: 413 })
  t.equal(done.length, 1)
})

t.test('a change that cannot be saved is answered with 507, and a bug with 500 and no details', async t => {
  const full = await started(t, {
    deny: () => Promise.reject(new Fault('denials/not-persisted', undefined, { why: 'ENOSPC' })),
  })
  t.match(await full.ask('POST', good, `"${ALICE}"`), { status: 507, body: /could not be saved/ })
  t.match(full.changes, [{ type: 'denied', fault: { kind: 'denials/not-persisted' } }])
  const broken = await started(t, { allow: () => Promise.reject(new Error('internal detail')) })
  t.match(await broken.ask('DELETE', good, `"${ALICE}"`), { status: 500, body: 'internal error; see the log\n' })
  t.equal(broken.failed.length, 1)
})

t.test('an entry of deny.file cannot be removed', async t => {
  const { ask } = await started(t, { allow: async () => false })
  t.match(await ask('DELETE', good, `"${ALICE}"`), { status: 404, body: /deny\.file/ })
})
