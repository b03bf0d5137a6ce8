import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { AdminRequest } from '../../src/admin/http.js'
import { handlePinsRequest, type PinsOptions } from '../../src/admin/pins.js'
import { startAdminServer } from '../../src/admin/server.js'
import { after } from '../../src/clock.js'
import { Fault } from '../../src/errors.js'
import { Secret, silentLog } from '../../src/log.js'
import { createPins } from '../../src/users/pins.js'
import { faultOfAsync } from '../support/faults.js'

const TOKEN = randomUUID()
const APP = 'arn:aws:iam::123456789012:role/app'
const ID = 'AROACKCEVSQ6C2EXAMPLE'
const good = { host: 'localhost', authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }

function asked(parts: Partial<PinsOptions> = {}) {
  const text = JSON.stringify({ [APP]: ID })
  const pins = createPins({ path: 'pins.json', text, write: async () => {} }, silentLog)
  const all = { pins, token: () => new Secret(TOKEN), hosts: () => [], ...parts }
  const ask = (method: string, body = '', headers: AdminRequest['headers'] = good) =>
    handlePinsRequest({ method, headers, readBody: async max => (body.length <= max ? body : undefined) }, all)
  return { ask, pins }
}

t.test('pins are listed, and a pin is cleared by any ARN of its principal', async t => {
  for (const arn of [APP, 'arn:aws:iam::123456789012:role/team/app', 'arn:aws:sts::123456789012:assumed-role/app/*']) {
    const { ask, pins } = asked()
    t.same(JSON.parse((await ask('GET')).body), { [APP]: ID })
    const answer = await ask('DELETE', JSON.stringify({ arn }))
    t.same([answer.status, JSON.parse(answer.body)], [200, { cleared: { [APP]: ID } }])
    t.equal(pins.get(APP), undefined)
    t.match(await ask('DELETE', JSON.stringify({ arn })), { status: 404, body: /no id is pinned for .*role\/app/ })
  }
})

t.test('the checks of /deny apply', async t => {
  const { ask, pins } = asked()
  const body = JSON.stringify({ arn: APP })
  for (const method of ['GET', 'DELETE']) {
    t.match(await ask(method, body, { ...good, authorization: 'Bearer guessed' }), { status: 401 })
    t.match(await ask(method, body, { ...good, host: 'evil.example.com' }), { status: 421 })
    t.match(await asked({ token: () => undefined }).ask(method, body), { status: 404, body: /admin\.tokenFile/ })
  }
  t.match(await ask('DELETE', body, { ...good, 'content-type': 'text/plain' }), { status: 415 })
  t.match(await ask('POST', body), { status: 405, headers: { allow: 'GET, DELETE' } })
  t.equal(pins.get(APP), ID)
})

t.test('an invalid principal is answered with its problem', async t => {
  const { ask, pins } = asked()
  for (const [body, said] of [
    ['', /not JSON/],
    ['{}', /expected \{"arn"/],
    [`{"arn":"${APP}","all":true}`, /nothing else/],
    ['{"arn":"app"}', /the whole ARN/],
    ['{"arn":"arn:aws:iam::123456789012:role/*"}', /the whole ARN/],
  ] as const)
    t.match(await ask('DELETE', body), { status: 400, body: said }, body)
  t.match(await ask('DELETE', ' '.repeat(70_000)), { status: 413 })
  t.equal(pins.get(APP), ID)
})

t.test('there are no pins without pins.file, and a change that cannot be saved is answered with 507', async t => {
  t.match(await asked({ pins: undefined }).ask('GET'), { status: 404, body: /pins\.file is not set/ })
  const write = () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' }))
  const pins = createPins({ path: 'pins.json', text: JSON.stringify({ [APP]: ID }), write }, silentLog)
  const { ask } = asked({ pins })
  t.match(await ask('DELETE', JSON.stringify({ arn: APP })), { status: 507, body: /ENOSPC/ })
  t.equal(pins.get(APP), ID)
  const broken = asked({ pins: { ...pins, clear: () => Promise.reject(new Fault('internal')) } })
  t.equal((await faultOfAsync(() => broken.ask('DELETE', JSON.stringify({ arn: APP }))))?.kind, 'internal')
})

t.test('the admin server has the page if it has pins', async t => {
  const sources = {
    host: '127.0.0.1',
    port: 0,
    after,
    ready: () => ({ ready: true, body: {} }),
    metrics: async () => '',
  }
  const { pins } = asked()
  for (const [more, status] of [
    [{}, 404],
    [{ pins: { pins, token: () => new Secret(TOKEN), hosts: () => [] } }, 200],
  ] as const) {
    const server = await startAdminServer({ ...sources, ...more })
    t.teardown(() => server.close())
    const headers = { authorization: `Bearer ${TOKEN}` }
    t.equal((await fetch(`http://127.0.0.1:${server.port}/pins`, { headers })).status, status)
  }
})
