import t from 'tap'
import { createPinsRoute, type PinsOptions } from '../../src/admin/pins.js'
import type { Method } from '../../src/admin/routes.js'
import { Fault } from '../../src/errors.js'
import { silentLog } from '../../src/log.js'
import { createPins } from '../../src/users/pins.js'
import { faultOfAsync } from '../support/faults.js'

const APP = 'arn:aws:iam::123456789012:role/app'
const ID = 'AROACKCEVSQ6C2EXAMPLE'
const CALLER = { token: 'ops', address: '192.0.2.10', port: 50_000 }

function asked(parts: Partial<PinsOptions> = {}) {
  const text = JSON.stringify({ [APP]: ID })
  const pins = createPins({ path: 'pins.json', text, write: async () => {} }, silentLog)
  const cleared: unknown[] = []
  const route = createPinsRoute({ pins, onCleared: pin => cleared.push(pin), ...parts })
  const ask = async (method: Method, body = '') => {
    const operation = route[method]
    if (!operation) throw new Error(`no ${method}`)
    return operation.run(
      {
        method,
        path: '/pins',
        query: new URLSearchParams(),
        headers: {},
        peer: CALLER,
        readBody: async max => (body.length <= max ? body : undefined),
      },
      CALLER,
    )
  }
  return { ask, pins, cleared, route }
}

t.test('clearing a pin needs a token that may write, and both methods are recorded', async t => {
  const { route } = asked()
  t.match(route, { GET: { access: 'read', isRecorded: true }, DELETE: { access: 'write' } })
})

t.test('pins are listed, and a pin is cleared by any ARN of its principal', async t => {
  for (const arn of [APP, 'arn:aws:iam::123456789012:role/team/app', 'arn:aws:sts::123456789012:assumed-role/app/*']) {
    const { ask, pins, cleared } = asked()
    t.same(JSON.parse((await ask('GET')).body), { [APP]: ID })
    const answer = await ask('DELETE', JSON.stringify({ arn }))
    t.same([answer.status, JSON.parse(answer.body)], [200, { cleared: { [APP]: ID } }])
    t.equal(pins.get(APP), undefined)
    t.same(cleared, [{ arn: APP, principalId: ID, caller: CALLER }])
    t.match(await ask('DELETE', JSON.stringify({ arn })), { status: 404, body: /no id is pinned for .*role\/app/ })
  }
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
