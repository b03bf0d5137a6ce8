import t from 'tap'
import { describeLogin } from '../../src/app/loginSpans.js'
import { Fault } from '../../src/errors.js'
import { identity, match } from '../support/login.js'

const client = { id: 7, peer: '2001:db8::1:50000' }
const record = {
  accessKeyId: 'AKIASP2TPHJSQH3FJXYZ',
  arn: identity.arn,
  identity,
  match,
  by: { rule: 1 },
  user: 'alice@admin',
  sts: { host: 'sts.amazonaws.com', requestId: 'f7a1-1' },
  ms: {},
}
const timeline = {
  startedAt: 0,
  endedAt: 60,
  stages: [
    { name: 'queue' as const, startedAt: 1, endedAt: 10 },
    { name: 'sts' as const, startedAt: 10, endedAt: 30 },
    { name: 'provisioning' as const, startedAt: 31, endedAt: 40 },
    { name: 'upstream' as const, startedAt: 31, endedAt: 59 },
  ],
}
const toWallMS = (time: number) => 1_000_000 + time
const login = { client, connection: '0123456789ab-7', record, kind: 'first' as const }

t.test('a login is a span with a span for each stage; provisioning is a part of the upstream', async t => {
  const upstream = { address: 'db1:27018', localPort: 40_000, connectionId: 4711 }
  const info = { metadata: { application: { name: 'orders' } } }
  const span = describeLogin({ ...login, upstream, info }, timeline, toWallMS)
  t.match(span, {
    name: 'login',
    kind: 'server',
    startMS: 1_000_000,
    endMS: 1_000_060,
    children: [
      { name: 'queue', kind: 'internal', startMS: 1_000_001, endMS: 1_000_010, children: [] },
      { name: 'sts', kind: 'client', attributes: { 'server.address': 'sts.amazonaws.com' } },
      {
        name: 'upstream',
        kind: 'client',
        attributes: {
          'server.address': 'db1',
          'server.port': 27_018,
          'mongo_iam_proxy.upstream.local_port': 40_000,
          'mongo_iam_proxy.upstream.connection_id': 4711,
        },
        children: [{ name: 'provisioning', kind: 'internal', startMS: 1_000_031, endMS: 1_000_040 }],
      },
    ],
  })
  t.same(span.attributes, {
    'client.address': '2001:db8::1',
    'client.port': 50_000,
    'mongo_iam_proxy.outcome': 'success',
    'mongo_iam_proxy.connection': '0123456789ab-7',
    'mongo_iam_proxy.cached': false,
    'mongo_iam_proxy.access_key_id': 'AKIASP2TPHJSQH3FJXYZ',
    'mongo_iam_proxy.account': '123456789012',
    'mongo_iam_proxy.arn': identity.arn,
    'mongo_iam_proxy.database_user': 'alice@admin',
    'mongo_iam_proxy.rule': 1,
    'mongo_iam_proxy.sts.host': 'sts.amazonaws.com',
    'mongo_iam_proxy.sts.request_id': 'f7a1-1',
    'mongo_iam_proxy.app_name': 'orders',
  })
  t.notOk(span.error)
})

t.test('a refused login has its fault, and nothing that is unknown', async t => {
  const fault = new Fault('sts/refused', 'ExpiredToken', { code: 'ExpiredToken' })
  const refused = { ...login, record: { accessKeyId: 'ASIA', ms: {} }, fault, kind: 'reauthentication' as const }
  const span = describeLogin(refused, { ...timeline, stages: [] }, toWallMS)
  t.match(span, { name: 'reauthentication', error: fault.message, children: [] })
  t.same(span.attributes, {
    'client.address': '2001:db8::1',
    'client.port': 50_000,
    'error.type': 'sts/refused',
    'mongo_iam_proxy.outcome': 'refused',
    'mongo_iam_proxy.connection': '0123456789ab-7',
    'mongo_iam_proxy.cached': false,
    'mongo_iam_proxy.access_key_id': 'ASIA',
  })
})

t.test('a directory user and a cache that decided are named', async t => {
  const decided = { ...record, by: { directoryUser: ':user/alice' }, cached: true as const }
  const { attributes } = describeLogin({ ...login, record: decided }, timeline, toWallMS)
  t.match(attributes, { 'mongo_iam_proxy.directory_user': ':user/alice', 'mongo_iam_proxy.cached': true })
  t.notOk('mongo_iam_proxy.rule' in attributes)
})
